"""Pipeline specs: a YAML file of nodes, checked as a whole before anything starts; errors name line and field."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import labs
from labs.core.config import Config
from labs.core.errors import BadInput, choices, sentences
from labs.core.lab import Lab
from pipelines.tuning.space import Space, own_space

SPECS = Path(__file__).with_name("specs")
COURSE = SPECS / "course.yaml"


class Resources(BaseModel):
    """What one node takes of the cluster."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
    workers: int = Field(default=1, ge=0)
    """Ray Train workers; 0 trains in the driver's process, without Ray."""
    cpus_per_worker: int = Field(default=1, ge=1)
    """CPUs, and so threads, of each worker."""
    gpus_per_worker: float | None = Field(default=None, ge=0)
    """GPUs of each worker; by default one where the cluster has GPUs, else none."""


DEFAULT_RESOURCES = Resources()
SETTINGS = "settings"
"""Role of the sweep whose best config a node trains with."""
Search = Literal["tpe", "random", "grid"]
Scheduler = Literal["asha", "none"]


class TuneSpec(BaseModel):
    """What a node's `tune` may have: its lab is tuned first, then trained with the best config."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    trials: int = Field(20, ge=1)
    """Trials in all."""
    time: float | None = Field(None, gt=0)
    """Seconds after which the sweep is over; none by default."""
    search: Search = "tpe"
    """How configs are chosen."""
    scheduler: Scheduler = "asha"
    """Whether bad trials end early."""
    concurrent: int | None = Field(None, ge=1)
    """Trials at a time; as many as the cluster holds by default."""
    space: dict[str, Any] | None = None
    """Field -> entry of the search space; the lab's own by default."""
    seed: int = 0
    """Seed of the search and of every trial."""


@dataclass(frozen=True)
class Tuning:
    """What a sweep searches, how, and how far it goes; only the first three make two sweeps the same one."""

    space: Space
    search: Search = "tpe"
    scheduler: Scheduler = "asha"
    trials: int = 20
    """Trials in all."""
    seconds: float | None = None
    """Seconds of one command, after which running trials save and end."""
    concurrent: int | None = None
    """Trials at a time; as many as the cluster holds by default."""


class NodeSpec(BaseModel):
    """One node as written in the file."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    lab: str
    """Name of the lab."""
    preset: str | None = None
    """Rung of the ladder; the lab's first one by default."""
    size: str = "small"
    """How much compute: tiny, small or course."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Config fields that differ from preset and size."""
    tune: TuneSpec | None = None
    """A sweep, node `<node>-tune`, whose best config the node is then trained with."""
    seeds: list[int] | None = Field(None, min_length=1)
    """One run for each seed, named `<node>-s<seed>`; by default one run with seed 0."""
    needs: dict[str, str] = Field(default_factory=dict)
    """Role -> node that must finish before and whose run folder is handed over as that role."""
    resources: Resources = DEFAULT_RESOURCES
    """Workers, CPUs and GPUs."""
    retries: int = Field(3, ge=0)
    """How often lost workers are started again."""
    time_limit: float | None = Field(None, gt=0)
    """Seconds after which the node is saved and counts as failed; none by default."""
    data: Path | None = None
    """Folder in the course's format, relative to the spec; embedded data by default."""


class PipelineSpec(BaseModel):
    """A whole file."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    nodes: dict[str, NodeSpec] = Field(min_length=1)


@dataclass(frozen=True)
class Node:
    """One run of the graph, everything resolved but the data's digest."""

    name: str
    lab: str
    preset: str
    size: str
    config: Config
    seed: int = 0
    needs: dict[str, str] = field(default_factory=dict)
    """Role -> name of the node that is needed."""
    resources: Resources = DEFAULT_RESOURCES
    retries: int = 3
    time_limit: float | None = None
    data: Path | None = None
    tuning: Tuning | None = None
    """Of a node that is a sweep."""


def read_spec(path: Path) -> tuple[str, list[Node]]:
    """Name and nodes of a spec file, in an order in which every node follows what it needs.

    Raises:
        BadInput: file, line, node and field of the first faults, with the valid choices.
    """
    if not path.exists():
        raise BadInput(f"pipeline spec {path} does not exist")
    try:
        tree = yaml.compose(path.read_text(), Loader=yaml.SafeLoader)
        raw = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise BadInput(f"{path.name}: not YAML: {' '.join(str(error).split())}") from None
    lines: dict[tuple[str, ...], int] = {}
    faults = list(_walk(tree, (), lines)) if tree is not None else []
    if faults:
        raise BadInput(f"{path.name} {faults[0]}")
    try:
        spec = PipelineSpec.model_validate(raw)
    except ValidationError as error:
        raise BadInput("; ".join(_located(path, error, lines))) from None
    nodes = [node for name, written in spec.nodes.items() for node in _expand(path, name, written, spec, lines)]
    return spec.name, in_order(nodes, f"{path.name}: ")


def in_order(nodes: list[Node], where: str = "") -> list[Node]:
    """The nodes so that each follows what it needs; `BadInput` for an unknown need or a circle."""
    by_name = {node.name: node for node in nodes}
    for node in nodes:
        for role, needed in node.needs.items():
            if needed not in by_name:
                raise BadInput(f"{where}node {node.name!r} needs {needed!r} as {role}: {choices(by_name, needed)}")
    try:
        order = TopologicalSorter({node.name: list(node.needs.values()) for node in nodes}).static_order()
        return [by_name[name] for name in order]
    except CycleError as error:
        raise BadInput(f"{where}nodes need each other in a circle: {' -> '.join(error.args[1])}") from None


def default_needs(node: Node) -> list[Node]:
    """The node with the nodes of `course.yaml` that its lab needs and it does not name."""
    lab = labs.get(node.lab)
    if not lab.needs:
        return [node]
    course = {other.name: other for other in read_spec(COURSE)[1]}
    needed = {role: course[name] for role, name in lab.needs.items()}
    node = replace(node, needs={role: other.name for role, other in needed.items()})
    return [*(found for other in needed.values() for found in default_needs(other)), node]


def _expand(
    path: Path, name: str, spec: NodeSpec, whole: PipelineSpec, lines: dict[tuple[str, ...], int]
) -> Iterator[Node]:
    where = f"{path.name} line {lines[('nodes', name)]}: node {name!r}: "
    try:
        lab = labs.get(spec.lab)
        preset = spec.preset or next(iter(lab.presets))
        config = lab.resolve(preset, spec.size, spec.overrides)
        tuning = _tuning(lab, preset, spec)
    except BadInput as error:
        place = _named(spec, str(error))
        line = lines.get(("nodes", name, *place), lines[("nodes", name)])
        raise BadInput(f"{path.name} line {line}: node {name!r}: {error}") from None
    missing = [role for role in lab.needs if role not in spec.needs]
    if missing:
        raise BadInput(f"{where}field 'needs': lab {lab.name} needs a node as {missing[0]!r}")
    data = None if spec.data is None else (path.parent / spec.data).resolve()
    common = Node(name, spec.lab, preset, spec.size, config, needs=spec.needs, resources=spec.resources,
                  retries=spec.retries, time_limit=spec.time_limit, data=data)  # fmt: skip
    if tuning and spec.tune:
        needs = {role: _of_seed(whole, needed, spec.tune.seed) for role, needed in spec.needs.items()}
        yield replace(common, name=f"{name}-tune", seed=spec.tune.seed, needs=needs, tuning=tuning)
        common = replace(common, needs={**spec.needs, SETTINGS: f"{name}-tune"})
    if spec.seeds is None:
        yield common
        return
    for seed in spec.seeds:
        needs = {role: _of_seed(whole, needed, seed) for role, needed in common.needs.items()}
        yield replace(common, name=f"{name}-s{seed}", seed=seed, needs=needs)


def _of_seed(spec: PipelineSpec, needed: str, seed: int) -> str:
    """The node with the same seed, where the one that is needed has seeds and none of them is named."""
    return f"{needed}-s{seed}" if needed in spec.nodes and spec.nodes[needed].seeds else needed


def _tuning(lab: Lab, preset: str, spec: NodeSpec) -> Tuning | None:
    tune = spec.tune
    if tune is None:
        return None
    space = Space(lab, tune.space or own_space(lab, spec.size), preset, spec.size, spec.overrides, "field 'tune.space'")
    if tune.search == "grid":
        space.grid()
    return Tuning(space, tune.search, tune.scheduler, tune.trials, tune.time, tune.concurrent)


def _named(spec: NodeSpec, sentence: str) -> tuple[str, ...]:
    """Which of a node's fields a lab's sentence is about: it quotes the field's name or the value."""
    for field_name in spec.overrides:
        if f"field {field_name!r}" in sentence:
            return ("overrides", field_name)
    for field_name in (spec.tune and spec.tune.space) or {}:
        if f"field {field_name!r}" in sentence:
            return ("tune", "space", field_name)
    return next(((key,) for key in ("preset", "size", "lab") if f"{key} {getattr(spec, key)!r}" in sentence), ())


def _walk(node: yaml.Node, path: tuple[str, ...], lines: dict[tuple[str, ...], int]) -> Iterator[str]:
    """Note the line of every key; yield a sentence for a key that stands twice, which YAML itself lets pass."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            line = key.start_mark.line + 1
            if here in lines:
                yield f"line {line}: {'.'.join(here)} stands twice, first on line {lines[here]}"
            lines[here] = line
            yield from _walk(value, here, lines)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            lines[(*path, str(number))] = value.start_mark.line + 1
            yield from _walk(value, (*path, str(number)), lines)


def _located(path: Path, error: ValidationError, lines: dict[tuple[str, ...], int]) -> Iterator[str]:
    """The errors' sentences, each with the line of the field or of the nearest thing around it."""
    for fault, sentence in zip(error.errors(), sentences(error), strict=True):
        place = tuple(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            inner: dict[str, type[BaseModel]] = {"resources": Resources, "tune": TuneSpec}
            model = inner.get(place[-2] if len(place) > 1 else "", NodeSpec if len(place) > 2 else PipelineSpec)
            sentence = f"unknown field {'.'.join(place)!r}: {choices(model.model_fields, place[-1])}"
        while place and place not in lines:
            place = place[:-1]
        yield f"{path.name} line {lines.get(place, 1)}: {sentence}"
