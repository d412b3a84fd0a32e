"""A cluster that is only described, such as `4x(8 GPU, 96 CPU) + 16x(32 CPU)`: to plan for one without having it."""

import re

from cluster.capacity import Cluster, Resources
from cluster.errors import ClusterError

EXAMPLE = "4x(8 GPU, 96 CPU) + 16x(32 CPU)"
_NODES = re.compile(r"\s*(?:(\d{1,5})\s*x\s*)?\(([^()]*)\)\s*", re.IGNORECASE)
"""Some nodes of one shape: how many, and what each has."""
_AMOUNT = re.compile(r"\s*(\d{1,5})\s*(CPU|GPU)s?\s*", re.IGNORECASE)


def described(text: str) -> Cluster:
    """The cluster of a description: shapes of nodes, joined by `+`, each with the number of such nodes before it.

    Raises:
        ClusterError: it is not understood; the message says what would be.
    """
    shapes = [_shape(part, text) for part in text.split("+")]
    each = [resources for count, resources in shapes for _ in range(count)]
    return Cluster({f"node {number}": resources for number, resources in enumerate(each, start=1)})


def _shape(part: str, text: str) -> tuple[int, Resources]:
    """How many nodes, and what each of them has."""
    found = _NODES.fullmatch(part)
    amounts = [_AMOUNT.fullmatch(amount) for amount in found[2].split(",")] if found else [None]
    has = {amount[2].upper(): int(amount[1]) for amount in amounts if amount}
    count = int(found[1] or 1) if found else 0
    if len(has) < len(amounts) or not has.get("CPU") or not count:
        raise ClusterError(
            f"cluster {text!r}: {part.strip()!r} must be a number of nodes and what each of them has, one CPU at "
            f"least, such as {EXAMPLE!r}"
        )
    return count, Resources(has["CPU"], has.get("GPU", 0))
