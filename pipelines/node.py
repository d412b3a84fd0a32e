"""A node with its place on disk and its share of the cluster, and the record that its folder starts with."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import labs
from cluster import capacity
from labs.core import shards
from labs.core.errors import BadInput
from pipelines import datasets
from pipelines.home import read_record, result, write_record
from pipelines.spec import SETTINGS, Node
from pipelines.worker import Job

if TYPE_CHECKING:
    from pipelines.tuning.sweep import Sweep


@dataclass(frozen=True)
class Planned:
    """A node with its place on disk and its share of the cluster."""

    node: Node
    fingerprint: str
    folder: Path
    job: Job
    """What its workers do; of a sweep, what the jobs of its trials have in common."""
    needed: capacity.Resources
    seconds: float
    """Estimated from earlier runs of the same lab, preset and size, else the lab's own guess."""
    sweep: "Sweep | None" = None
    """What a tune node runs."""

    @property
    def finished(self) -> bool:
        """Whether nothing of it is left to do."""
        return self.sweep.finished if self.sweep else bool(result(self.folder))


def resources(node: Node, cluster: capacity.Resources) -> tuple[float, capacity.Resources]:
    """GPUs of each worker, and all that the node takes; `ClusterError` if the cluster can never hold it."""
    lab = labs.get(node.lab)
    wanted = node.resources
    gpus = wanted.gpus_per_worker
    workers = max(1, wanted.workers)
    if lab.placement == "rllib" and workers > 1:
        raise BadInput(f"node {node.name}: lab {node.lab} scales by its config (num_env_runners), not by workers")
    if gpus is None:
        # RLlib's networks are so small that a GPU is only worth it where asked for.
        gpus = 1.0 if lab.placement == "train" and cluster.gpus >= workers else 0.0
    cpus = workers * wanted.cpus_per_worker if lab.placement == "train" else sum(lab.bundles(node.config))
    needed = capacity.Resources(cpus=cpus, gpus=gpus * workers)
    plural = "worker" if workers == 1 else "workers"
    capacity.require(f"node {node.name} (lab {node.lab}) with {workers} {plural}", needed, cluster)
    batch = getattr(node.config, "batch_size", workers)
    if batch % workers:
        raise BadInput(f"node {node.name}: batch size {batch} can't be split evenly between {workers} workers")
    return gpus, needed


def settled(planned: Planned) -> Planned:
    """The node with the best config of the sweep that it needs as `settings`; any other as it is.

    What was begun keeps its config, even if the sweep, extended, has found a better one since.
    """
    if SETTINGS not in planned.job.upstream:
        return planned
    node, lab = planned.node, labs.get(planned.node.lab)
    if (planned.folder / "record.json").exists():
        config = lab.config.model_validate(read_record(planned.folder)["config"])
    else:
        best = yaml.safe_load((planned.job.upstream[SETTINGS] / "best.yaml").read_text())
        config = lab.resolve(node.preset, node.size, best)
    fields = {"config": config.model_dump(mode="json"), "bundles": lab.bundles(config)}
    return replace(planned, node=replace(node, config=config), job=planned.job.model_copy(update=fields))


def facts(node: Node, gpus: float, data: Path) -> dict[str, Any]:
    """What a run's numbers depend on, beside code and upstream runs; see `fingerprint`."""
    return {
        "lab": node.lab,
        "config": node.config.model_dump(mode="json"),
        "preset": node.preset,
        "size": node.size,
        "seed": node.seed,
        "workers": max(1, node.resources.workers),
        "threads": node.resources.cpus_per_worker,
        "device": "cuda" if gpus else "cpu",
        "data": datasets.digest(labs.get(node.lab), data),
    }


def job_of(node: Node, gpus: float, folder: Path, data: Path, upstream: Mapping[str, Path]) -> Job:
    """What the node's workers are told; `gpus` for each of them."""
    return Job(
        lab=node.lab,
        preset=node.preset,
        size=node.size,
        config=node.config.model_dump(mode="json"),
        seed=node.seed,
        workers=node.resources.workers,
        cpus_per_worker=node.resources.cpus_per_worker,
        gpus_per_worker=gpus,
        folder=folder,
        data=data,
        upstream=dict(upstream),
        retries=node.retries,
        bundles=labs.get(node.lab).bundles(node.config),
    )


def begin(
    planned: Planned, parent: Path, suffix: str = "", more_tags: Mapping[str, str] | None = None, **more: Any
) -> None:
    """Write the record of a run that has none yet: who it is, for whoever looks at the folder.

    A trial of a sweep adds to the run's name and tags, and has more fields.
    """
    node, job = planned.node, planned.job
    if (planned.folder / "record.json").exists():
        return
    lab = labs.get(node.lab)
    data: dict[str, Any] = {"packed": str(job.data), "origin": "environment", "splits": {}, "source": node.lab}
    data["digest"] = datasets.digest(lab, job.data)
    if lab.data is not None:
        found = shards.manifest(job.data)
        source = str(node.data) if node.data else lab.data.__name__
        data.update(origin=found["origin"], splits=found["splits"], source=source)
    write_record(
        planned.folder,
        key=uuid.uuid4().hex,
        name=f"{node.lab}-{node.preset}-{node.size}-s{node.seed}{suffix}",
        lab=node.lab,
        preset=node.preset,
        size=node.size,
        seed=node.seed,
        status="WAITING",
        created=time.time(),
        seconds=0.0,
        error="",
        parent=str(parent),
        config=job.config,
        data=data,
        params={
            **flatten(job.config),
            "preset": node.preset,
            "size": node.size,
            "seed": node.seed,
            "workers": max(1, job.workers),
            "cpus_per_worker": job.cpus_per_worker,
            "gpus_per_worker": job.gpus_per_worker,
        },
        tags={
            "labs.lab": node.lab,
            "labs.preset": node.preset,
            "labs.size": node.size,
            "labs.seed": str(node.seed),
            "labs.metric": lab.metric.name,
            "labs.goal": lab.metric.goal,
            "labs.fingerprint": planned.fingerprint,
            "labs.folder": str(planned.folder),
            **(more_tags or {}),
        },
        **more,
    )


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted names: what MLflow's parameters can hold."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat.update(flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value})
    return flat
