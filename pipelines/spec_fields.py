"""What may stand in a pipeline spec, as models that check it; the options of `labs train` and `labs tune` too."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from labs.core.errors import BadInput, sentences, shown
from labs.core.heading import MAX_SEED, Precision

M = TypeVar("M", bound=BaseModel)
Search = Literal["tpe", "random", "grid"]
Scheduler = Literal["asha", "none"]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
MANY = 1_000_000
"""Largest number of workers, CPUs, trials or retries that is taken for one."""
SMALLEST_SHARE = 0.0001
"""Of a GPU; Ray counts in ten-thousandths."""


class NodeResources(BaseModel):
    """What a node asks of the cluster, and how its workers compute."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)
    workers: int = Field(default=1, ge=0, le=MANY)
    """Ray Train workers; 0 trains in the driver's process, without Ray."""
    cpus_per_worker: int = Field(default=1, ge=1, le=MANY)
    """CPUs, and so threads, of each worker."""
    gpus_per_worker: float | None = Field(default=None, ge=0)
    """GPUs of each worker; by default one where the cluster has GPUs, else none."""
    precision: Precision = "auto"
    """Number format: auto (on GPUs bf16, or fp16 where the card has no bf16), fp32, tf32, bf16 or fp16."""
    compile: bool = False
    """Whether torch.compile compiles the networks: a minute once, then faster steps."""

    @field_validator("gpus_per_worker")
    @classmethod
    def _whole_or_shared(cls, value: float | None) -> float | None:
        """Ray's own rule, which it tells each worker that it starts."""
        if value is not None and (0 < value < SMALLEST_SHARE or (value > 1 and not value.is_integer())):
            raise ValueError(
                f"{value!r} GPUs are neither a whole number nor a share of one GPU, from {SMALLEST_SHARE} up to 1"
            )
        return value


class TrialResources(NodeResources):
    """What each trial of `labs tune` asks of the cluster."""

    workers: int = Field(default=1, ge=1, le=MANY)
    """Workers of a trial; from 2 on they are Ray Train workers."""


DEFAULT_RESOURCES = NodeResources()


class TuneSpec(BaseModel):
    """The `tune` of a node, whose lab is tuned first and then trained with the best config; or a `labs tune`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
    trials: int = Field(20, ge=1, le=MANY)
    """Number of trials in all."""
    time: float | None = Field(None, gt=0)
    """Seconds after which the sweep ends; no limit by default."""
    search: Search = "tpe"
    """How configs are chosen."""
    scheduler: Scheduler = "asha"
    """Whether bad trials end early."""
    concurrent: int | None = Field(None, ge=1, le=MANY)
    """Trials that run at a time; `auto`, the default, for as many as the cluster holds."""
    space: dict[str, Any] | None = None
    """Field -> entry of the search space; the lab's own space by default."""
    start: str | None = Field(None, alias="from")
    """Sweep whose best config is the first trial: the name of its folder, its MLflow run id, or a beginning of them."""
    seed: Seed = 0
    """Seed of the search and of every trial."""

    @model_validator(mode="after")
    def _grid_has_no_start(self) -> Self:
        if self.start is not None and self.search == "grid":
            raise ValueError("field 'from': a grid tries all of its configs, wherever it starts: take it out")
        return self

    @field_validator("concurrent", mode="before")
    @classmethod
    def _auto(cls, value: Any) -> Any:
        if isinstance(value, str) and value != "auto" and not value.isdigit():
            raise ValueError(f"{value!r} is neither auto nor a number from 1 on")
        return None if value == "auto" else value


class Limits(BaseModel):
    """How often and how long a node is tried; the options of `labs train` too."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
    retries: int = Field(3, ge=0, le=MANY)
    """How often lost workers are started again."""
    time_limit: float | None = Field(None, gt=0)
    """Seconds after the start of its workers at which the node is saved and counts as failed; no limit by default."""


class NodeSpec(Limits):
    """One node as written in the file."""

    lab: str
    """Name of the lab."""
    preset: str | None = None
    """Preset of the lab; its first one by default."""
    size: str = "small"
    """How much compute: tiny, small or course."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Config fields that differ from preset and size."""
    tune: TuneSpec | None = None
    """A sweep, node `<node>-tune`, whose best config the node is then trained with."""
    seeds: list[Seed] | None = Field(None, min_length=1)
    """One run for each seed, named `<node>-s<seed>`; by default one run with seed 0."""
    needs: dict[str, str] = Field(default_factory=dict)
    """Role -> node that must finish before and whose run folder this node gets as that role."""
    resources: NodeResources = DEFAULT_RESOURCES
    """Workers, CPUs and GPUs."""
    batch_per_worker: int | None = Field(None, ge=1, le=MANY)
    """Samples of each batch for each worker; the learning rate grows with the global batch. By default the workers
    split the config's own batch."""
    data: Path | None = None
    """Folder in the course's format, relative to the spec; embedded data by default."""

    @model_validator(mode="after")
    def _sweeps_choose_their_batch(self) -> Self:
        if self.tune and self.batch_per_worker:
            raise ValueError("field 'batch_per_worker': a sweep searches batch and learning rate: take it out")
        return self

    @field_validator("data")
    @classmethod
    def _can_be_a_path(cls, value: Path | None) -> Path | None:
        if value is not None and "\0" in str(value):
            raise ValueError("a path has no null character")
        return value


def _name(value: Any) -> str:
    if not isinstance(value, str):  # YAML reads yes and 12 as other things
        raise ValueError(f"{shown(value)} must be text: put quotes round it")
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value):
        raise ValueError(
            f"{shown(value)} must be made of letters a to z, digits, '.', '_' and '-', at most 100, the "
            "first one a letter or a digit"
        )
    return value


Name = Annotated[str, BeforeValidator(_name)]
"""A name that can be a folder's and a part of an MLflow tag."""


class PipelineSpec(BaseModel):
    """A whole file."""

    model_config = ConfigDict(extra="forbid")
    name: Name
    nodes: dict[Name, NodeSpec]

    @field_validator("nodes")
    @classmethod
    def _has_some(cls, value: dict[str, NodeSpec]) -> dict[str, NodeSpec]:
        if not value:
            raise ValueError("there must be at least one node, such as `cnn: {lab: cnn}`")
        return value


def from_options(model: type[M], **options: Any) -> M:
    """A model that is made of a command's options.

    Raises:
        BadInput: the model refuses an option; the message names it as it is typed, such as '--gpus-per-worker'.
    """
    try:
        return model.model_validate(options)
    except ValidationError as error:
        said = [re.sub(r"^field '(\w+)'", lambda m: f"field '--{m[1].replace('_', '-')}'", s) for s in sentences(error)]
        raise BadInput("; ".join(said)) from None
