"""A job's secret variables: a file beside its code, which each of its processes reads as it starts.

What Ray itself passes on as variables stands for a second in the list of processes whenever a worker starts, and in
Ray's logs. This module imports nothing else of the program.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

FILE = "variables.json"


def write(folder: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Write the file into the folder of a job's code; returns the variables by which Ray has `load` called."""
    from ray._private.ray_constants import WORKER_PROCESS_SETUP_HOOK_ENV_VAR

    if not variables:
        return {}
    (folder / FILE).write_text(json.dumps(dict(variables)))
    return {WORKER_PROCESS_SETUP_HOOK_ENV_VAR: f"{__name__}.{load.__name__}"}


def load() -> None:
    """Set the variables: in the process that starts the job's command, which inherits them, and in each worker."""
    os.environ.update(json.loads((Path(__file__).parents[1] / FILE).read_text()))
