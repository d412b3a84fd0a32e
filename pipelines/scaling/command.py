"""`labs scale`: the runs as one pipeline, then what they have measured, as a figure and as numbers in the store."""

import json
from pathlib import Path
from typing import Any

from labs.core import events
from pipelines.home import RESULT, read_record, result, write_record
from pipelines.pipeline import complete_mirror, run_pipeline
from pipelines.reporter import Reporter
from pipelines.scaling.figure import draw
from pipelines.scaling.nodes import Scaled
from pipelines.scaling.results import Measured, rows
from pipelines.tracking.writer import Store, reopen, run_id

NUMBERS = ("samples_per_s", "efficiency", "weak_efficiency", "step_s", "communication", "memory_mb",
           "torchrun_samples_per_s", "predicted_step_s")  # fmt: skip
"""Of each row; in the store they are metrics of the pipeline's run, and their step is the count of workers."""


def run_scale(
    home: Path, scaled: Scaled, store: Store, reporter: Reporter, *, force: bool
) -> tuple[Path | None, list[dict[str, Any]], int]:
    """Measure a lab on each count of workers; started again, the same call continues or shows what was measured.

    Returns:
        The pipeline's folder, None if it was interrupted before it had one; the rows of `results.rows`, none if the
        runs have not all finished; and the exit code.

    Raises:
        ClusterError: the cluster can't hold one of the counts; the message has the numbers.
        BadInput: the global batch can't be split evenly, or the lab does not scale by workers.
    """
    folder, code = run_pipeline(home, f"scale-{scaled.lab}", scaled.nodes(), store, reporter, force=force)
    if code or folder is None:
        return folder, [], code
    nodes = read_record(folder)["nodes"]
    found = Measured(scaled, {name: Path(node["folder"]) for name, node in nodes.items()})
    made = rows(found, lambda run: run_id(run, store))
    if not result(folder):
        _write(folder, made)
        complete_mirror(store, reporter)
    return folder, made, code


def _write(folder: Path, made: list[dict[str, Any]]) -> None:
    """What the pipeline's folder has beside its record: the rows, their figure, and their numbers as events."""
    for name in ("files", "figures"):
        (folder / name).mkdir(exist_ok=True)
    events.write_text(folder / "files" / "scaling.json", json.dumps(made, indent=2))
    draw(made, folder / "figures" / "scaling.png")
    ended = read_record(folder)["ended"]
    for row in made:
        metrics = {f"scale/{name}": row[name] for name in NUMBERS if row[name] is not None}
        events.append(folder, {"time": ended, "step": row["workers"], "metrics": metrics})
    write_record(folder, serve=False)
    events.write_text(folder / RESULT, json.dumps({"metrics": {}}))  # its events are final
    reopen(folder)
