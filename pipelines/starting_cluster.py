"""A cluster without a CPU, such as one whose autoscaler starts from nothing: it is asked for nodes, and waited for."""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

from cluster import capacity
from cluster.errors import ClusterError
from pipelines.node import cpus_of_processes, resources
from pipelines.reporter import Reporter
from pipelines.spec import Node

START_WAIT_S = 600.0
"""How long such a cluster may take to start nodes."""
LOOK_EVERY_S = 1.0


def wait_for(nodes: Sequence[Node], reporter: Reporter) -> capacity.Cluster:
    """The connected cluster, when it can hold each of the nodes or `START_WAIT_S` are over."""
    from ray.autoscaler.sdk import request_resources

    largest = max((_asked(node) for node in nodes), key=lambda bundles: sum(bundle["CPU"] for bundle in bundles))
    wanted, deadline = f"{sum(bundle['CPU'] for bundle in largest):g} CPUs", time.monotonic() + START_WAIT_S
    reporter.say(f"the cluster has no CPU yet: waiting up to {START_WAIT_S:g} s for nodes with {wanted}")
    request_resources(bundles=largest)
    try:
        with reporter.status("waiting for nodes") as line:
            while not _holds(cluster := capacity.total(), nodes) and (left := deadline - time.monotonic()) > 0:
                line.update(f"the cluster has {cluster}: waiting for nodes with {wanted}, {left:.0f} s at most")
                time.sleep(min(LOOK_EVERY_S, left))
    finally:
        request_resources(bundles=[])  # what runs asks for itself
    return cluster


def _asked(node: Node) -> list[dict[str, float]]:
    """What an autoscaler is asked for; of GPUs only those that the node names."""
    gpus = node.resources.gpus_per_worker or 0
    return [{"CPU": cpus} | ({"GPU": gpus} if gpus else {}) for cpus in cpus_of_processes(node)]


def _holds(cluster: capacity.Cluster, nodes: Iterable[Node]) -> bool:
    with suppress(ClusterError):
        return all(resources(node, cluster) for node in nodes)
    return False
