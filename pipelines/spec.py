"""Pipeline specs: a YAML file of nodes, checked as a whole before anything starts; errors name line and field."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

import labs
from labs.core.config import Config
from labs.core.errors import BadInput, choices, sentences
from labs.core.lab import Lab
from pipelines.batch_per_worker import scaled
from pipelines.job import Measured
from pipelines.spec_fields import DEFAULT_RESOURCES, NodeResources, NodeSpec, PipelineSpec, Scheduler, Search, TuneSpec
from pipelines.tuning.space import Space, own_space
from pipelines.yaml_lines import Lines, nearest_line, read_with_lines

SPECS = Path(__file__).with_name("specs")
COURSE = SPECS / "course.yaml"
BEST_CONFIG_ROLE = "settings"
"""Role of the sweep whose best config a node is trained with."""


@dataclass(frozen=True)
class Tuning:
    """What a sweep searches, how, and how far it goes; two sweeps are the same if the first three fields are, and where
    they start."""

    space: Space
    search: Search
    scheduler: Scheduler
    trials: int
    """Number of trials in all."""
    seconds: float | None
    """Seconds of one command, after which running trials save and end."""
    concurrent: int | None
    """Trials that run at a time; None for as many as the cluster holds."""
    start: str | None = None
    """Sweep whose best config is the first trial, as the user names it."""


@dataclass(frozen=True)
class Node:
    """One run of the graph; everything is resolved except the data's digest."""

    name: str
    lab: str
    preset: str
    size: str
    config: Config
    seed: int = 0
    needs: dict[str, str] = field(default_factory=dict)
    """Role -> name of the node that is needed."""
    resources: NodeResources = DEFAULT_RESOURCES
    warm_up_from: float = 1.0
    """Fraction of the learning rate that the first epochs begin with; see `batch_per_worker`."""
    retries: int = 3
    time_limit: float | None = None
    data: Path | None = None
    tuning: Tuning | None = None
    """Only of a node that is a sweep."""
    measured: Measured | None = None
    """Only of a run of `labs scale`."""


def read_spec(path: Path) -> tuple[str, list[Node]]:
    """Name and nodes of a spec file, in an order in which every node follows what it needs.

    Raises:
        BadInput: file, line, node and field of the first faults, with the valid choices.
    """
    content, lines = read_with_lines(path)
    if content is None:
        raise BadInput(f"{path.name} is empty: it must have the fields 'name' and 'nodes'")
    try:
        spec = PipelineSpec.model_validate(content)
    except ValidationError as error:
        raise BadInput("; ".join(_located(path, error, lines))) from None
    for name, written in spec.nodes.items():  # before any lab is imported
        with _with_line(path, name, written, lines):
            labs.heading(written.lab).choose(written.preset, written.size)
    nodes: dict[str, Node] = {}
    for name, written in spec.nodes.items():
        for node in _expand(path, name, written, spec, lines):
            if node.name in nodes:
                line = nearest_line(lines, ("nodes", name))
                raise BadInput(f"{path.name} line {line}: node {name!r}: there is a node {node.name!r} already")
            nodes[node.name] = node
    return spec.name, in_order(list(nodes.values()), f"{path.name}: ")


def tuning_of(tune: TuneSpec, lab: Lab, preset: str, size: str, fixed: dict[str, Any], where: str = "") -> Tuning:
    """The sweep that a `tune` describes.

    Args:
        tune: what the file or the command line says.
        lab: the lab.
        preset: the preset that gives all other fields.
        size: the size.
        fixed: fields that are set and so taken out of the space.
        where: what messages about the space start with.

    Raises:
        BadInput: the space does not fit the lab, or is not made of choices although a grid is searched.
    """
    space = Space(lab, tune.space or own_space(lab, size), preset, size, fixed, where)
    if tune.search == "grid":
        space.grid()
    return Tuning(space, tune.search, tune.scheduler, tune.trials, tune.time, tune.concurrent, tune.start)


def with_batch_per_worker(node: Node, samples: int) -> Node:
    """The node with so many samples of each batch for each worker, and learning rates that fit the larger batch."""
    config, factor = scaled(labs.get(node.lab), node.config, samples, max(1, node.resources.workers))
    return replace(node, config=config, warm_up_from=min(1.0, 1 / factor))


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
    """The node, after the nodes of `course.yaml` that its lab needs, at its own size.

    The overrides in that file keep the course short; they count at size small only.
    """
    lab = labs.get(node.lab)
    provided = lab.provided(node.config, node.data)
    needs = {role: name for role, name in lab.needs.items() if role not in provided}
    if not needs:
        return [node]
    course = {other.name: other for other in read_spec(COURSE)[1]}
    needed = {role: _at_size(course[name], node.size) for role, name in needs.items()}
    node = replace(node, needs={role: other.name for role, other in needed.items()})
    return [*(found for other in needed.values() for found in default_needs(other)), node]


def _at_size(node: Node, size: str) -> Node:
    """The node as it is at its own size; at another one with the preset's config and nothing overridden."""
    if node.size == size:
        return node
    return replace(node, size=size, config=labs.get(node.lab).resolve(node.preset, size))


def _expand(path: Path, name: str, spec: NodeSpec, whole: PipelineSpec, lines: Lines) -> Iterator[Node]:
    """The nodes that one entry of the file stands for: a sweep, if any, and one node for each seed."""
    node, tuning = _resolve(path, name, spec, lines)
    if spec.tune and tuning:
        needs = _of_seed(whole, spec.needs, spec.tune.seed)
        yield replace(node, name=f"{name}-tune", seed=spec.tune.seed, needs=needs, tuning=tuning)
        node = replace(node, needs={**spec.needs, BEST_CONFIG_ROLE: f"{name}-tune"})
    if spec.seeds is None:
        yield node
    for seed in spec.seeds or ():
        yield replace(node, name=f"{name}-s{seed}", seed=seed, needs=_of_seed(whole, node.needs, seed))


def _resolve(path: Path, name: str, spec: NodeSpec, lines: Lines) -> tuple[Node, Tuning | None]:
    """The entry's node without a seed, and its sweep; errors of the lab get the line of the field in question."""
    with _with_line(path, name, spec, lines):
        lab = labs.get(spec.lab)
        preset = lab.heading.choose(spec.preset, spec.size)
        config = lab.resolve(preset, spec.size, spec.overrides)
        space = "field 'tune.space'"
        tuning = tuning_of(spec.tune, lab, preset, spec.size, spec.overrides, space) if spec.tune else None
    data = None if spec.data is None else (path.parent / spec.data).resolve()
    missing = [role for role in lab.needs if role not in spec.needs]
    if missing := [role for role in missing if role not in lab.provided(config, data)]:
        where = f"{path.name} line {nearest_line(lines, ('nodes', name))}: node {name!r}"
        raise BadInput(f"{where}: field 'needs': lab {lab.name} needs a node as {missing[0]!r}")
    node = Node(name, spec.lab, preset, spec.size, config, needs=spec.needs, resources=spec.resources,
                retries=spec.retries, time_limit=spec.time_limit, data=data)  # fmt: skip
    if spec.batch_per_worker is not None:
        node = with_batch_per_worker(node, spec.batch_per_worker)
    return node, tuning


@contextmanager
def _with_line(path: Path, name: str, spec: NodeSpec, lines: Lines) -> Iterator[None]:
    """Add the file, the line of the field in question and the node to a lab's error."""
    try:
        yield
    except BadInput as error:
        line = nearest_line(lines, ("nodes", name, *_field_of(spec, str(error))))
        raise BadInput(f"{path.name} line {line}: node {name!r}: {error}") from None


def _of_seed(whole: PipelineSpec, needs: dict[str, str], seed: int) -> dict[str, str]:
    """The needs, with the node of the same seed where the node that is needed has seeds and none of them is named."""
    seeded = {name for name, spec in whole.nodes.items() if spec.seeds}
    return {role: f"{needed}-s{seed}" if needed in seeded else needed for role, needed in needs.items()}


def _field_of(spec: NodeSpec, sentence: str) -> tuple[str, ...]:
    """Which of a node's fields a lab's sentence is about: it quotes the field's name or the value."""
    for name in spec.overrides:
        if f"field {name!r}" in sentence:
            return ("overrides", name)
    for name in (spec.tune and spec.tune.space) or {}:
        if f"field {name!r}" in sentence:
            return ("tune", "space", name)
    return next(((key,) for key in ("preset", "size", "lab") if f"{key} {getattr(spec, key)!r}" in sentence), ())


def _located(path: Path, error: ValidationError, lines: Lines) -> Iterator[str]:
    """The errors' sentences, each with the line of its field."""
    for fault, sentence in zip(error.errors(), sentences(error), strict=True):
        place = tuple(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            inner: dict[str, type[BaseModel]] = {"resources": NodeResources, "tune": TuneSpec}
            model = inner.get(place[-2] if len(place) > 1 else "", NodeSpec if len(place) > 2 else PipelineSpec)
            known = [field.alias or name for name, field in model.model_fields.items()]
            sentence = f"unknown field {'.'.join(place)!r}: {choices(known, place[-1])}"
        yield f"{path.name} line {nearest_line(lines, place)}: {sentence}"
