"""Run any command of the program as a job on a Ray cluster, through the cluster's job server.

Only the program's own code travels; data and results stay with the head node's user.
"""

import asyncio
import logging
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cluster.connect import TOKEN_PLACES, use_token
from cluster.environment import keep_proxies_off_loopback
from cluster.errors import ClusterError, ConnectionLost
from cluster.uri import without_password, without_secrets

PACKAGES = ("labs", "pipelines", "cluster")
# The folder of the job's code is a temporary one, so the home must be elsewhere.
PROGRAM = 'LABS_HOME="${LABS_HOME:-$HOME/.labs}" python -m pipelines.cli '
UPLOAD_BYTES = 10 * 2**20  # the code is far smaller: more is a mistake
ANSWER_S = 60  # an upload over a slow line
CONNECT_S = 5
SILENCE_S = 0.5
CLOSE_S = 3  # how long the stream of a log may take to close
STOP_S = 20  # how long a stopped job may take to save; with Ray's default of 3 s the last epochs are lost

Write = Callable[[str], object]


def default_address() -> str:
    """The job server's address: RAY_API_SERVER_ADDRESS, or this machine's."""
    return os.environ.get("RAY_API_SERVER_ADDRESS") or "http://127.0.0.1:8265"


def submit(
    command: list[str],
    *,
    address: str,
    code: Path,
    packages: tuple[str, ...] = PACKAGES,
    variables: Mapping[str, str] | None = None,
    follow: bool = True,
    write: Write = lambda text: print(text, end=""),
) -> int:
    """Run a command of the program as a job, on the code as it stands here.

    Args:
        command: what comes after `labs`.
        address: the job server, such as http://127.0.0.1:8265.
        code: the folder that holds the packages.
        packages: what is uploaded, with `pyproject.toml` if there is one.
        variables: what the command does not show: the job finds it in its environment.
        follow: show the log until the job ends; otherwise return once it is accepted.
        write: takes the text to show, newlines included.

    Returns:
        The job's own exit code; 130 if it was stopped, or following it was interrupted; 0 when not following.

    Raises:
        ClusterError: nothing was submitted.
        ConnectionLost: the job was submitted, and the job server has stopped answering since.
    """
    with tempfile.TemporaryDirectory(prefix="labs-upload-") as folder:
        _stage(code, packages, Path(folder))
        with _plain_errors(address, *(variables or {}).values()):
            client = _client(address)
            job_id = client.submit_job(
                entrypoint=PROGRAM + shlex.join(command),
                runtime_env={
                    "working_dir": folder,
                    "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S), **(variables or {})},
                },
            )
    write(f"job {job_id}\n  labs jobs logs {job_id} --follow\n  labs jobs stop {job_id}\n")
    return _follow(client, address, job_id, write) if follow else 0


def list_jobs(address: str) -> list[dict[str, Any]]:
    """The cluster's jobs, newest first; times in seconds since 1970.

    `command` is what was typed after `labs submit --`; of a job that another program submitted, its entrypoint.
    """
    with _plain_errors(address):
        jobs = [job for job in _client(address).list_jobs() if job.submission_id]
    return [
        {
            "id": job.submission_id,
            "status": job.status.value,
            "command": job.entrypoint.removeprefix(PROGRAM),
            "entrypoint": job.entrypoint,
            "start": job.start_time and job.start_time / 1000,
            "end": job.end_time and job.end_time / 1000,
            "exit_code": job.driver_exit_code,
        }
        for job in sorted(jobs, key=lambda job: job.start_time or 0, reverse=True)
    ]


def logs(address: str, job_id: str, *, follow: bool = False, write: Write = lambda text: print(text, end="")) -> int:
    """Show a job's log; with `follow` until it ends, and then return its exit code as `submit` does."""
    with _plain_errors(address):
        client = _client_of_job(address, job_id)
        if not follow:
            write(client.get_job_logs(job_id))
            return 0
    return _follow(client, address, job_id, write)


def stop(address: str, job_id: str) -> bool:
    """Ask a job to save and end; false if it had ended already."""
    with _plain_errors(address):
        return bool(_client_of_job(address, job_id).stop_job(job_id))


def _stage(code: Path, packages: tuple[str, ...], folder: Path) -> None:
    """Copy the code that a job needs, and nothing else of the folder."""
    files = [file for name in packages for file in (code / name).rglob("*") if _is_code(file)]
    if missing := [name for name in packages if not (code / name).is_dir()]:
        raise ClusterError(f"no package {', '.join(missing)} in {code}")
    if (code / "pyproject.toml").exists():
        files.append(code / "pyproject.toml")
    _check_size({str(file.relative_to(code)): file.stat().st_size for file in files})
    for file in files:
        target = folder / file.relative_to(code)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)


def _is_code(file: Path) -> bool:
    return file.suffix in {".py", ".yaml"} or file.name == "py.typed"


def _check_size(sizes: dict[str, int]) -> None:
    if (size := sum(sizes.values())) > UPLOAD_BYTES:
        largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:3]
        named = ", ".join(f"{name} ({sizes[name] / 2**20:.1f} MB)" for name in largest)
        raise ClusterError(
            f"the code to upload is {size / 2**20:.1f} MB, the limit is {UPLOAD_BYTES // 2**20} MB: largest are {named}"
        )


def _client(address: str) -> Any:
    """Ray's client, with a limit on every wait."""
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):  # type: ignore[misc]
        def _do_request(self, *args: Any, **kwargs: Any) -> Any:
            return super()._do_request(*args, timeout=(CONNECT_S, ANSWER_S), **kwargs)

    for part in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk", "_private.runtime_env.packaging"):
        logging.getLogger(f"ray.{part}").setLevel(logging.ERROR)  # else each reports the upload
    address = address if "://" in address else f"http://{address}"
    if not address.startswith(("http://", "https://")):
        raise ClusterError(
            f"job server address {without_password(address)!r} is not http://host:port, such as http://127.0.0.1:8265"
        )
    os.environ["RAY_API_SERVER_ADDRESS"] = address  # else Ray lets RAY_ADDRESS win over the address it is given
    return Client(address)


@contextmanager
def _plain_errors(address: str, *secret: str) -> Iterator[None]:
    """Send the user's token, to this machine without a proxy, and turn the errors of Ray's client into a sentence.

    No sentence has a password of the address, or of the other URIs, such as those that a job's environment gets.
    """
    shown = without_password(address)
    use_token()
    keep_proxies_off_loopback()
    from aiohttp import ClientError
    from ray.exceptions import AuthenticationError
    from requests import exceptions

    try:
        yield
    except AuthenticationError:
        raise ClusterError(
            f"the job server at {shown} refused the token, or there is none: "
            f"it expects the token of its head node, looked for in {TOKEN_PLACES}"
        ) from None
    except (exceptions.JSONDecodeError, exceptions.HTTPError, KeyError):
        raise ClusterError(f"what answers at {shown} is not a Ray job server: its port is 8265 by default") from None
    except (ConnectionError, exceptions.RequestException, ClientError):
        raise ClusterError(
            f"no job server answers at {shown}: start the cluster, or set RAY_API_SERVER_ADDRESS or --address"
        ) from None
    except UnicodeEncodeError:
        raise ClusterError(f"the user or the password of {shown} has signs that HTTP can't send") from None
    except RuntimeError as error:
        said = str(error)
        for uri in (address, *secret):
            said = without_secrets(said, uri)
        raise ClusterError(f"the job server at {shown} could not do it: {said}") from None


def _client_of_job(address: str, job_id: str) -> Any:
    """The client, after a check that the cluster has the job."""
    client = _client(address)
    jobs = sorted(client.list_jobs(), key=lambda job: job.start_time or 0, reverse=True)
    ids = [job.submission_id for job in jobs if job.submission_id]
    if job_id not in ids:
        newest = f"the newest are {', '.join(ids[:5])}" if ids else "it has none"
        raise ClusterError(f"no job {job_id!r} on the cluster at {without_password(address)}: {newest}")
    return client


def _follow(client: Any, address: str, job_id: str, write: Write) -> int:
    try:
        with _plain_errors(address):
            _run(_tail(client, job_id, write))
            return _exit_code(client, job_id)
    except KeyboardInterrupt:
        write(f"job {job_id} goes on; to stop it: labs jobs stop {job_id}\n")
        return 130
    except (ClusterError, TimeoutError):
        raise ConnectionLost(
            f"the job server at {without_password(address)} has stopped answering, job {job_id} may go on: "
            f"labs jobs logs {job_id} --follow takes its log up again, and the same submission continues its work"
        ) from None


def _run(tail: Coroutine[Any, Any, None]) -> None:
    """Run to the end; Ctrl-C raises at once. Under `asyncio.run` it would wait for the request that is under way,
    with a slow job server for `ANSWER_S`, and then for streams that are slow to close."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(tail)
    finally:
        loop.run_until_complete(_close(asyncio.all_tasks(loop)))
        loop.close()


async def _close(left: set[asyncio.Task[Any]]) -> None:
    """End what is still open: the tasks, and then the streams that no task was reading when Ctrl-C came."""
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=CLOSE_S)
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.get_running_loop().shutdown_asyncgens(), CLOSE_S)


async def _tail(client: Any, job_id: str, write: Write) -> None:
    """Show the log as it grows. While no text comes, ask the job server for the job's status: so a dead cluster is
    noticed, and the job's end 5 s before the stream ends."""
    chunks = client.tail_job_logs(job_id)
    shown = 0
    while True:
        coming = asyncio.ensure_future(anext(chunks, ""))
        while not coming.done():
            await asyncio.wait({coming}, timeout=SILENCE_S)
            if not coming.done() and client.get_job_status(job_id).is_terminal():
                write(client.get_job_logs(job_id)[shown:])
                return
        if not (text := coming.result()):
            return
        shown += len(text)
        write(text)


def _exit_code(client: Any, job_id: str) -> int:
    """The job's own exit code, which is known a moment after its log has ended."""
    deadline = time.monotonic() + STOP_S + 10
    while not (job := client.get_job_info(job_id)).status.is_terminal():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.2)
    if job.status == "STOPPED":
        return 130
    if job.driver_exit_code is not None:
        return int(job.driver_exit_code)
    return 0 if job.status == "SUCCEEDED" else 1
