"""The command that repeats a run."""

import json
import shlex
from collections.abc import Iterator
from typing import Any

import labs
from pipelines.batch_per_worker import unscaled
from pipelines.spec import Node
from pipelines.spec_fields import DEFAULT_RESOURCES

OPTIONS = ("workers", "cpus_per_worker", "gpus_per_worker", "precision")
"""What a node asks of the cluster whose option has a value."""


def repeat_command(node: Node) -> str:
    """`labs train ...` with all that differs from the defaults of the lab, its preset and size."""
    words = ["labs", "train", node.lab, "--preset", node.preset, "--size", node.size, "--seed", str(node.seed)]
    return shlex.join([*words, *_settings(node), *_resources(node)])


def _settings(node: Node) -> Iterator[str]:
    """The fields that are not the preset's, those of a larger batch by the option that has scaled them."""
    lab, config = labs.get(node.lab), node.config
    if node.warm_up_from < 1:
        batch = getattr(config, lab.batch_field(config))
        yield from ("--batch-per-worker", str(batch // max(1, node.resources.workers)))
        config = unscaled(lab, config, 1 / node.warm_up_from)
    of_preset = lab.resolve(node.preset, node.size).model_dump(mode="json")
    for name, value in config.model_dump(mode="json").items():
        if value != of_preset[name]:
            yield from ("--set", f"{name}={_as_yaml(value)}")
    if node.data:
        yield from ("--data", str(node.data))


def _resources(node: Node) -> Iterator[str]:
    asked = node.resources
    for name in OPTIONS:
        value = getattr(asked, name)
        if value != getattr(DEFAULT_RESOURCES, name):
            yield from (f"--{name.replace('_', '-')}", str(value))
    if asked.compile:
        yield "--compile"


def _as_yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
