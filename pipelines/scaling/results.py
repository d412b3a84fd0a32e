"""What the runs of `labs scale` have measured, and what is predicted from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labs.core.errors import BadInput
from pipelines.home import read_record, result
from pipelines.scaling.nodes import Kind, Scaled
from pipelines.scaling.step_model import AllReduce, StepModel

PREDICTED = 3
"""How many doublings of the largest measured count are predicted."""
RunId = Callable[[Path], str | None]


@dataclass(frozen=True)
class Measured:
    """The finished runs of one command.

    Args:
        scaled: what was measured.
        folders: node -> its run's folder.
    """

    scaled: Scaled
    folders: Mapping[str, Path]

    def metric(self, workers: int, kind: Kind, name: str) -> float | None:
        """A metric of one run; None where there is no such run, or no such metric of it."""
        folder = self.folders.get(self.scaled.name(workers, kind))
        found: float | None = result(folder)["metrics"].get(f"perf/{name}") if folder else None
        return found

    def strong(self, workers: int, name: str) -> float:
        """A metric that every run has; `BadInput` where a lab does not count its training samples."""
        value = self.metric(workers, "strong", name)
        if value is None:
            raise BadInput(f"lab {self.scaled.lab} does not train on batches of a loader: its steps can't be measured")
        return value

    def model(self) -> StepModel | None:
        """Fitted to the two smallest counts of workers; None where there is only one."""
        if len(self.scaled.counts) < 2:
            return None
        few, many = self.scaled.counts[:2]
        times = self.strong(many, "all_reduce_s"), self.strong(many, "latency_s")
        steps = {n: self.strong(n, "step_s") for n in (few, many)}
        return StepModel.fitted(steps, AllReduce.measured(many, *times))


def rows(measured: Measured, run_id: RunId) -> list[dict[str, Any]]:
    """A row for each measured count of workers, then for each predicted one: what `labs scale --json` prints."""
    model, counts = measured.model(), measured.scaled.counts
    made = [_measured_row(measured, model, workers, run_id) for workers in counts]
    if model:
        made += [_predicted_row(made[0], model, counts[-1] * 2**k) for k in range(1, PREDICTED + 1)]
    return made


def _measured_row(measured: Measured, model: StepModel | None, workers: int, run_id: RunId) -> dict[str, Any]:
    scaled, first = measured.scaled, measured.scaled.counts[0]
    speed, step_s = measured.strong(workers, "samples_per_s"), measured.strong(workers, "step_s")
    cpu_s = measured.strong(workers, "step_cpu_s")
    alone = measured.strong(first, "samples_per_s") / first
    weak = speed if workers == first else measured.metric(workers, "weak", "samples_per_s")
    bare = measured.metric(workers, "torchrun", "samples_per_s")
    predicted = model.step_s(workers) if model and workers not in scaled.counts[:2] else None
    folder = measured.folders[scaled.name(workers, "strong")]
    return {
        "lab": scaled.lab,
        "preset": scaled.preset,
        "size": scaled.size,
        "workers": workers,
        "measured": True,
        "device": "cuda" if read_record(folder)["params"]["gpus_per_worker"] else "cpu",
        "samples_per_s": speed,
        "efficiency": speed / workers / alone,
        "weak_efficiency": weak / workers / alone if weak else None,
        "step_s": step_s,
        "step_cpu_s": cpu_s,
        "cpu_efficiency": measured.strong(first, "step_cpu_s") * first / (cpu_s * workers),
        "communication": (measured.metric(workers, "strong", "all_reduce_s") or 0.0) / step_s,
        "gradient_bytes": measured.strong(workers, "gradient_bytes"),
        "memory_mb": measured.strong(workers, "memory_mb"),
        "torchrun_samples_per_s": bare,
        "torchrun_ratio": speed / bare if bare else None,
        "torchrun_step_cpu_s": measured.metric(workers, "torchrun", "step_cpu_s"),
        "predicted_step_s": predicted,
        "prediction_error": predicted / step_s - 1 if predicted else None,
        "run_id": run_id(folder),
    }


def _predicted_row(first: Mapping[str, Any], model: StepModel, workers: int) -> dict[str, Any]:
    """A count of workers that was not measured, with the same global batch as the first row."""
    step_s = model.step_s(workers)
    speed = first["samples_per_s"] * first["step_s"] / step_s
    same = {key: first[key] for key in ("lab", "preset", "size", "device", "gradient_bytes")}
    known = {
        **same,
        "workers": workers,
        "measured": False,
        "samples_per_s": speed,
        "efficiency": speed / workers * first["workers"] / first["samples_per_s"],
        "step_s": step_s,
        "predicted_step_s": step_s,
        "communication": model.all_reduce.seconds(workers) / step_s,
    }
    return {key: known.get(key) for key in first}
