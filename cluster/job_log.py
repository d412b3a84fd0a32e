"""A job's log, shown as it grows until the job has ended; a connection that is lost is taken up again."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from aiohttp import ClientError

from cluster.errors import ClusterError, ConnectionLost
from cluster.job_server import plain_errors
from cluster.uri import without_password

LOOK_EVERY_S = 0.5
"""How often a job is asked how it is while its log is silent."""
QUIET_S = 60.0
"""How long a connection may bring nothing before the log is asked for over another one: it may be dead."""
RETRY_S = (0.5, 10.0)
"""The first and the longest pause before a lost connection is taken up again."""
GIVE_UP_S = 120.0
"""How long a job server may be silent."""
CLOSE_S = 3.0
"""How long the stream of a log may take to close."""
FAULTS = (OSError, ClientError, RuntimeError, ValueError, KeyError)
"""What Ray's client raises while a job server restarts, is behind a proxy that has lost it, or has no network."""

Write = Callable[[str], object]


def follow(client: Any, address: str, job_id: str, write: Write) -> int:
    """Show a job's log until it ends.

    Returns:
        The job's own exit code; 130 if it was stopped, or following it was interrupted.

    Raises:
        ConnectionLost: the job server has been silent for `GIVE_UP_S`, or no longer lets this user in.
    """
    try:
        with plain_errors(address):
            job = _run(_Follower(client, without_password(address), job_id, write).follow())
    except KeyboardInterrupt:
        write(f"job {job_id} goes on; to stop it: labs jobs stop {job_id}\n")
        return 130
    except ClusterError as error:
        raise ConnectionLost(f"{error}; job {job_id} may go on") from None
    if job.status == "STOPPED":
        return 130
    if job.driver_exit_code is not None:
        return int(job.driver_exit_code)
    return 0 if job.status == "SUCCEEDED" else 1


class _Follower:
    def __init__(self, client: Any, address: str, job_id: str, write: Write) -> None:
        self.client, self.address, self.job_id, self.write = client, address, job_id, write
        self.shown = 0
        """Characters of the log: each connection sends all of it again."""
        self.in_line = False
        self.answered_at = time.monotonic()
        self.is_waiting = False

    async def follow(self) -> Any:
        """Show the log until the job has ended; returns the job's details."""
        pause = RETRY_S[0]
        while True:
            before = self.shown
            with suppress(*FAULTS):
                await self._stream()
            try:
                job = self._look()
                self._catch_up()
            except FAULTS as error:
                self._wait(error)
            else:
                if job.status.is_terminal():
                    return job
            await asyncio.sleep(pause)
            pause = RETRY_S[0] if self.shown > before else min(2 * pause, RETRY_S[1])

    async def _stream(self) -> None:
        """Show what one connection brings, until it closes, is found dead, or the job has ended.

        While no text comes, the job server is asked how the job is: so a dead cluster is noticed, and the job's end
        5 s before the stream ends.
        """
        chunks, repeated, text_at = self.client.tail_job_logs(self.job_id), self.shown, time.monotonic()
        while True:
            coming = asyncio.ensure_future(anext(chunks, ""))
            try:
                while not coming.done():
                    await asyncio.wait({coming}, timeout=LOOK_EVERY_S)
                    if not coming.done() and (self._look().status.is_terminal() or self._is_dead(text_at)):
                        return
            finally:
                coming.cancel()
                await asyncio.wait({coming}, timeout=CLOSE_S)
            if not (text := coming.result()):
                return
            self._show(text[repeated:])
            repeated, text_at = max(0, repeated - len(text)), time.monotonic()

    def _is_dead(self, text_at: float) -> bool:
        """Whether the log has grown and the connection did not bring it."""
        if time.monotonic() - text_at < QUIET_S:
            return False
        return self._catch_up()

    def _look(self) -> Any:
        job = self.client.get_job_info(self.job_id)
        self.answered_at = time.monotonic()
        if self.is_waiting:
            self._say("it answers again")
            self.is_waiting = False
        return job

    def _catch_up(self) -> bool:
        """Show what the log has beyond what was shown; whether that was anything."""
        text = self.client.get_job_logs(self.job_id)[self.shown :]
        self._show(text)
        return bool(text)

    def _wait(self, error: Exception) -> None:
        """Say that the job server does not answer, or end where it has been silent for too long."""
        again = "the same submission continues its work"
        if "status code 404" in str(error):
            raise ConnectionLost(
                f"the cluster at {self.address} no longer knows job {self.job_id}, as after a new start: {again}"
            ) from None
        if time.monotonic() - self.answered_at > GIVE_UP_S:
            raise ConnectionLost(
                f"the job server at {self.address} has stopped answering, job {self.job_id} may go on: "
                f"labs jobs logs {self.job_id} --follow takes its log up again, and {again}"
            ) from None
        if not self.is_waiting:
            self._say(f"it does not answer: asking again for {GIVE_UP_S:g} s, job {self.job_id} may go on meanwhile")
            self.is_waiting = True

    def _say(self, sentence: str) -> None:
        """A line of this program's between those of the log."""
        start = "\n" if self.in_line else ""
        self.write(f"{start}job server at {self.address}: {sentence}\n")
        self.in_line = False

    def _show(self, text: str) -> None:
        if text:
            self.shown += len(text)
            self.in_line = not text.endswith("\n")
            self.write(text)


def _run(following: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end; Ctrl-C raises at once. Under `asyncio.run` it would wait for the request that is under way,
    with a slow job server for a minute, and then for streams that are slow to close."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(following)
    finally:
        loop.run_until_complete(_close(asyncio.all_tasks(loop)))
        loop.close()


async def _close(left: set[asyncio.Task[Any]]) -> None:
    """End what is still open: the tasks, and then the streams that no task was reading when Ctrl-C came."""
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=CLOSE_S)
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.get_running_loop().shutdown_asyncgens(), CLOSE_S)
