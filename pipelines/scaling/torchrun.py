"""Starts a job as a plain script of torchrun on this machine; see `bare_run`."""

import os
import signal
import subprocess
import sys
from contextlib import suppress

from psutil import net_if_addrs

from labs.core import events
from labs.core.run import STOP
from pipelines.fingerprint import ROOT
from pipelines.job import Job, Outcome
from pipelines.requests import is_asked_to_abort

POLL_S = 0.2
END_S = 45.0
"""How long torchrun may take to end; it waits 30 s for its processes before it kills them."""


def run_on_torchrun(job: Job) -> Outcome:
    """Run the job's loop in processes of torchrun, and wait for its end; it is ended at once where it is asked to stop.

    What torchrun says goes to `torchrun.log` in the run's folder; an error of the lab's own to `error.txt`.
    """
    file = job.folder / "job.json"
    events.write_text(file, job.model_dump_json())
    # A session of its own: Ctrl-C on a terminal is for the driver, which asks.
    with (
        (job.folder / "torchrun.log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={job.workers}",
             "-m", "pipelines.scaling.bare_run", str(file)],
            stdout=log, stderr=subprocess.STDOUT, env=_environment(job), start_new_session=True,
        ) as process,
    ):  # fmt: skip
        while process.returncode is None and not _is_asked_to_end(job):
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_S)
        process.terminate()  # torchrun ends its processes; of one that has ended already there is nothing left
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
    if _is_asked_to_end(job):
        return "KILLED"
    return "FAILED" if process.returncode else "FINISHED"


def _is_asked_to_end(job: Job) -> bool:
    return (job.folder / STOP).exists() or is_asked_to_abort(job.folder)


def _environment(job: Job) -> dict[str, str]:
    """Threads as the program's workers have, and the network of this machine alone."""
    return {
        "GLOO_SOCKET_IFNAME": _loopback(),
        **os.environ,
        "OMP_NUM_THREADS": str(max(1, int(job.cpus_per_worker))),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    }


def _loopback() -> str:
    """Name of the network interface that no other machine reaches."""
    return next(name for name, found in net_if_addrs().items() if "127.0.0.1" in {each.address for each in found})
