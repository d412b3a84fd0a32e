"""Start a Ray cluster on this machine, or join a running one. Token authentication is on in both.

Ray reads most of the environment variables that are set here when it is imported, so nothing imports it early.
"""

import os
import secrets
import sys
import time
from pathlib import Path

from cluster import capacity, environment
from cluster.capacity import Cluster
from cluster.errors import ClusterError, ConnectionLost
from cluster.starting import QUIET, start
from cluster.uri import without_password

HANDSHAKE_S = 8  # Ray itself tries a silent address for two minutes, and a wrong token for 20 s
ANSWER_S = 2
LOST_AFTER_S = 45.0  # Ray ends a process whose head node has been silent for 60 s, with no word of what to do
NO_DASHBOARD = "http://127.0.0.1:9"  # a helper of each Ray Train run would otherwise look for one for ten seconds
TOKEN_PLACES = "RAY_AUTH_TOKEN, the file that RAY_AUTH_TOKEN_PATH names, or ~/.ray/auth_token"


def connect(*, num_cpus: int | None = None) -> Cluster:
    """Join the cluster of RAY_ADDRESS (Ray sets it in a submitted job), or else start one on this machine.

    Args:
        num_cpus: CPUs of a cluster that is started, all of this machine's by default; a joined cluster has its own.

    Returns:
        The cluster.

    Raises:
        ClusterError: the cluster of RAY_ADDRESS does not answer, or not to this user's token; or this machine's
            settings keep a Ray from starting.
    """
    address = os.environ.get("RAY_ADDRESS")
    if address and address != "local":
        return join(address)
    if os.environ.get("RAY_AUTH_MODE", "token") == "token" and not has_token():
        # For this Ray alone: only processes that this one starts need to know it, so no file has it.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    # The watcher is one more process, and nobody reclaims this machine.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    # Ray's own 15 lets any other process interrupt a worker, which those that train with it then wait for: on two cores
    # a step of `cnn` on two workers took 46 ms, and 33 with this.
    os.environ.setdefault("RAY_worker_niceness", "0")
    _prepare()
    if "ray" not in sys.modules:  # it starts threads when it is imported
        environment.check_limits()
    import ray

    if not ray.is_initialized():
        # Only this machine's processes may reach it. Ray has a switch for that on macOS alone; set as an environment
        # variable, it would also keep child processes from joining real clusters.
        ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
        with environment.variable("RAY_API_SERVER_ADDRESS", NO_DASHBOARD):  # for the processes that are started
            start(num_cpus or int(capacity.local().cpus))
    return capacity.total()


def join(address: str) -> Cluster:
    """Join the cluster whose head node answers at `address`: a `host:port`, or `auto` for a Ray on this machine; see
    `connect`.
    """
    if address == "auto":
        address = _on_this_machine()
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "://" in address or "@" in address:
        client = (
            "; with Ray Client nothing trains here: from another network, use labs submit --address http://host:8265"
        )
        raise ClusterError(
            f"cluster address {without_password(address)!r} is not host:port, such as 10.0.0.5:6379, or auto for a Ray "
            f"on this machine (RAY_ADDRESS){client if address.startswith('ray://') else ''}"
        )
    _prepare()
    import ray

    if not ray.is_initialized():
        try:
            _handshake(address)
            ray.init(address=address, **QUIET)
        except ray.exceptions.AuthenticationError:  # no token at all
            raise _refused(address) from None
        except ConnectionError as error:
            raise ClusterError(f"the Ray cluster at {address} does not work: {error}") from error
    return capacity.total()


def _on_this_machine() -> str:
    """The address of the Ray that was started on this machine, the latest if there are several."""
    _prepare()
    from ray._private.services import canonicalize_bootstrap_address

    try:
        return str(canonicalize_bootstrap_address("auto"))
    except ConnectionError:
        raise ClusterError(
            "RAY_ADDRESS is auto, and no Ray runs on this machine: start one with ray start, or unset RAY_ADDRESS"
        ) from None


class Lifeline:
    """Notices that the head node of this process's cluster has stopped answering, before Ray ends the process."""

    def __init__(self) -> None:
        self.answered_at = time.monotonic()

    def holds(self) -> bool:
        """Whether the head node answers now. While it does not, calls of Ray wait, and can't be interrupted.

        Raises:
            ConnectionLost: it has been silent for `LOST_AFTER_S`.
        """
        import ray

        address = ray.get_runtime_context().gcs_address
        try:
            _handshake(address, ANSWER_S)
        except ClusterError:
            silent = time.monotonic() - self.answered_at
            if silent > LOST_AFTER_S:
                raise ConnectionLost(
                    f"the head node of the cluster at {address} has not answered for {silent:.0f} s: what was saved is "
                    "kept; when the cluster runs again, the same command continues"
                ) from None
            return False
        self.answered_at = time.monotonic()
        return True


def is_own_ray() -> bool:
    """Whether this process is connected to a Ray that it has started."""
    if not capacity.is_connected():
        return False
    import ray

    node = ray._private.worker._global_node
    return node is not None and bool(node.is_head())


def disconnect() -> None:
    """Leave the cluster; one that `connect` started ends."""
    import ray

    ray.shutdown()


def has_token() -> bool:
    """Whether this user has a token where Ray looks for one.

    Raises:
        ClusterError: RAY_AUTH_TOKEN_PATH names a file without one.
    """
    if "RAY_AUTH_TOKEN" in os.environ:
        return True
    if named := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        _check_token_file(named)
        return True
    try:
        return (Path.home() / ".ray" / "auth_token").exists()
    except RuntimeError:  # a user without a home folder, as in containers
        return False


def _check_token_file(named: str) -> None:
    try:
        fault = "" if Path(named).read_bytes().strip() else "is empty"
    except OSError as error:
        fault = f"can't be read ({error.strerror})"
    if fault:
        raise ClusterError(f"RAY_AUTH_TOKEN_PATH names {named}, which {fault}: correct it, or unset it")


def use_token() -> None:
    """Send the user's token to clusters, unless RAY_AUTH_MODE is set. Without a token, open clusters still work."""
    if not has_token() or "RAY_AUTH_MODE" in os.environ:
        return
    os.environ["RAY_AUTH_MODE"] = "token"
    if "ray" in sys.modules:  # it has read the mode already and would refuse the cluster that it starts itself
        from ray._raylet import Config  # type: ignore[attr-defined]

        Config.initialize("")


def _prepare() -> None:
    environment.set_variables()
    use_token()


def _handshake(address: str, limit_s: float = HANDSHAKE_S) -> None:
    """Ask the head node for its id, with a time limit, before Ray connects without one."""
    import grpc  # type: ignore[import-untyped]
    from ray._private.grpc_utils import init_grpc_channel
    from ray._private.services import canonicalize_bootstrap_address
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    # Where Ray will go: it takes 127.0.0.1 for this machine's own address, which a forwarded port does not listen on.
    place = canonicalize_bootstrap_address(address)
    # Like Ray's own connections, past the proxy that the environment may name.
    with init_grpc_channel(place, options=[("grpc.enable_http_proxy", 0)]) as channel:
        head = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        try:
            head.GetClusterId(gcs_service_pb2.GetClusterIdRequest(), timeout=limit_s, wait_for_ready=True)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                raise _refused(address) from None
            taken = "" if place == address else f" (which Ray takes for {place})"
            raise ClusterError(
                f"no Ray cluster answers at {address} within {limit_s:g} s{taken}: "
                "correct RAY_ADDRESS, or unset it to run on this machine"
            ) from None


def _refused(address: str) -> ClusterError:
    return ClusterError(
        f"the cluster at {address} did not let this user in: "
        f"it expects the token of its head node, looked for in {TOKEN_PLACES}"
    )
