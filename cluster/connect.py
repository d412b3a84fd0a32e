"""Start a Ray cluster on this machine, or join a running one. Token authentication is on in both.

Ray reads most of the environment variables that are set here when it is imported, so nothing imports it early.
"""

import os
import secrets
import sys
from pathlib import Path
from typing import Any

from cluster import capacity
from cluster.capacity import Cluster
from cluster.errors import ClusterError

HANDSHAKE_S = 8  # Ray itself tries a silent address for two minutes, and a wrong token for 20 s
OBJECT_STORE_BYTES = 512 * 2**20  # data is memory-mapped from files: only results pass through the store
TOKEN_PLACES = "RAY_AUTH_TOKEN, the file that RAY_AUTH_TOKEN_PATH names, or ~/.ray/auth_token"

# Ray Train passes its own variables on to its controller and workers, on this machine or elsewhere; a runtime_env with
# variables would start a fresh process for every worker.
RAY_ENVIRONMENT = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.05",  # a report waits for this poll: 0.06 s instead of 2 s
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def connect(*, num_cpus: int | None = None, quiet: bool = True) -> Cluster:
    """Join the cluster of RAY_ADDRESS (Ray sets it in a submitted job), or else start one on this machine.

    Args:
        num_cpus: CPUs of a cluster that is started, all of this machine's by default; a joined cluster has its own.
        quiet: leave out Ray's notices and the workers' output.

    Returns:
        The cluster.

    Raises:
        ClusterError: the cluster of RAY_ADDRESS does not answer, or not to this user's token.
    """
    address = os.environ.get("RAY_ADDRESS")
    if address and address != "local":
        return join(address, quiet=quiet)
    if os.environ.get("RAY_AUTH_MODE", "token") == "token" and not has_token():
        _make_token()
    # The watcher is one more process, and nobody reclaims this machine.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    _prepare()
    import ray

    if not ray.is_initialized():
        # Only this machine's processes may reach it. Ray has a switch for that on macOS alone; set as an environment
        # variable, it would also keep child processes from joining real clusters.
        ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
        ray.init(
            address="local",
            num_cpus=num_cpus or int(capacity.local().cpus),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            **_log_options(quiet),
        )
    return capacity.total()


def join(address: str, *, quiet: bool = True) -> Cluster:
    """Join the cluster whose head node answers at `address`, a `host:port`; see `connect`."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "://" in address:
        raise ClusterError(f"cluster address {address!r} is not host:port, such as 10.0.0.5:6379 (RAY_ADDRESS)")
    _prepare()
    import ray

    if not ray.is_initialized():
        try:
            _handshake(address)
            ray.init(address=address, **_log_options(quiet))
        except ray.exceptions.AuthenticationError:  # no token at all
            raise _refused(address) from None
        except ConnectionError as error:
            raise ClusterError(f"the Ray cluster at {address} does not work: {error}") from error
    return capacity.total()


def disconnect() -> None:
    """Leave the cluster; one that `connect` started ends."""
    import ray

    ray.shutdown()


def has_token() -> bool:
    """Whether this user has a token where Ray looks for one."""
    return any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")) or _token_file().exists()


def use_token() -> None:
    """Send the user's token to clusters, unless RAY_AUTH_MODE is set. Without a token, open clusters still work."""
    if "RAY_AUTH_MODE" in os.environ or not has_token():
        return
    os.environ["RAY_AUTH_MODE"] = "token"
    if "ray" in sys.modules:  # it has read the mode already and would refuse the cluster that it starts itself
        from ray._raylet import Config  # type: ignore[attr-defined]

        Config.initialize("")


def _prepare() -> None:
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    use_token()


def _token_file() -> Path:
    return Path.home() / ".ray" / "auth_token"


def _make_token() -> None:
    """Make the user's token before Ray does: Ray would let every user of the machine read it."""
    file = _token_file()
    file.parent.mkdir(mode=0o700, exist_ok=True)
    part = file.with_name(f"auth_token.{os.getpid()}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(secrets.token_hex(32))
    try:
        os.link(part, file)  # whole, or not at all if another process was first
    except FileExistsError:
        pass  # the token of that process is as good
    finally:
        part.unlink()


def _handshake(address: str) -> None:
    """Ask the head node for its id, with a time limit, before Ray connects without one."""
    import grpc  # type: ignore[import-untyped]
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    with init_grpc_channel(address) as channel:
        head = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        try:
            head.GetClusterId(gcs_service_pb2.GetClusterIdRequest(), timeout=HANDSHAKE_S, wait_for_ready=True)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                raise _refused(address) from None
            raise ClusterError(
                f"no Ray cluster answers at {address} within {HANDSHAKE_S} s: "
                "correct RAY_ADDRESS, or unset it to run on this machine"
            ) from None


def _refused(address: str) -> ClusterError:
    return ClusterError(
        f"the cluster at {address} did not let this user in: "
        f"it expects the token of its head node, looked for in {TOKEN_PLACES}"
    )


def _log_options(quiet: bool) -> dict[str, Any]:
    return {"logging_level": "error", "log_to_driver": False} if quiet else {}
