"""What people see of `labs scale`: a table, and a sentence on the prediction."""

from typing import Any

from pipelines.show.display import cell, number
from pipelines.show.fitted import FittedTable

COLUMNS = {"workers": "workers", "samples_per_s": "samples/s", "efficiency": "strong", "weak_efficiency": "weak",
           "step": "step ms", "communication": "all-reduce", "memory": "MB", "torchrun": "torchrun",
           "ratio": "ratio"}  # fmt: skip
BUSY = 0.9
"""Part of the time below which one worker alone should have had its CPU: other processes must have taken it."""


def scale_table(rows: list[dict[str, Any]]) -> FittedTable:
    """The rows of `results.rows`; those of the model have no memory and no script beside them."""
    shown = [
        {
            "workers": f"{row['workers']}" if row["measured"] else f"{row['workers']} model",
            "samples_per_s": _whole(row["samples_per_s"]),
            "efficiency": _share(row["efficiency"]),
            "weak_efficiency": _share(row["weak_efficiency"]),
            "step": number(1000 * row["step_s"]),
            "communication": f"{row['communication']:.0%}",
            "memory": _whole(row["memory_mb"]),
            "torchrun": _whole(row["torchrun_samples_per_s"]),
            "ratio": _share(row["torchrun_ratio"]),
        }
        for row in rows
    ]
    first = rows[0]
    title = f"{first['lab']} {first['preset']} {first['size']} on {first['device']}"
    return FittedTable([{key: cell(value) for key, value in row.items()} for row in shown], COLUMNS, title,
                       drop=("memory",), right=tuple(COLUMNS)[1:])  # fmt: skip


def sentences(rows: list[dict[str, Any]]) -> list[str]:
    """What the columns mean, and how far the predictions can be trusted."""
    said = [
        "strong, weak: efficiency with the same global batch, and with the same batch per worker",
        "torchrun: samples/s of a plain script with the same network, loss and batch; ratio: this program's to it",
        "all-reduce: time of one all-reduce of the gradients, as part of a step; DDP hides some of it",
    ]
    if errors := [(row["workers"], row["prediction_error"]) for row in rows if row["prediction_error"] is not None]:
        found = ", ".join(f"{error:+.0%} for {workers}" for workers, error in errors)
        said.append(f"the prediction from the two smallest counts misses the measured step by {found} workers")
    elif not rows[-1]["measured"]:
        said.append("the prediction was fitted to both counts, so nothing checks it: a third count would")
    return said + _disturbance(rows)


def _disturbance(rows: list[dict[str, Any]]) -> list[str]:
    """A warning where the smallest run, a lone worker on a CPU, had not got that CPU all the time."""
    first, *others = (row for row in rows if row["measured"])
    share = first["step_cpu_s"] / first["step_s"]
    if first["workers"] > 1 or first["device"] != "cpu" or share >= BUSY:
        return []
    found = ", ".join(f"{row['cpu_efficiency']:.2f} on {row['workers']}" for row in others)
    return [
        f"warning: one worker alone had its CPU for {share:.0%} of the time only. Other processes took it, which costs "
        "workers that wait for each other more: measure again with --force when the machine is idle"
        + (f". By CPU seconds the efficiency is {found} workers" if found else "")
    ]


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


def _whole(value: float | None) -> str | None:
    return None if value is None else f"{value:,.0f}"
