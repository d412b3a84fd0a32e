"""One command's way through a pipeline: data, fingerprints, the graph, the mirror, and what is said at the end."""

import os
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from filelock import Timeout

import labs
from cluster import capacity, connect
from labs.core import shards
from pipelines import datasets
from pipelines.home import driver_lock, is_driven, read_record, reconcile
from pipelines.interrupts import Interrupts
from pipelines.node import Planned, resources
from pipelines.plan import plan
from pipelines.scheduler import Graph, open_folder
from pipelines.show.display import Progress, say, screen, summarise, summary_table
from pipelines.spec import Node
from pipelines.tracking.writer import Store, StoreUnreachable, is_mirrored, run_id

MIRROR_EVERY_S = 2.0
RETRY_STORE_S = 30.0
EXIT = {"FINISHED": 0, "FAILED": 1, "KILLED": 130}


def run_pipeline(
    home: Path, name: str, nodes: list[Node], store: Store, *, spec: str = "", force: bool = False
) -> tuple[dict[str, Any], int]:
    """Run the nodes as one pipeline; started again, the same call continues or says that nothing is left to do.

    Returns:
        The summary (`summarise`) and the exit code.
    """
    reconcile(home)
    cluster = cluster_resources()
    for node in nodes:
        resources(node, cluster)
    data = _found_data(home, nodes)
    with Interrupts() as interrupts:
        if data is None:
            cluster = _connect(nodes, cluster)
            data = _prepare_data(home, nodes, interrupts)
        if data is None:
            say("interrupted while data were prepared; the same command continues")
            return {"pipeline": name, "run_id": None, "status": "KILLED", "seconds": 0.0, "nodes": []}, 130
        planned = plan(home, nodes, cluster, data, force=force)
        folder = open_folder(home, name, planned, spec)
        try:
            with driver_lock(folder).acquire(timeout=0):
                _run_graph(folder, planned, cluster, store, interrupts)
        except Timeout:
            if not _follow(folder, interrupts):
                return summarise(folder, {}), 130
    return _conclude(folder, store)


def cluster_resources() -> capacity.Resources:
    """What the cluster of RAY_ADDRESS, or else this machine, has in all; starts no Ray."""
    return connect.connect() if os.environ.get("RAY_ADDRESS") else capacity.total()


def _connect(nodes: Iterable[Node], cluster: capacity.Resources) -> capacity.Resources:
    """Connect Ray unless every node trains in this process."""
    if all(node.resources.workers == 0 for node in nodes):
        return cluster
    return connect.connect()


def _found_data(home: Path, nodes: Iterable[Node]) -> dict[str, Path] | None:
    """Node name -> prepared data, if all of them are there; broken folders are said before anything starts."""
    found: dict[str, Path] = {}
    for node in nodes:
        lab = labs.get(node.lab)
        place = datasets.location(home, lab, node.size, node.data)
        if lab.data is not None and not (place / shards.MANIFEST).exists():
            if node.data is not None:
                with screen.status(f"checking {node.data}"):
                    datasets.check(lab, node.data)
            return None
        found[node.name] = place
    return found


def _prepare_data(home: Path, nodes: list[Node], interrupts: Interrupts) -> dict[str, Path] | None:
    """Prepare the nodes' data, side by side in Ray tasks; None when interrupted."""
    import ray

    if not ray.is_initialized():
        return {node.name: datasets.prepared(home, labs.get(node.lab), node.size, node.data) for node in nodes}
    wanted = {(node.lab, node.size, node.data) for node in nodes}
    places = {what: datasets.location(home, labs.get(what[0]), *what[1:]) for what in wanted}
    task = ray.remote(num_cpus=1)(_prepare)
    waiting = {task.remote(home, *what): what for what in wanted}
    paths: dict[tuple[str, str, Path | None], Path] = {}
    with screen.status("preparing data") as status:
        while waiting:
            packed = {what[0]: datasets.packed_bytes(places[what]) for what in waiting.values()}
            done = ", ".join(f"{lab} ({size / 1e6:.0f} MB packed)" for lab, size in sorted(packed.items()))
            status.update(f"preparing data of {done}")
            ready, _ = ray.wait(list(waiting), timeout=0.2)
            for ref in ready:
                paths[waiting.pop(ref)] = ray.get(ref)
            if interrupts.count:
                for ref in waiting:
                    ray.cancel(ref, force=True)
                return None
    return {node.name: paths[node.lab, node.size, node.data] for node in nodes}


def _prepare(home: Path, lab: str, size: str, source: Path | None) -> Path:
    return datasets.prepared(home, labs.get(lab), size, source)


def _run_graph(
    folder: Path, planned: Mapping[str, Planned], cluster: capacity.Resources, store: Store, interrupts: Interrupts
) -> None:
    if all(p.finished for p in planned.values()):
        if read_record(folder)["status"] == "FINISHED":
            say(f"pipeline {folder.name} has already finished; --force runs it again")
            return
    else:
        cluster = _connect([p.node for p in planned.values()], cluster)
    graph = Graph(folder, planned, cluster)
    with Mirroring(folder, store), Progress(folder) as progress:
        graph.run(interrupts, progress.tick)


class Mirroring:
    """While entered, a thread keeps the store up to date with a pipeline or a sweep and all its parts."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder, self.store = folder, store
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._work, name="mirror", daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *raised: object) -> None:
        self.ended.set()
        self.thread.join(timeout=60)

    def _work(self) -> None:
        warned, wait = False, MIRROR_EVERY_S
        while not self.ended.wait(wait):
            try:
                self._once()
                wait = MIRROR_EVERY_S
            except StoreUnreachable as error:
                wait = RETRY_STORE_S
                if not warned:
                    say(f"warning: {error}. Training goes on; the next command, or `labs sync`, writes it.")
                    warned = True

    def _once(self) -> None:
        nodes = [Path(node["folder"]) for node in read_record(self.folder).get("nodes", {}).values()]
        wholes = [self.folder, *nodes]
        for folder in [*wholes, *(trial for whole in wholes for trial in sorted(whole.glob("trials/*")))]:
            if self.ended.is_set():
                return
            if (folder / "record.json").exists() and not is_mirrored(folder, read_record(folder), self.store.name):
                self.store.sync(folder)


def _follow(folder: Path, interrupts: Interrupts) -> bool:
    """Show what another process does with the same pipeline until it ends; False if the view was interrupted."""
    say(f"another process runs {folder.name}; following it (Ctrl-C ends only this view)")
    with Progress(folder) as progress:
        while is_driven(folder) and not interrupts.count:
            progress.tick()
            time.sleep(0.2)
    return not interrupts.count


def _conclude(folder: Path, store: Store) -> tuple[dict[str, Any], int]:
    """Complete the mirror of everything below the home, then sum up."""
    try:
        store.sync_all()
    except StoreUnreachable as error:
        say(f"warning: {error}. Nothing is lost: `labs sync` writes it when the store is back.")
    record = read_record(folder)
    folders = [str(folder), *(node["folder"] for node in record["nodes"].values())]
    summary = summarise(folder, {path: run_id(Path(path), store) for path in folders})
    bad_input = any(node["error"].startswith("BadInput:") for node in summary["nodes"])
    return summary, 2 if bad_input else EXIT.get(record["status"], 1)


def show(summary: dict[str, Any], home: Path | None) -> None:
    """The table at the end, the errors, and what to type next.

    Args:
        summary: what `run_pipeline` returned.
        home: what the user gave as `--home`, to be repeated in what to type next.
    """
    screen.print(summary_table(summary))
    for node in summary["nodes"]:
        if node["error"]:
            hint = f" (traceback: {node['folder']}/error.txt)" if (Path(node["folder"]) / "error.txt").exists() else ""
            say(f"{node['name']}: {node['error']}{hint}", style="red")
    where = f" --home {home}" if home else ""
    finished = [node for node in summary["nodes"] if node["status"] == "FINISHED" and node["run_id"]]
    if finished:
        last = finished[-1]  # of `labs train`, the lab itself: what it needs stands before it
        say(f"next: labs ui{where}")
        say(f"      labs compare{where}")
        say(f"      labs deliver {last['lab']} --run {last['run_id'][:8]} --out delivered{where}")
    if summary["status"] != "FINISHED":
        say("next: the same command again continues where this one ended")
