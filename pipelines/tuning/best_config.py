"""The config of a trial as a YAML file, and the command that trains with it."""

from pathlib import Path

import yaml

from labs.core import events
from pipelines.tuning.sweep import Sweep
from pipelines.tuning.trial import SweepTrial


def write_config(sweep: Sweep, trial: SweepTrial, file: Path) -> None:
    """Write the fields of a trial as YAML, as `labs train --config` takes them."""
    values = ", ".join(f"val/{name} {value}" for name, value in trial.values().items())
    head = f"# {values} in trial {trial.number}\n# {train_command(sweep, file)}\n"
    file.parent.mkdir(exist_ok=True)
    events.write_text(file, head + yaml.safe_dump(trial.record()["overrides"], sort_keys=False))


def train_command(sweep: Sweep, file: Path) -> str:
    """The command that trains with the config that the sweep wrote to a file."""
    node = sweep.node
    data = f" --data {node.data}" if node.data else ""
    seed = f" --seed {node.seed}" if node.seed else ""
    return f"labs train {node.lab} --preset {node.preset} --size {node.size}{seed}{data} --config {file}"
