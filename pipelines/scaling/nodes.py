"""The runs of `labs scale` as nodes of a pipeline, each of which waits for the one before."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import labs
from cluster import capacity
from labs.core.errors import BadInput
from pipelines.job import Measured
from pipelines.spec import Node, default_needs
from pipelines.spec_fields import NodeResources

Kind = Literal["strong", "torchrun", "weak"]
"""The global batch of the preset; the same in a plain script of torchrun; as much for each worker as the smallest count
of workers has."""
AFTER = "after"
"""Role of the run before, which no lab uses: two runs at a time would take CPUs, caches and network from each other."""


@dataclass(frozen=True)
class Scaled:
    """What is measured: one lab, on several counts of workers."""

    lab: str
    preset: str
    size: str
    counts: tuple[int, ...]
    """Workers, in ascending order."""
    fields: Mapping[str, Any]
    """Config fields that differ from preset and size. Its `epochs` are those of a lab whose config has epochs; others
    train as long as their preset does."""
    resources: NodeResources
    """Of the largest count."""

    def name(self, workers: int, kind: Kind) -> str:
        """Name of a run's node."""
        return f"{self.lab}-{workers}" if kind == "strong" else f"{self.lab}-{workers}-{kind}"

    def nodes(self) -> list[Node]:
        """All runs, after what the lab needs.

        Raises:
            BadInput: the lab does not scale by workers.
        """
        if labs.get(self.lab).placement != "train":
            raise BadInput(f"lab {self.lab} scales by its config (num_env_runners), not by workers")
        *needed, first = default_needs(self._node(self.counts[0], "strong"))
        runs = [replace(self._node(*which), needs=first.needs) for which in self._which()]
        return [*needed, *_one_after_the_other(runs)]

    def has_torchrun(self, workers: int) -> bool:
        """Whether this machine holds a script of so many processes."""
        own = capacity.local()
        if own.gpus and self.resources.gpus_per_worker != 0:
            return workers <= own.gpus
        return workers * self.resources.cpus_per_worker <= own.cpus

    def _which(self) -> Iterator[tuple[int, Kind]]:
        for workers in self.counts:
            yield workers, "strong"
            if self.has_torchrun(workers):
                yield workers, "torchrun"
            if workers > self.counts[0]:
                yield workers, "weak"

    def _node(self, workers: int, kind: Kind) -> Node:
        lab = labs.get(self.lab)
        fields = {
            name: value for name, value in self.fields.items() if name != "epochs" or name in lab.config.model_fields
        }
        config = lab.resolve(self.preset, self.size, fields)
        if kind == "weak":
            batch = lab.batch_field(config)
            fields[batch] = getattr(config, batch) // self.counts[0] * workers
            config = lab.resolve(self.preset, self.size, fields)
        name = self.name(workers, kind)
        resources = self.resources.model_copy(update={"workers": workers})
        measured: Measured = "torchrun" if kind == "torchrun" else "labs"
        return Node(name, self.lab, self.preset, self.size, config, resources=resources, measured=measured)


def _one_after_the_other(nodes: Iterable[Node]) -> Iterator[Node]:
    before = None
    for node in nodes:
        yield replace(node, needs={**node.needs, AFTER: before}) if before else node
        before = node.name
