"""What a Ray that starts on this machine needs of the user's environment: variables, a short path, high enough limits.

Ray reads most of the variables when it is imported, so nothing imports it early.
"""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from cluster.errors import ClusterError

# Ray Train passes its own variables on to its controller and workers, on this machine or elsewhere; a runtime_env with
# variables would start a fresh process for every worker.
RAY_ENVIRONMENT = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # how soon a lost worker is noticed; 2 s otherwise
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # else a thread that is left after the end connects once more
    "RAY_DEDUP_LOGS": "0",  # at its end Ray would print what it keeps back, behind the JSON document on standard output
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run`, Ray would pack the current folder for every worker
}
LOOPBACK = ("127.0.0.1", "localhost")
FOLDER_BYTES = 35  # Ray adds up to 72 to the folder of its sockets, and a socket's path has at most 107 (macOS: 103)
FILES = 256  # of one process: 59 on 2 CPUs, more with every worker
# Of all processes: 216 on 2 CPUs before any training; at a limit of 150 a worker dies and nobody says why.
THREADS = 400


@contextmanager
def variable(name: str, value: str) -> Iterator[None]:
    """While entered, an environment variable has this value unless the user has set another one."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def set_variables() -> None:
    """Set what Ray and its clients read."""
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    keep_proxies_off_loopback()


def keep_proxies_off_loopback() -> None:
    """Processes of one machine talk to each other without the proxy that the environment may name."""
    named = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if named.strip() != "*":
        hosts = [host.strip() for host in named.split(",") if host.strip()]
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(dict.fromkeys([*hosts, *LOOPBACK]))


def short_folder() -> str | None:
    """A folder of this user's for Ray's sockets where the temporary folder's path is too long for them; else None.

    Raises:
        ClusterError: another user has made it.
    """
    temporary = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    if len(os.fsencode(temporary)) <= FOLDER_BYTES:
        return None
    private = Path("/tmp", f"ray-{os.getuid()}")
    private.mkdir(mode=0o700, exist_ok=True)
    if private.lstat().st_uid != os.getuid():
        raise ClusterError(
            f"the path of the temporary folder {temporary} is too long for Ray's sockets, and {private} is another "
            f"user's: set RAY_TMPDIR to a folder of at most {FOLDER_BYTES} characters"
        )
    return str(private / "ray")  # Ray opens its own folder to every user, so it lies in one that is closed


def check_limits() -> None:
    """Check that this user may open as many files and start as many threads as Ray does, which else fails or waits.

    Raises:
        ClusterError: a limit is too low; the message has both numbers.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # Ray raises the soft limit itself
    if files != resource.RLIM_INFINITY and files < FILES:
        raise ClusterError(f"Ray opens up to {FILES} files, the limit is {files}: raise it, as by ulimit -n {FILES}")
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    if os.getuid() == 0 or soft == resource.RLIM_INFINITY:  # the limit does not hold for root
        return
    resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
    if hard != resource.RLIM_INFINITY and (there := _threads()) + THREADS > hard:
        raise ClusterError(
            f"Ray starts up to {THREADS} threads and this user has {there}, the limit is {hard}: "
            f"raise it, as by ulimit -u {there + THREADS}"
        )


def _threads() -> int:
    """How many threads this user has, as the limit counts them."""
    own = (process.info for process in psutil.process_iter(["uids", "num_threads"]))
    return sum(info["num_threads"] or 0 for info in own if info["uids"] and info["uids"].real == os.getuid())
