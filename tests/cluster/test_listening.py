"""Nobody gets in: what starts on this machine listens on loopback alone."""

from contextlib import suppress

import psutil


def listening(pid: int) -> list[tuple[str, str, int]]:
    """Name, address and port of every listening socket of a process and its descendants."""
    process = psutil.Process(pid)
    found = []
    for member in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # one that ends while it is looked at listens no more
            found += [
                (member.name(), connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port)
                for connection in member.net_connections("inet")
                if connection.status == psutil.CONN_LISTEN
            ]
    return found


def outside(found: list[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    return [one for one in found if one[1] not in ("127.0.0.1", "::1")]


def test_every_port_of_a_ray_that_starts_here_is_on_loopback(ray_session: None) -> None:
    found = listening(psutil.Process().pid)
    assert len(found) > 3
    assert outside(found) == []
