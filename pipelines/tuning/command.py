"""`labs tune`: one sweep as a command of its own; a pipeline's tune nodes go through `conduct.py` as well."""

import time
from pathlib import Path

from cluster.errors import ConnectionLost
from pipelines import fetched, preparation
from pipelines.changing_cluster import ChangingCluster
from pipelines.following import driving
from pipelines.home import has_record, read_record, reconcile, write_record
from pipelines.interrupts import Interrupts, end_at_once
from pipelines.pipeline import EXIT, cluster_for, complete_mirror, connected, end_recorded, run_pipeline
from pipelines.plan import plan
from pipelines.reporter import Reporter
from pipelines.spec import Node, Tuning, default_needs
from pipelines.tracking.mirroring import Mirroring
from pipelines.tracking.writer import Store
from pipelines.tuning.conduct import conduct
from pipelines.tuning.start import start_of
from pipelines.tuning.sweep import Sweep


def run_sweep(home: Path, node: Node, tuning: Tuning, store: Store, reporter: Reporter) -> tuple[Sweep | None, int]:
    """Run what the lab needs and then the sweep; started again, the same call continues or extends it, or says that
    nothing is left to do.

    Returns:
        The sweep, None if it was interrupted before its data were prepared, and the exit code.
    """
    reconcile(home)
    start_of(home, tuning)  # what is wrong there is said before data are made
    cluster = cluster_for([node], reporter)
    *needed, node = default_needs(node)
    nodes = [*needed, node]
    preparation.check(home, nodes, reporter)
    before, code = run_pipeline(home, f"tune-{node.lab}", needed, store, reporter) if needed else (None, 0)
    with Interrupts() as interrupts:
        if not preparation.prepare(home, [node], interrupts, reporter):
            return None, 130
        data = preparation.places(home, nodes)
        planned = plan(home, needed, cluster, data)
        upstream = {role: planned[name] for role, name in node.needs.items()}
        sweep = Sweep(home, node, tuning, cluster, data[node.name], upstream)
        fetched.note(home, sweep.folder)
        if code:
            _note_missing_needs(sweep, before, store, reporter)
            return sweep, code
        with driving(sweep.folder, interrupts, reporter, lambda: reporter.sweep_progress(sweep)) as part:
            if part == "left":
                return sweep, 130
            if part == "drive" or (_is_to_be_extended(sweep) and not interrupts.count):
                with end_recorded(sweep.folder):
                    _conduct(home, sweep, store, interrupts, reporter)
    complete_mirror(store, reporter)
    return sweep, EXIT[read_record(sweep.folder)["status"]]


def _is_to_be_extended(sweep: Sweep) -> bool:
    """Whether another process has finished the sweep, with fewer trials than this command asks for."""
    return has_record(sweep.folder) and read_record(sweep.folder)["status"] == "FINISHED" and not sweep.finished()


def _note_missing_needs(sweep: Sweep, before: Path | None, store: Store, reporter: Reporter) -> None:
    """Record that the sweep did not start, and report how the pipeline ended that trains what it needs."""
    if before:
        reporter.pipeline_ended(before, store)
    sweep.create_record()
    write_record(sweep.folder, status=read_record(before)["status"] if before else "KILLED")


def _conduct(home: Path, sweep: Sweep, store: Store, interrupts: Interrupts, reporter: Reporter) -> None:
    sweep.create_record()
    if sweep.finished() and sweep.complete():
        reporter.say(f"sweep {sweep.folder.name} already has its {sweep.tuning.trials} trials; more --trials extend it")
        return
    cluster = ChangingCluster(home, connected(home, reporter), reporter.say)

    def end(lost: ConnectionLost) -> None:
        """Ray Tune waits for the head node for ever, so the command ends here."""
        write_record(sweep.folder, status="KILLED", error=str(lost), ended=time.time())
        reporter.say(str(lost))
        end_at_once(1)

    with (
        Mirroring(sweep.folder, store, reporter.say),
        reporter.sweep_progress(sweep) as progress,
        cluster.watched(end),
    ):
        conduct(sweep, lambda: interrupts.count > 0, progress.tick)
