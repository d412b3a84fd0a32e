"""The actor through which a driver and its workers meet; every process that is handed it imports this module."""

import asyncio
from collections import defaultdict
from contextlib import suppress
from typing import Any

JOBS, OUTCOMES = "jobs", "outcomes"


class JobQueues:
    """Two queues, of jobs and of their outcomes, each item of which is taken once.

    Each of Ray's own queues (`ray.util.queue`) is an actor of its own, and so a process more.
    """

    def __init__(self) -> None:
        self.queues: defaultdict[str, asyncio.Queue[Any]] = defaultdict(asyncio.Queue)

    async def put(self, queue: str, item: object) -> None:
        """Append to the queue of this name."""
        await self.queues[queue].put(item)

    async def get(self, queue: str, timeout_s: float) -> Any:
        """Take the first item of the queue; None where there is none in that time."""
        with suppress(TimeoutError):
            return await asyncio.wait_for(self.queues[queue].get(), timeout_s)
        return None
