"""Where a Ray starts: whatever the user's environment is, it starts, or one sentence says what to change."""

import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

import pytest

from cluster import environment

ROOT = Path(__file__).parents[2]
START = """
import os
from cluster import connect
connect.connect(num_cpus=1)
import ray
assert ray.get(ray.remote(lambda: os.getpid()).remote()) != os.getpid()
print("started at", ray.util.get_node_ip_address(), "with", ray.get_runtime_context().runtime_env)
"""
SLOW = """
from cluster import connect, environment, errors
def lose(*arguments):
    lost.append(arguments)
    if len(lost) <= 3:
        raise Exception("The current node timed out during startup. This could happen because it is busy.")
    return get_node(*arguments)
def patch():  # Ray's settings are in the environment by now, and it is imported next
    global get_node
    import ray._private.services as services
    get_node, services.get_node = services.get_node, lose
lost, environment.check_limits = [], patch
try:
    connect.connect(num_cpus=1)
except errors.ClusterError as error:
    print("refused:", error)
connect.connect(num_cpus=1)  # whose first try is lost as well
import ray
print("started with", ray.cluster_resources()["CPU"], "CPU")
"""
CONNECT = """
from cluster import connect, errors
try:
    connect.connect(num_cpus=1)
except errors.ClusterError as error:
    print("refused:", error)
"""


def _python(script: str, *prefix: str, limits: Mapping[int, int] = MappingProxyType({}), **variables: str) -> str:
    """What a script says in a process of its own, in an environment without Ray settings but the given ones."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "LABS_"))}

    def limit() -> None:
        for kind, number in limits.items():
            resource.setrlimit(kind, (number, number))

    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", script],
        env=kept | {"PYTHONPATH": str(ROOT)} | variables,
        preexec_fn=limit,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        return process.communicate(timeout=120)[0]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_ray_starts_in_a_scheduler_s_job_without_a_home_behind_a_proxy_under_uv_run(tmp_path: Path) -> None:
    """Slurm's long TMPDIR, a HOME that can't be made, a proxy for every address, and a hostname that nobody knows."""
    uv, run = tmp_path / "uv", tmp_path / "run"  # Ray looks for a process `uv run ...` above its own
    uv.symlink_to("/bin/sh")
    run.write_text('"$@"\nexit $?\n')
    long = tmp_path / ("x" * 90)
    long.mkdir()
    proxy = "http://127.0.0.1:1"
    said = _python(
        START,
        *_with_an_unknown_hostname(),
        *("env", "-C", str(tmp_path), str(uv), "run"),
        TMPDIR=str(long),
        HOME=str(run / "absent"),
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"), proxy),
    )
    assert said == "started at 127.0.0.1 with {}\n"
    assert stat.S_IMODE(Path("/tmp", f"ray-{os.getuid()}").stat().st_mode) == 0o700


@pytest.mark.slow
def test_a_ray_that_does_not_answer_is_started_once_more() -> None:
    """On a machine that starts several at once, Ray gave up after 30 s, with a traceback."""
    refused, started = _python(SLOW).splitlines()
    assert refused.startswith("refused: Ray has not started on this machine within twice 30 s")
    assert started == "started with 1.0 CPU"


def _with_an_unknown_hostname() -> tuple[str, ...]:
    """What runs a command where this machine's name can't be resolved; nothing where that is not allowed."""
    prefix = ("unshare", "--uts", "sh", "-c", 'hostname nowhere.invalid && exec "$@"', "sh")
    allowed = shutil.which("unshare") and subprocess.run([*prefix, "true"], capture_output=True).returncode == 0
    return prefix if allowed else ()


@pytest.mark.parametrize("content", [None, ""])
def test_a_token_path_to_nothing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    said = _python(CONNECT, RAY_AUTH_TOKEN_PATH=str(file))
    assert said.startswith(f"refused: RAY_AUTH_TOKEN_PATH names {file}, which ")
    assert said.endswith(": correct it, or unset it\n")


def test_too_few_open_files_are_refused_with_both_numbers(tmp_path: Path) -> None:
    said = _python(CONNECT, limits={resource.RLIMIT_NOFILE: 200})
    assert said == "refused: Ray opens up to 256 files, the limit is 200: raise it, as by ulimit -n 256\n"


@pytest.mark.skipif(os.getuid() == 0 and not shutil.which("setpriv"), reason="the limit does not hold for root")
def test_too_few_threads_are_refused_with_both_numbers() -> None:
    user = ("setpriv", "--reuid", "54321", "--clear-groups", "--regid", "54321") if os.getuid() == 0 else ()
    said = _python(CONNECT, *user, limits={resource.RLIMIT_NPROC: 100}, HOME="/nonexistent")
    assert re.match(
        r"refused: Ray starts up to \d+ threads and this user has \d+, the limit is 100: raise it, as", said
    )


def test_proxies_stay_off_loopback_and_what_is_excepted_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", "inside.example")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    environment.keep_proxies_off_loopback()
    assert all(urllib.request.proxy_bypass(host) for host in ("127.0.0.1:8265", "localhost:5000", "inside.example"))
    assert not urllib.request.proxy_bypass("elsewhere.example")
