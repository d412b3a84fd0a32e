"""Where a sweep starts, if it does not start from nothing: at the best config of another one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labs.core.errors import BadInput, choices
from pipelines.home import records
from pipelines.spec import Tuning
from pipelines.tracking.writer import run_ids
from pipelines.tuning.trial import best_of


@dataclass(frozen=True)
class Start:
    """The first trial of a sweep."""

    sweep: str
    """Name of the folder of the sweep whose best config it has."""
    parameters: dict[str, Any]
    """As the study stores them."""


def start_of(home: Path, tuning: Tuning) -> Start | None:
    """The first trial of a sweep that starts from another one's best; None of one that does not.

    Raises:
        BadInput: no such sweep, or its best config is not in the space of this one; the message has the field.
    """
    if tuning.start is None:
        return None
    space = tuning.space
    folder = _find(home, tuning.start, space.lab.name)
    if (best := best_of(folder, space.lab)) is None:
        raise BadInput(f"sweep {folder.name} has no finished trial to start from")
    record, base = best.record(), space.base.model_dump(mode="json")
    for name, value in record["overrides"].items():
        if name not in space.entries and base[name] != value:
            raise BadInput(f"the best config of sweep {folder.name} has {name} {value!r}: here it is not searched and "
                           f"is {base[name]!r}")  # fmt: skip
    try:
        return Start(folder.name, space.parameters(record["config"]))
    except BadInput as error:
        raise BadInput(f"the best config of sweep {folder.name} does not fit: {error}") from None


def _find(home: Path, name: str, lab: str) -> Path:
    """The folder of the lab's sweep that has this name or this MLflow run id, or one that begins so."""
    every = list(records(home, "sweeps"))
    of_lab = [folder for folder, record in every if record["lab"] == lab]
    found = [f for f in of_lab if name and any(known.startswith(name) for known in (f.name, *run_ids(f)))]
    exact = [folder for folder in found if folder.name == name]
    if len(exact or found) > 1:
        raise BadInput(f"{name!r} fits {len(found)} sweeps: {', '.join(folder.name for folder in found)}")
    if not found:
        known = choices([folder.name for folder in of_lab], name) if of_lab else f"`labs tune {lab}` makes one"
        raise BadInput(f"no sweep {name!r} of lab {lab} in {home}: {known}")
    return (exact or found)[0]
