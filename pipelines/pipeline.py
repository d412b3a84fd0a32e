"""One command's way through a pipeline: data folders, plan, the graph of nodes and data, the mirror in MLflow.

Nothing here prints: what people are to know goes to a reporter.
"""

import hashlib
import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cluster import capacity, connect
from labs.core import events
from labs.core.errors import BadInput
from pipelines import fetched, preparation, shared_home, starting_cluster
from pipelines.changing_cluster import ChangingCluster
from pipelines.error_file import first_line
from pipelines.estimates import Estimates
from pipelines.following import driving
from pipelines.home import has_record, killed_nodes, read_record, reconcile, write_record
from pipelines.interrupts import Interrupts
from pipelines.node import PlannedNode, resources
from pipelines.plan import demand, missing_data, plan
from pipelines.reporter import Reporter
from pipelines.scheduler import Scheduler, describe
from pipelines.spec import Node
from pipelines.tracking.mirroring import Mirroring
from pipelines.tracking.writer import Store, StoreUnreachable

EXIT = {"FINISHED": 0, "FAILED": 1, "KILLED": 130}
MIRROR_END_S = 60.0
"""How long a command that has done its work waits for the store to take it."""


def run_pipeline(
    home: Path, name: str, nodes: list[Node], store: Store, reporter: Reporter, *, spec: str = "", force: bool = False
) -> tuple[Path | None, int]:
    """Run the nodes as one pipeline; started again, the same call continues or says that nothing is left to do.

    Args:
        home: the home folder.
        name: the pipeline's name.
        nodes: the nodes, in an order in which each follows what it needs.
        store: the MLflow store.
        reporter: takes what people are to know.
        spec: text of the spec file, kept in the pipeline's folder.
        force: run again what has already finished.

    Returns:
        The pipeline's folder, None if it was interrupted before it had one, and the exit code.
    """
    reconcile(home)
    cluster = cluster_for(nodes, reporter)
    preparation.check(home, nodes, reporter)
    with_folder, estimates = [node for node in nodes if node.data], Estimates(home)
    with Interrupts() as interrupts:
        if not preparation.is_prepared(home, with_folder):
            cluster = connect_for(home, nodes, cluster, reporter)
            if not preparation.prepare(home, with_folder, interrupts, reporter):
                return None, 130
        planned = plan(home, nodes, cluster, preparation.places(home, nodes), force=force, estimates=estimates)
        folder = open_folder(home, name, planned, spec)
        fetched.note(home, folder)
        with driving(folder, interrupts, reporter, lambda: reporter.pipeline_progress(folder)) as part:
            if part == "left":
                return folder, 130
            if part == "drive":
                with end_recorded(folder):
                    _run_nodes(home, folder, planned, estimates, cluster, store, interrupts, reporter)
    if not interrupts.count or any(has_record(p.folder) for p in planned.values()):
        complete_mirror(store, reporter)  # where nothing has begun, to open a store would only hold up the end
    return folder, _exit_code(folder)


def cluster_resources() -> capacity.Cluster:
    """The cluster of RAY_ADDRESS, or else this machine; starts no Ray."""
    return connect.connect() if os.environ.get("RAY_ADDRESS") else capacity.total()


def cluster_for(nodes: Sequence[Node], reporter: Reporter) -> capacity.Cluster:
    """The cluster of RAY_ADDRESS, or else this machine, with room for each of the nodes; starts no Ray.

    A cluster without any CPU, such as one whose autoscaler starts from nothing, is asked for what they need, and waited
    for.

    Raises:
        ClusterError: a node can never fit; the message has the numbers.
    """
    cluster = cluster_resources()
    if nodes and not cluster.resources.cpus:
        cluster = starting_cluster.wait_for(nodes, reporter)
    for node in nodes:
        resources(node, cluster)
    return cluster


def complete_mirror(store: Store, reporter: Reporter) -> None:
    """Mirror everything below the home folder that the store does not have yet; what goes wrong is only a warning.

    A store that is slow holds up the end of the command for a minute at most.
    """
    thread = threading.Thread(target=_complete_mirror, args=(store, reporter), name="last-mirror", daemon=True)
    with reporter.status(f"writing to MLflow store {store.shown_uri}"):
        thread.start()
        thread.join(MIRROR_END_S)
    if thread.is_alive():
        reporter.say(
            f"warning: MLflow store {store.shown_uri} has not taken everything within {MIRROR_END_S:g} s. "
            "Nothing is lost: `labs sync` writes the rest."
        )


def _complete_mirror(store: Store, reporter: Reporter) -> None:
    try:
        faults = store.sync_all()[1]
    except StoreUnreachable as error:
        reporter.say(f"warning: {error}. Nothing is lost: `labs sync` writes it when the store is back.")
    except Exception as error:  # the run has ended well: its own end counts
        reporter.say(f"warning: MLflow store {store.shown_uri}: {store.reason(error)}. `labs sync` tries again.")
    else:
        for fault in faults:
            reporter.say(f"warning: {fault}")


def open_folder(home: Path, name: str, planned: Mapping[str, PlannedNode], spec: str) -> Path:
    """The pipeline's folder: the same for the same nodes with the same fingerprints and attempts, whenever asked."""
    runs = {node: p.folder.name for node, p in planned.items()}
    digest = hashlib.sha256(f"{name}{sorted(runs.items())}".encode()).hexdigest()[:12]
    folder = home / "pipelines" / f"{name}-{digest}"
    if not has_record(folder):
        write_record(
            folder,
            key=uuid.uuid4().hex,
            name=name,
            status="WAITING",
            created=time.time(),
            seconds=0.0,
            error="",
            nodes={node: describe(p) for node, p in planned.items()},
            params={"pipeline": name, "nodes": len(planned)},
            tags={"labs.pipeline": name, "labs.folder": str(folder)},
        )
        events.write_text(folder / "spec.yaml", spec)
    return folder


def connect_for(home: Path, nodes: Iterable[Node], cluster: capacity.Cluster, reporter: Reporter) -> capacity.Cluster:
    """Connect Ray unless every node trains in this process."""
    if all(node.resources.workers == 0 and node.tuning is None for node in nodes):
        return cluster
    return connected(home, reporter)


def connected(home: Path, reporter: Reporter) -> capacity.Cluster:
    """Connect Ray, and serve the nodes that do not see the home folder."""
    if not capacity.is_connected() and not os.environ.get("RAY_ADDRESS"):
        reporter.say("starting Ray on this machine")  # which takes seconds, and on a busy machine up to a minute
    cluster = connect.connect()
    shared_home.serve_nodes_without_it(home, reporter.say)
    return cluster


@contextmanager
def end_recorded(folder: Path) -> Iterator[None]:
    """Where an error ends the command, such as a cluster that does not answer, the folder's record says so."""
    try:
        yield
    except BaseException as error:
        with suppress(OSError, BadInput):  # a full disk or a damaged record, which may be the error itself
            killed = killed_nodes(read_record(folder))
            write_record(folder, status="FAILED", error=first_line(error), ended=time.time(), **killed)
        raise


def _run_nodes(
    home: Path, folder: Path, planned: Mapping[str, PlannedNode], estimates: Estimates, cluster: capacity.Cluster,
    store: Store, interrupts: Interrupts, reporter: Reporter,
) -> None:  # fmt: skip
    missing = missing_data(home, planned, estimates)
    ahead = demand(planned, missing)
    if all(p.finished() for p in planned.values()):
        if read_record(folder)["status"] == "FINISHED":
            reporter.say(f"pipeline {folder.name} has already finished; --force runs it again")
            return
    else:
        preparation.begin_first(missing, ahead.remaining)
        cluster = connect_for(home, [p.node for p in planned.values()], cluster, reporter)
    scheduler = Scheduler(folder, planned, missing, ahead, ChangingCluster(home, cluster, reporter.say))
    with Mirroring(folder, store, reporter.say), reporter.pipeline_progress(folder) as progress:
        scheduler.run(interrupts, progress.tick)


def _exit_code(folder: Path) -> int:
    """2 where nothing but bad input kept the pipeline from its end."""
    record = read_record(folder)
    errors = [node["error"] for node in record["nodes"].values() if node["status"] == "FAILED"]
    only_bad_input = errors and all(error.startswith("BadInput:") for error in errors)
    return 2 if only_bad_input and record["status"] == "FAILED" else EXIT.get(record["status"], 1)
