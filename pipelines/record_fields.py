"""What every record of a folder holds from its first moment on, checked when it is read."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from labs.core.errors import sentences, summary

BEST = "labs.best.trial"
"""Tag at a sweep's end with the number of its best trial."""


TAGS = ("labs.lab", "labs.preset", "labs.size", "labs.seed", "labs.metric", "labs.goal", "labs.folder")
"""Tags of every run."""


class Record(BaseModel):
    """What the records of all kinds have in common; a record may have more than is named here."""

    model_config = ConfigDict(strict=True)
    key: str
    name: str
    status: str
    created: float
    seconds: float
    error: str
    params: dict[str, Any]
    tags: dict[str, str]


class Node(BaseModel):
    """A node in the record of a pipeline."""

    model_config = ConfigDict(strict=True)
    folder: str
    lab: str
    preset: str
    size: str
    seed: int
    status: str
    reused: bool
    error: str
    seconds: float


class PipelineRecord(Record):
    """The record of a pipeline."""

    nodes: dict[str, Node]


class SweepRecord(Record):
    """The record of a sweep."""

    lab: str


class Data(BaseModel):
    """The data in the record of a run."""

    model_config = ConfigDict(strict=True)
    digest: str
    origin: str
    packed: str
    splits: dict[str, int]


class RunRecord(Record):
    """The record of a lab's run."""

    lab: str
    preset: str
    size: str
    seed: int
    config: dict[str, Any]
    data: Data

    @field_validator("tags")
    @classmethod
    def _says_what_was_trained(cls, tags: dict[str, str]) -> dict[str, str]:
        missing = [name for name in TAGS if name not in tags]
        if missing:
            raise ValueError(f"{missing[0]} is missing")
        return tags


class TrialRecord(RunRecord):
    """The record of a sweep's trial."""

    overrides: dict[str, Any]
    job: dict[str, Any]
    pruned: bool


MODELS: dict[str, type[Record]] = {
    "pipelines": PipelineRecord, "sweeps": SweepRecord, "runs": RunRecord, "trials": TrialRecord,
}  # fmt: skip
"""Name of the folder that a kind's folders lie in -> what its records hold."""


def fault(record: Any, kind: str) -> str:
    """What is wrong with a record, in a few words; empty for a good one. A folder elsewhere is the copy of a run's."""
    try:
        MODELS.get(kind, RunRecord).model_validate(record)
    except ValidationError as error:
        return summary(sentences(error))
    return ""
