"""Runs as their folders show them, without training: what views of a home folder are tested with."""

import itertools
import json
from pathlib import Path
from typing import Any

import labs
from labs.core import events
from pipelines.home import write_record
from pipelines.system_load import PEAK, SYSTEM

CREATED = itertools.count(1_800_000_000)


def write_run(
    home: Path,
    lab: str = "cnn",
    preset: str = "simple",
    seed: int = 0,
    *,
    test: float | None = None,
    curve: tuple[float, ...] = (0.5,),
    status: str = "FINISHED",
    error: str = "",
    settings: dict[str, Any] | None = None,
    data: str = "0a1b2c3d",
    origin: str = "generated",
    splits: dict[str, int] | None = None,
    seconds: float = 60.0,
    parent: Path | None = None,
    number: int | None = None,
    **more: Any,
) -> Path:
    """Write the folder of a run, or of a sweep's trial; returns it.

    Args:
        home: the home folder.
        lab: name of the lab; its metric is written.
        preset: preset.
        seed: seed.
        test: score on the test set; None for a run without one.
        curve: validation score after each epoch.
        status: how the run ended, in MLflow's words.
        error: why, of a run that failed.
        settings: fields of its config.
        data: beginning of its data's digest.
        origin: origin of its data.
        splits: counts of its data.
        seconds: how long it took.
        parent: folder of the pipeline or the sweep that it is part of.
        number: of a sweep's trial, its number.
        more: further fields of the record.
    """
    created, metric = float(next(CREATED)), labs.heading(lab).metric
    place = parent / "trials" if number is not None and parent else home / "runs"
    name = f"{lab}-{preset}-small-s{seed}"
    folder = place / (str(number) if number is not None else f"{name}-{created:.0f}")
    tags = {"labs.lab": lab, "labs.preset": preset, "labs.size": "small", "labs.seed": str(seed),
            "labs.metric": metric.name, "labs.goal": metric.goal, "labs.folder": str(folder)}  # fmt: skip
    config = settings or {}
    params = {**config, "preset": preset, "size": "small", "seed": seed, "workers": 1, "cpus": 2.0, "gpus": 0.0}
    fields = {
        "key": folder.name, "name": name, "lab": lab, "preset": preset, "size": "small", "seed": seed,
        "status": status, "created": created, "started": created, "ended": created + seconds, "seconds": seconds,
        "error": error, "config": config, "params": params, "tags": tags, "parent": str(parent or ""),
        "data": {"digest": data.ljust(64, "0"), "origin": origin, "splits": splits or {"test": 100}, "packed": "",
                 "source": lab},
    }  # fmt: skip
    if number is not None:
        fields |= {"tags": {**tags, "labs.trial": str(number)}, "overrides": config, "job": {}, "pruned": False}
    write_record(folder, **{**fields, **more})
    for step, value in enumerate(curve, 1):
        metrics = {"train/loss": value, f"val/{metric.name}": value}
        events.append(folder, {"time": created + step, "step": step, "of": len(curve), "metrics": metrics})
    (folder / SYSTEM).mkdir()
    events.append(folder / SYSTEM, {"time": created, "step": 1, "metrics": {PEAK: 500.0}})
    if status == "FINISHED":
        tested = {} if test is None else {f"test/{metric.name}": test, "test/trivial": 0.1}
        final = {"model/parameters": 12345.0, **tested}
        events.append(folder, {"time": created + seconds, "step": len(curve), "metrics": final})
        found = {name: value for event in events.read(folder) for name, value in event["metrics"].items()}
        ended = {"metrics": found, "steps": len(curve), "stopped": ""}
        events.write_text(folder / "result.json", json.dumps(ended))
    return folder


def write_sweep(home: Path, lab: str = "cnn", best: int = 0, name: str = "cnn-simple-small-5eed") -> Path:
    """Write the record of a finished sweep whose best trial has this number; returns its folder."""
    folder, created = home / "sweeps" / name, float(next(CREATED))
    tags = {"labs.sweep": lab, "labs.folder": str(folder)}
    write_record(folder, key=name, name=f"tune-{lab}", lab=lab, status="FINISHED", created=created, seconds=1.0,
                 error="", params={}, tags=tags, end_tags={"labs.best.trial": best})  # fmt: skip
    return folder
