"""Which workers stay when a job has ended: to launch new ones costs more than many a lab's training.

The driver keeps Ray Train's workers here, and the estimate of how long a pipeline will take keeps what stands for them.
"""

import threading
from collections.abc import Collection
from typing import Generic, Protocol, TypeVar

from pipelines.job import Shape


class Group(Protocol):
    """Workers that take one job after the other."""

    shape: Shape

    def has_ended(self) -> bool:
        """Whether the workers were lost, or have ended."""

    def end(self) -> None:
        """Let the idle workers end."""


G = TypeVar("G", bound=Group)


class IdleWorkers(Generic[G]):
    """Groups of workers that wait for a job; several threads use them."""

    def __init__(self) -> None:
        self.groups: list[G] = []
        self.lock = threading.Lock()

    def put(self, group: G) -> None:
        """The group has done its job."""
        with self.lock:
            self.groups.append(group)

    def take(self, shape: Shape) -> G | None:
        """A group that waits for a job; None where there is none of that shape: then the others end, for a new one."""
        with self.lock:
            self.groups = [group for group in self.groups if not group.has_ended()]
            for group in self.groups:
                if group.shape == shape:
                    self.groups.remove(group)
                    return group
        self.end()
        return None

    def end(self, keep: Collection[Shape] = ()) -> None:
        """Let all end, so that others find room; those of the shapes to keep stay."""
        with self.lock:
            ending = [group for group in self.groups if group.shape not in keep]
            self.groups = [group for group in self.groups if group.shape in keep]
        for group in ending:
            group.end()
