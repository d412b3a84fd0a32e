"""Which waiting node starts next: the one with the longest remaining path, and others where they do not delay it.

This is EASY backfilling (Lifka, The ANL/IBM SP scheduling system, 1995). The first waiting node that does not fit gets
a reservation: the time when it will fit if what runs ends as estimated. A node behind it starts before it only if it
ends by then, or fits beside it. So no node is starved by smaller ones. Times are in seconds of any one clock, so that a
plan runs the same code on a simulated one.
"""

from bisect import insort
from collections import defaultdict
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import groupby

from cluster import capacity


@dataclass(frozen=True)
class Demand:
    """What nodes ask for, each by its name; one that has finished already takes no time and no room."""

    needs: dict[str, list[str]]
    """The nodes that must finish before it."""
    bundles: dict[str, capacity.Bundles]
    """What it takes of the cluster while it runs."""
    seconds: dict[str, float]
    """Its own estimated seconds."""
    remaining: dict[str, float]
    """Seconds of the longest path from its start to the graph's end: its priority."""


@dataclass(frozen=True)
class Reservation:
    """When the first waiting node will fit, and what is free of the cluster once it runs."""

    time: float
    room: capacity.Room


class BackfillQueue:
    """Nodes that wait for room on the cluster, and those that have it.

    Args:
        ahead: what the nodes ask for.
        cluster: the cluster.
    """

    def __init__(self, ahead: Demand, cluster: capacity.Cluster) -> None:
        self.ahead, self.room = ahead, capacity.Room(cluster)
        self.alike: dict[capacity.Bundles, list[str]] = defaultdict(list)
        """What waiting nodes take -> those nodes, the longest remaining path first."""
        self.ends: dict[str, float] = {}
        """Running node -> its estimated end."""
        self.arrivals: dict[str, int] = {}
        self.has_changed = True

    @property
    def waiting(self) -> list[str]:
        """The waiting nodes, the longest remaining path first."""
        return sorted((name for names in self.alike.values() for name in names), key=self._place)

    def add(self, name: str) -> None:
        """A node waits from now on."""
        self.arrivals[name] = len(self.arrivals)
        insort(self.alike[self.ahead.bundles[name]], name, key=self._place)
        self.has_changed = True

    def remove(self, name: str) -> None:
        """A running node has ended, or a waiting one is given up."""
        if name in self.ends:
            del self.ends[name]
            self.room.give_back(name)
        else:
            self.alike[self.ahead.bundles[name]].remove(name)
        self.has_changed = True

    def update(self, cluster: capacity.Cluster) -> None:
        """Nodes of the cluster may have joined or left, and estimates may have turned out too short."""
        self.room.update(cluster)
        self.has_changed = True

    def start(self, now: float) -> list[str]:
        """The nodes that start now; they hold their room until they are removed."""
        if not self.has_changed:
            return []
        self.has_changed = False
        first: str | None = None
        reservation: Reservation | None = None
        started: list[str] = []
        # Of the nodes that take the same, the next one is looked at only while there is room for such nodes.
        heads = [(*self._place(names[0]), 0, bundles) for bundles, names in self.alike.items() if names]
        heapify(heads)
        while heads:
            *_, place, bundles = heappop(heads)
            names = self.alike[bundles]
            name, end = names[place], now + self.ahead.seconds[names[place]]
            if first is not None:
                reservation = reservation or self._reservation(first, now)
            if not self.room.take(name, bundles):
                first = first or name
                continue
            if reservation and end > reservation.time and not reservation.room.take(name, bundles):
                self.room.give_back(name)
            else:
                self.ends[name] = end
                started.append(name)
            if place + 1 < len(names):
                heappush(heads, (*self._place(names[place + 1]), place + 1, bundles))
        for bundles in {self.ahead.bundles[name] for name in started}:
            self.alike[bundles] = [name for name in self.alike[bundles] if name not in self.ends]
        return started

    def _place(self, name: str) -> tuple[float, int]:
        """What waiting nodes are ordered by."""
        return -self.ahead.remaining[name], self.arrivals[name]

    def _reservation(self, name: str, now: float) -> Reservation:
        """When the node will fit, what runs now and longer than estimated being expected to end next."""
        room, bundles = self.room.copy(), self.ahead.bundles[name]
        for end, others in groupby(sorted(self.ends, key=self.ends.__getitem__), key=self.ends.__getitem__):
            for other in others:
                room.give_back(other)
            if room.take(name, bundles):
                return Reservation(max(end, now), room)
        return Reservation(float("inf"), room)  # what it needs has left the cluster: nothing delays it
