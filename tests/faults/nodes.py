"""A Ray cluster of several nodes on this machine, each with an address of its own, whose processes the tests kill.

Its nodes are children of a process of their own (python -m tests.faults.nodes), which takes one order a line.
"""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from typing import Any

import pytest

HEAD, NODES = "127.0.0.2", ("127.0.0.3", "127.0.0.4")
QUICK = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
"""A dead node is noticed after three seconds; with Ray's own numbers it takes half a minute."""


class Nodes:
    """The tests' side: gives orders. The first node to be started is the head.

    Args:
        patch: sets what the commands of the test need to join.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch, self.address = patch, ""
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nodes"],
            env={**os.environ, **QUICK},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, address: str, cpus: int = 1) -> None:
        """Start a node."""
        self.address = self._order("start", address, str(cpus))
        self.patch.setenv("RAY_ADDRESS", self.address)

    def kill(self, address: str) -> None:
        """Kill all processes of a node, as when its machine fails."""
        self._order("kill", address)

    def kill_raylet(self, address: str) -> None:
        """Kill the process that is the node; its workers notice that."""
        self._order("kill_raylet", address)

    def end(self) -> None:
        """Kill every node."""
        self.process.communicate(timeout=60)

    def _order(self, *words: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(*words, file=self.process.stdin, flush=True)
        while not (answer := self.process.stdout.readline()).startswith("answer:"):
            assert answer, "the cluster's process has ended"  # Ray prints, too
        return answer.partition(":")[2].strip()


class Keeper:
    """The cluster's side."""

    def __init__(self, folder: str) -> None:
        from ray.cluster_utils import Cluster

        self.folder, self.cluster = folder, Cluster()
        self.nodes: dict[str, Any] = {}

    def start(self, address: str, cpus: str) -> str:
        head = {} if self.cluster.head_node else {"temp_dir": self.folder}
        self.nodes[address] = self.cluster.add_node(
            num_cpus=int(cpus),
            node_ip_address=address,
            object_store_memory=100_000_000,
            include_dashboard=False,
            include_log_monitor=False,
            **head,
        )
        return str(self.cluster.address)

    def kill(self, address: str) -> None:
        node = self.nodes.pop(address)
        self.cluster.remove_node(node, allow_graceful=False)

    def kill_raylet(self, address: str) -> None:
        self.nodes[address].all_processes["raylet"][0].process.kill()


def keep() -> None:
    """Do what the lines of standard input say until there are no more, and kill every node then."""
    folder = tempfile.mkdtemp(prefix="ray-")  # not pytest's: Ray puts sockets in it, whose paths must be short
    keeper = Keeper(folder)
    try:
        for line in sys.stdin:
            order, *words = line.split()
            answer = getattr(keeper, order)(*words)
            print(f"answer:{answer or ''}", flush=True)
    finally:
        for address in reversed(list(keeper.nodes)):
            keeper.kill(address)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    keep()
