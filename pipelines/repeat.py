"""The command that repeats a run."""

import json
import shlex
from typing import Any

import labs
from pipelines.spec import Node


def train_command(node: Node) -> str:
    """`labs train ...` with all that differs from the defaults of the lab, its preset and size."""
    lab, asked = labs.get(node.lab), node.resources
    words = ["labs", "train", node.lab, "--preset", node.preset, "--size", node.size, "--seed", str(node.seed)]
    of_preset = lab.resolve(node.preset, node.size).model_dump(mode="json")
    for name, value in node.config.model_dump(mode="json").items():
        if value != of_preset[name]:
            words += ["--set", f"{name}={_as_yaml(value)}"]
    if node.data:
        words += ["--data", str(node.data)]
    if asked.workers != 1:
        words += ["--workers", str(asked.workers)]
    if asked.cpus_per_worker != 1:
        words += ["--cpus-per-worker", f"{asked.cpus_per_worker:g}"]
    return shlex.join(words)


def _as_yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
