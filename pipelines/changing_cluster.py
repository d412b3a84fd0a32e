"""A cluster whose nodes join and leave while work runs: changes are said, and who joins is asked for the home."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from cluster import capacity, connect
from cluster.capacity import Cluster
from cluster.errors import ConnectionLost
from pipelines import home_files, shared_home

LOOK_EVERY_S = 5.0
"""How often nodes that joined or left the cluster are noticed."""


class ChangingCluster:
    """The nodes that work is counted on.

    A node that joins counts once it has said whether it sees the home folder; see `shared_home`.

    Args:
        home: the home folder.
        cluster: the nodes that were there, and were asked, before anything started.
        say: takes one sentence for each change.
    """

    def __init__(self, home: Path, cluster: Cluster, say: Callable[[str], None]) -> None:
        self.home, self.say = home, say
        self.there = self.usable = cluster
        self.uncounted: set[str] = set()
        """Nodes that have not answered yet."""
        self.looked_at = time.monotonic()
        self.lifeline = connect.Lifeline()
        self.noting = Thread()

    def look(self) -> Cluster:
        """Look at the cluster now and then; returns the nodes that work can be placed on.

        Raises:
            ConnectionLost: its head node has been silent for too long.
        """
        if capacity.is_connected() and time.monotonic() - self.looked_at > LOOK_EVERY_S:
            self.looked_at = time.monotonic()
            if self.lifeline.holds() and not self.noting.is_alive():
                # Not in this thread: if the head node dies just now, Ray's answer never comes.
                self.noting = Thread(target=lambda: self._note(capacity.total()), name="cluster", daemon=True)
                self.noting.start()
        return self.usable

    @contextmanager
    def watched(self, on_lost: Callable[[ConnectionLost], object]) -> Iterator[None]:
        """While entered, a thread looks: for callers that wait for Ray themselves, who can't be interrupted.

        Args:
            on_lost: called in that thread when the head node is lost.
        """
        left = Event()

        def watch() -> None:
            while not left.wait(LOOK_EVERY_S):
                try:
                    self.look()
                except ConnectionLost as lost:
                    on_lost(lost)
                    return

        Thread(target=watch, name="lifeline", daemon=True).start()
        try:
            yield
        finally:
            left.set()

    def _note(self, now: Cluster) -> None:
        before, self.there = self.there, now
        joined = {node: now.host(node) for node in now.nodes.keys() - before.nodes.keys()}
        left = {node: before.host(node) for node in before.nodes.keys() - now.nodes.keys()}
        if joined or left:
            changes = [f"node {host} joined" for host in sorted(joined.values())]
            changes += [f"node {host} left" for host in sorted(left.values())]
            self.say(f"the cluster now has {now}: {', '.join(changes)}")
        if joined:
            self.uncounted |= joined.keys()
            Thread(target=self._ask, args=(joined,), name="shared-home", daemon=True).start()
        self.usable = Cluster({name: has for name, has in now.nodes.items() if name not in self.uncounted})

    def _ask(self, names: Mapping[str, str]) -> None:
        """Ask nodes that joined whether they see the home folder, in a thread: one may take long to answer."""
        try:
            lacking, silent = shared_home.ask(self.home, names)
        except Exception as error:  # of the disk, or of Ray: what runs does not depend on the answer
            self.say(f"warning: {', '.join(names.values())} could not be asked for the home folder: {error}")
            lacking, silent = set(), set()
        if lacking or silent:
            home_files.serve(lacking)
        if lacking:
            self.say(shared_home.served(self.home, [names[node] for node in lacking]))
        self.uncounted -= names.keys()
        if silent:
            self.say(shared_home.unknown_on(self.home, [names[node] for node in silent]))
