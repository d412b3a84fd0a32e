"""A node with its place on disk: its folder, its fingerprint, its job, and the record that its folder begins with."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

import labs
from cluster import capacity
from labs.core import shards
from labs.core.errors import BadInput
from pipelines import datasets
from pipelines.fingerprint import worker_code
from pipelines.home import has_record, read_record, result, write_record
from pipelines.job import Job
from pipelines.repeat import repeat_command
from pipelines.spec import BEST_CONFIG_ROLE, Node

CPU_REMEDY = ": take fewer workers, or train on CPUs with --gpus-per-worker 0 (in a spec gpus_per_worker: 0)"
"""How a node's default of one GPU a worker is avoided."""
MEASURED = "labs.measured"
"""Tag of the runs of `labs scale`."""


@dataclass(frozen=True)
class PlannedNode:
    """A node of which everything is known that must be known before it runs. A sweep has a class of its own."""

    node: Node
    fingerprint: str
    folder: Path
    job: Job
    """What its workers do; of a sweep, what the jobs of its trials have in common."""
    bundles: capacity.Bundles
    """What it takes of the cluster while it runs."""
    seconds: float
    """Estimate of its time, without a launch of workers; see `estimates`."""

    def finished(self) -> bool:
        """Whether the folder has the result of a finished run."""
        return bool(result(self.folder))


def resources(node: Node, cluster: capacity.Cluster) -> tuple[float, capacity.Bundles]:
    """GPUs of each worker, and what each process of the node takes.

    Raises:
        ClusterError: the cluster can never hold it; the message has the numbers.
        BadInput: the lab can't be trained with so many workers.
    """
    lab, asked = labs.get(node.lab), node.resources
    workers, gpus, remedy = max(1, asked.workers), asked.gpus_per_worker, ""
    if lab.placement == "rllib" and workers > 1:
        raise BadInput(f"node {node.name}: lab {node.lab} scales by its config (num_env_runners), not by workers")
    if gpus is None:
        # RLlib's networks are so small that a GPU is only used where it was asked for.
        gpus = 1.0 if lab.placement == "train" and cluster.resources.gpus else 0.0
        remedy = CPU_REMEDY if gpus else ""
    cpus = cpus_of_processes(node)
    # With RLlib, the process that learns is the first one, and the only one that may use a GPU.
    with_gpu = workers if lab.placement == "train" else 1
    share = capacity.gpu_share(gpus)
    bundles = tuple(capacity.Resources(n, share if i < with_gpu else 0.0) for i, n in enumerate(cpus))
    plural = "worker" if workers == 1 else "workers"
    capacity.require(f"node {node.name} (lab {node.lab}) with {workers} {plural}", bundles, cluster, remedy)
    if asked.precision not in ("auto", "fp32"):
        if lab.placement == "rllib":
            raise BadInput(f"node {node.name}: lab {node.lab} learns in fp32 only, not in {asked.precision}")
        if not gpus:
            raise BadInput(f"node {node.name}: precision {asked.precision} needs a GPU for each worker; CPUs have fp32")
    if workers > 1 and 0 < share < 1:
        raise BadInput(
            f"node {node.name}: {workers} workers with {gpus:g} GPU each would share a GPU, which NCCL can't join them "
            "on: give each a whole one, or take one worker"
        )
    field = lab.batch_field(node.config)
    batch = getattr(node.config, field, workers)
    if batch % workers:
        raise BadInput(
            f"node {node.name}: {field} is {batch}, which can't be split evenly between {workers} workers: take "
            f"{workers * max(1, batch // workers)}"
        )
    return gpus, bundles


def cpus_of_processes(node: Node) -> list[float]:
    """CPUs of each process of the node: what the scheduler counts, and what is reserved of Ray."""
    lab, asked = labs.get(node.lab), node.resources
    if lab.placement == "train":
        return [float(asked.cpus_per_worker)] * max(1, asked.workers)
    learner, *actors = lab.bundles(node.config)
    return [learner * asked.cpus_per_worker, *actors]


def with_best_config(planned: PlannedNode) -> PlannedNode:
    """The node with the best config of the sweep that it follows; a node that follows none as it is.

    A run that was begun keeps its config, even if the sweep was extended and has found a better one since.
    """
    if BEST_CONFIG_ROLE not in planned.job.upstream:
        return planned
    node, lab = planned.node, labs.get(planned.node.lab)
    if has_record(planned.folder):
        config = lab.config.model_validate(read_record(planned.folder)["config"])
    else:
        best = yaml.safe_load((planned.job.upstream[BEST_CONFIG_ROLE] / "best.yaml").read_text())
        config = lab.resolve(node.preset, node.size, best)
    node = replace(node, config=config)
    fields = {"config": config.model_dump(mode="json"), "bundles": cpus_of_processes(node)}
    return replace(planned, node=node, job=planned.job.model_copy(update=fields))


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
        "precision": node.resources.precision,
        "compile": node.resources.compile,
        "warm_up_from": node.warm_up_from,
        "data": datasets.identity(labs.get(node.lab), data, node.data),
        **({"measured": node.measured} if node.measured else {}),
    }


def job_of(node: Node, gpus: float, folder: Path, data: Path, upstream: Mapping[str, Path]) -> Job:
    """The job of the node's workers; `gpus` for each of them."""
    return Job(
        lab=node.lab,
        code=worker_code(node.lab),
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
        precision=node.resources.precision,
        compiled=node.resources.compile,
        warm_up_from=node.warm_up_from,
        bundles=cpus_of_processes(node),
        test=node.measured is None,
        measured=node.measured,
    )


def create_record(
    planned: PlannedNode,
    parent: Path,
    *,
    suffix: str = "",
    more_tags: Mapping[str, str] | None = None,
    **more: Any,
) -> None:
    """Write the record of a run that has none yet: who it is, for whoever looks at the folder.

    Args:
        planned: the run's node.
        parent: folder of the pipeline or the sweep that the run is part of.
        suffix: what a trial adds to the run's name.
        more_tags: what a trial adds to the run's tags.
        more: what a trial adds to the record's fields.
    """
    node = planned.node
    if has_record(planned.folder):
        return
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
        config=planned.job.config,
        data=_describe_data(node, planned.job.data),
        params=_params(planned),
        command=repeat_command(node),
        tags={**_tags(planned), **(more_tags or {})},
        **{"serve": node.measured is None, **more},
    )


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted names: what MLflow's parameters can hold."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat.update(flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value})
    return flat


def _describe_data(node: Node, packed: Path) -> dict[str, Any]:
    """The run's data: where they are, where they came from, their digest and counts."""
    lab = labs.get(node.lab)
    data: dict[str, Any] = {"packed": str(packed), "origin": "environment", "splits": {}, "source": node.lab}
    data["digest"] = datasets.digest(lab, packed)
    if lab.data is not None:
        manifest = shards.manifest(packed)
        source = str(node.data) if node.data else lab.data.__name__
        data.update(origin=manifest["origin"], splits=manifest["splits"], source=source)
    return data


def _settings_of(folder: Path) -> str:
    """A run's settings but for its seed: its lab, its preset, the config fields that differ from the preset's, and the
    settings of the runs that it needs itself."""
    record = read_record(folder)
    lab, params = labs.get(record["lab"]), record["params"]
    usual = flatten(lab.resolve(record["preset"], record["size"]).model_dump(mode="json"))
    own = [name for name in (*usual, *lab.needs) if name in params and params[name] != usual.get(name)]
    return " ".join([lab.name, record["preset"], *(f"{name}={params[name]}" for name in own)])


def _params(planned: PlannedNode) -> dict[str, Any]:
    """The run's parameters in MLflow; `cpus` and `gpus` are those that all its processes hold. The settings of each
    run that it needs are one as well, by role: two runs that differ in nothing else are no seeds of one setting."""
    job, held = planned.job, capacity.in_all(planned.bundles)
    needed = {role: folder for role, folder in job.upstream.items() if role != BEST_CONFIG_ROLE}
    return {
        **flatten(job.config),
        **{role: _settings_of(folder) for role, folder in needed.items()},
        "preset": job.preset,
        "size": job.size,
        "seed": job.seed,
        "workers": max(1, job.workers),
        "cpus_per_worker": job.cpus_per_worker,
        "gpus_per_worker": job.gpus_per_worker,
        "cpus": held.cpus,
        "gpus": held.gpus,
        "precision": job.precision,
        "compile": job.compiled,
    }


def _tags(planned: PlannedNode) -> dict[str, str]:
    """The run's tags in MLflow."""
    node, metric = planned.node, labs.get(planned.node.lab).metric
    return {
        "labs.lab": node.lab,
        "labs.preset": node.preset,
        "labs.size": node.size,
        "labs.seed": str(node.seed),
        "labs.metric": metric.name,
        "labs.goal": metric.goal,
        "labs.fingerprint": planned.fingerprint,
        "labs.folder": str(planned.folder),
        **({MEASURED: node.measured} if node.measured else {}),
    }
