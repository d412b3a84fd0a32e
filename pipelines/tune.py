"""`labs tune`: one sweep as a command of its own; `conduct.py` is what a pipeline's tune nodes share with it."""

from pathlib import Path
from typing import Any

from filelock import Timeout

import labs
from cluster import connect
from cluster.errors import ClusterError
from labs.errors import BadInput
from pipelines import datasets
from pipelines.conduct import conduct
from pipelines.display import say
from pipelines.execute import EXIT, Mirroring, cluster_resources
from pipelines.home import driver_lock, reconcile
from pipelines.interrupts import Interrupts
from pipelines.planned import resources
from pipelines.spec import Node, Tuning
from pipelines.sweep import Sweep
from pipelines.sweep_report import SweepProgress, document
from pipelines.tracking import Store, StoreUnreachable


def run_sweep(home: Path, node: Node, tuning: Tuning, store: Store) -> tuple[dict[str, Any], int]:
    """Run the sweep; started again, the same call continues or extends it, or says that nothing is left to do.

    Returns:
        The document that `--json` prints, and the exit code.
    """
    reconcile(home)
    lab = labs.get(node.lab)
    if lab.needs:
        raise BadInput(f"lab {lab.name} needs other nodes' runs ({', '.join(lab.needs)}): it can't be tuned alone")
    cluster = cluster_resources()
    resources(node, cluster)
    if node.data:
        datasets.check(lab, node.data)
    with Interrupts() as interrupts:
        data = datasets.prepared(home, lab, node.size, node.data)
        sweep = Sweep(home, node, tuning, cluster, data)
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
