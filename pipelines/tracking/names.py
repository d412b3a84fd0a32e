"""How the program's own tags and the metrics of the machine are called in MLflow, and how in records and events.

MLflow shows no tag whose name begins with `mlflow.` in tables and on a run's page, so that what remains to be seen
there is what people look for; and it shows metrics of `system/` before all that a run has learnt. An earlier version
wrote both under the names of records; its runs are found and read like the others.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.entities import Run

HIDDEN = "mlflow."
OWN = "labs."
LOAD, STORED_LOAD = "system/", "machine/"


def stored(tags: Mapping[str, Any]) -> dict[str, Any]:
    """Tags as the store has them: `mlflow.labs.NAME` for `labs.NAME`."""
    return {f"{HIDDEN}{name}" if name.startswith(OWN) else name: value for name, value in tags.items()}


def stored_metric(name: str) -> str:
    """A metric as the store has it: `machine/NAME` for `system/NAME`."""
    return f"{STORED_LOAD}{name.removeprefix(LOAD)}" if name.startswith(LOAD) else name


def recorded(run: "Run") -> "Run":
    """The same run, with tags and metrics under the names of records and events."""
    for values, before, after in ((run.data.tags, f"{HIDDEN}{OWN}", OWN), (run.data.metrics, STORED_LOAD, LOAD)):
        for name in [name for name in values if name.startswith(before)]:
            values[f"{after}{name.removeprefix(before)}"] = values.pop(name)
    return run


def filters(wanted: str) -> list[str]:
    """A filter of MLflow's search by the program's own tags, as they are stored now and as they were."""
    now = wanted.replace(f"tags.`{OWN}", f"tags.`{HIDDEN}{OWN}")
    return [now] if now == wanted else [now, wanted]
