"""Run any command of the program as a job on a Ray cluster, through the cluster's job server.

The program's own code travels, and the files that the command names; results stay with the head node's user.
"""

import shlex
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster import job_server, job_variables
from cluster.errors import ClusterError
from cluster.job_server import plain_errors
from cluster.upload import stage_code, stage_files
from cluster.uri import without_password

PACKAGES = ("labs", "pipelines", "cluster")
# The folder of the job's code is a temporary one, so the home must be elsewhere.
PROGRAM = 'LABS_HOME="${LABS_HOME:-$HOME/.labs}" python -m pipelines.cli '
JOB_ID = "LABS_JOB"  # the variable by which a job knows its id
STOP_S = 20  # how long a stopped job may take to save; with Ray's default of 3 s the last epochs are lost

Write = Callable[[str], object]


def submit(
    command: list[str],
    *,
    address: str,
    code: Path,
    packages: tuple[str, ...] = PACKAGES,
    files: Mapping[str, Path] | None = None,
    variables: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    requirements: Sequence[str] = (),
    facts: Mapping[str, str] | None = None,
    wait: bool = True,
    write: Write = lambda text: print(text, end=""),
) -> int:
    """Run a command of the program as a job, on the code as it stands here.

    Args:
        command: what comes after `labs`.
        address: the job server, such as http://127.0.0.1:8265.
        code: the folder that holds the packages.
        packages: what is uploaded, with `pyproject.toml` if there is one.
        files: what else is uploaded: its place in the job's working directory -> a file or a folder of this machine.
        variables: what the job finds in its environment.
        secrets: the same, and nobody else sees it: no list of jobs or processes, and no log.
        requirements: Python packages that the job needs beyond the cluster's, as pip takes them.
        facts: what the list of jobs shows of it: `name`, `commit`.
        wait: show the log until the job ends; otherwise return once it is accepted.
        write: takes the text to show, newlines included.

    Returns:
        The job's own exit code; 130 if it was stopped, or following it was interrupted; 0 when not waiting.

    Raises:
        ClusterError: nothing was submitted.
        ConnectionLost: the job was submitted, and the job server has stopped answering since.
    """
    with tempfile.TemporaryDirectory(prefix="labs-upload-") as folder:
        stage_code(code, packages, Path(folder))
        stage_files(files or {}, Path(folder))
        hook = job_variables.write(Path(folder), secrets or {})
        with plain_errors(address, [*(variables or {}).values(), *(secrets or {}).values()]):
            client = job_server.connect(address)
            job_id = client.submit_job(
                submission_id=(own_id := f"raysubmit_{uuid.uuid4().hex[:16]}"),
                entrypoint=PROGRAM + shlex.join(command),
                runtime_env={
                    "working_dir": folder,
                    "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S), JOB_ID: own_id, **(variables or {}), **hook},
                    **({"pip": list(requirements)} if requirements else {}),
                },
                metadata=dict(facts or {}),
            )
    write(f"job {job_id}\n  labs jobs logs {job_id} --follow\n  labs jobs stop {job_id}\n")
    return _follow(client, address, job_id, write) if wait else 0


def list_jobs(address: str) -> list[dict[str, Any]]:
    """The cluster's jobs, newest first; times in seconds since 1970.

    `command` is what was typed after `labs submit --`; of a job that another program submitted, its entrypoint.
    `name`, `commit` and `home` (LABS_HOME) are what was submitted with it, else None.
    """
    with plain_errors(address):
        jobs = [job for job in job_server.connect(address).list_jobs() if job.submission_id]
    return [
        {
            "id": job.submission_id,
            "name": (job.metadata or {}).get("name"),
            "status": job.status.value,
            "command": job.entrypoint.removeprefix(PROGRAM),
            "entrypoint": job.entrypoint,
            "commit": (job.metadata or {}).get("commit"),
            "home": ((job.runtime_env or {}).get("env_vars") or {}).get("LABS_HOME"),
            "start": job.start_time and job.start_time / 1000,
            "end": job.end_time and job.end_time / 1000,
            "exit_code": job.driver_exit_code,
        }
        for job in sorted(jobs, key=lambda job: job.start_time or 0, reverse=True)
    ]


def find(address: str, job_id: str) -> dict[str, Any]:
    """One job, as `list_jobs` has it; `ClusterError` if there is none."""
    jobs = {job["id"]: job for job in list_jobs(address)}
    if job_id not in jobs:
        newest = f"the newest are {', '.join(list(jobs)[:5])}" if jobs else "it has none"
        raise ClusterError(f"no job {job_id!r} on the cluster at {without_password(address)}: {newest}")
    return jobs[job_id]


def logs(address: str, job_id: str, *, follow: bool = False, write: Write = lambda text: print(text, end="")) -> int:
    """Show a job's log; with `follow` until it ends, and then return its exit code as `submit` does."""
    with plain_errors(address):
        client = _client_of_job(address, job_id)
        if not follow:
            write(client.get_job_logs(job_id))
            return 0
    return _follow(client, address, job_id, write)


def stop(address: str, job_id: str) -> bool:
    """Ask a job to save and end; false if it had ended already."""
    with plain_errors(address):
        return bool(_client_of_job(address, job_id).stop_job(job_id))


def _client_of_job(address: str, job_id: str) -> Any:
    """The client, after a check that the cluster has the job."""
    find(address, job_id)
    return job_server.connect(address)


def _follow(client: Any, address: str, job_id: str, write: Write) -> int:
    from cluster import job_log  # it imports asyncio and aiohttp, which take half a second

    return job_log.follow(client, address, job_id, write)
