"""A job's log over connections that are lost, with a job server of the test's own."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from cluster import job_log, jobs
from cluster.errors import ConnectionLost

JOB = "raysubmit_1"
LOG = [f"epoch {number}\n" for number in range(8)]
WHOLE = "".join(LOG)


@dataclass
class Server:
    """A Ray job server with one job, whose log grows by a line with each connection or question."""

    ends_with: int = 7
    written: str = ""
    connections: int = 0
    questions: int = 0
    refuses: Callable[["Server"], bool] = lambda server: False
    """Whether it answers with an error now."""
    has_websockets: bool = True
    address: str = ""
    lines: Iterator[str] = field(default_factory=lambda: iter(LOG))

    def grow(self) -> None:
        self.written += next(self.lines, "")

    def job(self) -> dict[str, Any]:
        ended = self.written == WHOLE
        return {
            "type": "SUBMISSION",
            "submission_id": JOB,
            "status": "FAILED" if ended else "RUNNING",
            "entrypoint": "",
            "driver_exit_code": self.ends_with if ended else None,
        }

    @web.middleware
    async def check(self, request: web.Request, handler: Any) -> Any:
        self.questions += 1
        if self.refuses(self):
            return web.Response(status=502)
        return await handler(request)

    async def tail(self, request: web.Request) -> web.StreamResponse:
        """Send the log so far, with half a line at its end, and close the connection as proxies do."""
        self.connections += 1
        self.grow()
        if not self.has_websockets:
            return web.Response(status=400)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for start in range(0, len(self.written) - 3, 10):
            await socket.send_str(self.written[start : min(start + 10, len(self.written) - 3)])
        return socket

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self.check])

        async def version(request: web.Request) -> web.Response:
            return web.json_response({"ray_version": "2.60.0", "version": "4"})

        async def listed(request: web.Request) -> web.Response:
            return web.json_response([self.job()])

        async def info(request: web.Request) -> web.Response:
            return web.json_response(self.job())

        async def log(request: web.Request) -> web.Response:
            return web.json_response({"logs": self.written})

        places = {"/api/version": version, "/api/jobs/": listed, f"/api/jobs/{JOB}": info}
        places |= {f"/api/jobs/{JOB}/logs": log, f"/api/jobs/{JOB}/logs/tail": self.tail}
        application.add_routes([web.get(place, answer) for place, answer in places.items()])
        return application

    def follow(self) -> tuple[int, str]:
        said: list[str] = []
        code = jobs.logs(self.address, JOB, follow=True, write=said.append)
        return code, "".join(said)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(job_log, "RETRY_S", (0.01, 0.02))
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    server, loop = Server(), asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(server.application())
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    runner = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield server
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_a_closed_connection_is_taken_up_again_and_no_line_comes_twice(server: Server) -> None:
    assert server.follow() == (7, WHOLE)
    assert server.connections == len(LOG)


def test_a_proxy_that_lets_no_websocket_through_costs_no_line(server: Server) -> None:
    server.has_websockets = False
    assert server.follow() == (7, WHOLE)


def test_a_job_server_that_is_away_for_a_while_is_waited_for_and_said_once(server: Server) -> None:
    server.refuses = lambda server: 12 < server.questions < 20
    code, said = server.follow()
    away = (
        f"job server at {server.address}: it does not answer: asking again for 120 s, job {JOB} may go on meanwhile\n"
    )
    back = f"job server at {server.address}: it answers again\n"
    assert (code, said.count(away), said.count(back)) == (7, 1, 1)
    assert f"\n{away}" in said  # also where a line of the log was cut
    assert said.replace(away, "").replace(back, "").replace("\n", "") == WHOLE.replace("\n", "")


def test_a_job_server_that_stays_silent_ends_the_command(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_log, "GIVE_UP_S", 0.1)
    server.refuses = lambda server: server.questions > 12
    with pytest.raises(
        ConnectionLost, match=f"has stopped answering, job {JOB} may go on: labs jobs logs {JOB} --follow"
    ):
        server.follow()


def test_a_connection_that_is_dead_is_replaced(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a laptop has slept: it looks open, and brings nothing."""

    async def dead(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        server.connections += 1
        server.grow()
        await asyncio.sleep(20)
        return socket

    monkeypatch.setattr(job_log, "QUIET_S", 0.05)
    monkeypatch.setattr(job_log, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(Server, "tail", lambda self, request: dead(request))
    code, said = server.follow()
    assert (code, said) == (7, WHOLE)
