"""Start a Ray on this machine, without the processes that it has no use for there."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cluster import environment
from cluster.errors import ClusterError

OBJECT_STORE_BYTES = 512 * 2**20  # data is memory-mapped from files: only results pass through the store
TIMED_OUT = "node timed out during startup"
"""How Ray says that a process of a node that it has started did not answer."""
QUIET: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
"""Options of `ray.init` that leave out Ray's notices and the workers' output."""


def start(num_cpus: int) -> None:
    """Start a Ray on this machine; once more, on other ports, where its node has not answered within Ray's 30 s.

    Raises:
        ClusterError: it has not answered then either.
    """
    import ray

    for is_last in (False, True):
        try:
            with _needed_processes_alone():
                ray.init(
                    address="local",
                    num_cpus=num_cpus,
                    object_store_memory=OBJECT_STORE_BYTES,
                    _temp_dir=environment.short_folder(),
                    **QUIET,
                )
        except Exception as error:  # Ray has no class for it
            if TIMED_OUT not in str(error):
                raise
            if is_last:
                raise ClusterError(
                    "Ray has not started on this machine within twice 30 s: the machine is busy, or memory or "
                    "processes are short (labs doctor looks at both); the same command tries again"
                ) from None
        else:
            return


@contextmanager
def _needed_processes_alone() -> Iterator[None]:
    """While entered, a Ray starts without what it has no use for on one machine: the autoscaler, the server of a
    dashboard, and what prints the workers' output. They take 2.2 CPU-seconds, and Ray waits for the server."""
    from ray._private import node

    class Node(node.Node):  # type: ignore[misc]
        def start_monitor(self) -> None:
            pass

        def start_api_server(self, **options: Any) -> None:
            pass

        def start_log_monitor(self) -> None:
            pass

    before, node.Node = node.Node, Node
    try:
        yield
    finally:
        node.Node = before
