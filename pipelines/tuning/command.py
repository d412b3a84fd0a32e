"""`labs tune`: one sweep as a command of its own; `conduct.py` is what a pipeline's tune nodes share with it."""

from pathlib import Path
from typing import Any

from filelock import Timeout

import labs
from cluster import connect
from cluster.errors import ClusterError
from pipelines import datasets
from pipelines.home import driver_lock, reconcile, write_record
from pipelines.interrupts import Interrupts
from pipelines.node import resources
from pipelines.pipeline import EXIT, Mirroring, cluster_resources, run_pipeline, show
from pipelines.plan import plan
from pipelines.show.display import say
from pipelines.spec import Node, Tuning, default_needs
from pipelines.tracking.writer import Store, StoreUnreachable
from pipelines.tuning.conduct import conduct
from pipelines.show.sweep import SweepProgress, document
from pipelines.tuning.sweep import Sweep


def run_sweep(home: Path, node: Node, tuning: Tuning, store: Store) -> tuple[dict[str, Any], int]:
    """Run what the lab needs and then the sweep; started again, the same call continues or extends it, or says that
    nothing is left to do.

    Returns:
        The document that `--json` prints, and the exit code.
    """
    reconcile(home)
    lab = labs.get(node.lab)
    cluster = cluster_resources()
    resources(node, cluster)
    if node.data:
        datasets.check(lab, node.data)
    *needed, node = default_needs(node)
    first, code = run_pipeline(home, f"tune-{lab.name}", needed, store) if needed else ({}, 0)
    with Interrupts() as interrupts:
        data = {each.name: datasets.prepared(home, labs.get(each.lab), each.size, each.data)
                for each in [*needed, node]}  # fmt: skip
        planned = plan(home, needed, cluster, data)
        upstream = {role: planned[name] for role, name in node.needs.items()}
        sweep = Sweep(home, node, tuning, cluster, data[node.name], upstream)
        if code:
            show(first, None)
            sweep.begin()
            write_record(sweep.folder, status=first["status"])
            return document(sweep, store), code
        try:
            with driver_lock(sweep.folder).acquire(timeout=0):
                status = _conduct(sweep, store, interrupts)
        except Timeout:
            raise ClusterError(f"another process runs the sweep in {sweep.folder}; wait for it, or stop it") from None
    try:
        store.sync_all()
    except StoreUnreachable as error:
        say(f"warning: {error}. Nothing is lost: `labs sync` writes it when the store is back.")
    return document(sweep, store), EXIT[status]


def _conduct(sweep: Sweep, store: Store, interrupts: Interrupts) -> str:
    sweep.begin()
    if sweep.finished and sweep.complete:
        say(f"sweep {sweep.folder.name} already has its {sweep.tuning.trials} trials; more --trials extend it")
        return "FINISHED"
    connect.connect()
    with Mirroring(sweep.folder, store), SweepProgress(sweep) as progress:
        return conduct(sweep, lambda: interrupts.count > 0, progress.tick)
