"""`labs tune --from SWEEP`: what does not fit is one sentence, before anything is made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.tuning.sweep import Sweep
from tests.conftest import Said
from tests.pipelines.sweeps import stand_in_sweep

Cli = Callable[..., Said]
SPACE = {
    "lr": {"type": "choice", "values": [0.01, 0.02]},
    "hidden": {"type": "choice", "values": [[16, 8], [32]]},
    "optimizer": {"type": "choice", "values": ["adamw"]},
}


@pytest.fixture
def first(labs_cli: Cli, home: Path) -> Sweep:
    """A sweep of which both trials have finished."""
    return stand_in_sweep(home, "regression", lambda number, fields: ("FINISHED", number), trials=2, space=SPACE)


def tuned(labs_cli: Cli, folder: Path, space: dict[str, Any], *options: object) -> Said:
    (folder / "space.yaml").write_text(yaml.safe_dump(space))
    return labs_cli("tune", "regression", "--size", "tiny", "--space", folder / "space.yaml", *options)


@pytest.mark.parametrize(
    ("space", "options", "sentence"),
    [
        (SPACE, ["--from", "regresion-simple"], "did you mean 'regression-simple-tiny-"),
        (SPACE, ["--from", "regression", "--search", "grid"], "field '--from': a grid tries all of its configs"),
        (SPACE, ["--from", "regression", "--fix", "optimizer=sgd"], "has optimizer 'adamw': here it is not searched"),
        ({**SPACE, "lr": {"type": "uniform", "low": 0.1, "high": 1.0}}, ["--from", "regression"],
         "is not from 0.1 to 1"),
        ({**SPACE, "hidden": {"type": "choice", "values": [[4]]}}, ["--from", "regression"], "is none of its values"),
        ({**SPACE, "patience": {"type": "quniform", "low": 5, "high": 400, "q": 7}}, ["--from", "regression"],
         "is no multiple of q 7"),
    ],
)  # fmt: skip
def test_a_best_config_outside_of_the_space_is_one_sentence(
    labs_cli: Cli, first: Sweep, tmp_path: Path, space: dict[str, Any], options: list[str], sentence: str
) -> None:
    said = tuned(labs_cli, tmp_path, space, *options)
    assert said.code == 2
    assert sentence in said.err.splitlines()[-1]


def test_a_sweep_without_a_finished_trial_is_no_start(labs_cli: Cli, home: Path, tmp_path: Path) -> None:
    stand_in_sweep(home, "regression", lambda number, fields: ("FAILED", 1.0), trials=1, space=SPACE)
    said = tuned(labs_cli, tmp_path, SPACE, "--from", "regression")
    assert said.code == 2
    assert "has no finished trial to start from" in said.err


def test_a_spec_says_where_a_sweep_starts(labs_cli: Cli, first: Sweep, tmp_path: Path) -> None:
    def planned(**tune: Any) -> Said:
        nodes = {"table": {"lab": "regression", "size": "tiny", "tune": {"trials": 3, "space": SPACE, **tune}}}
        (tmp_path / "spec.yaml").write_text(yaml.safe_dump({"name": "x", "nodes": nodes}))
        return labs_cli("pipeline", "plan", tmp_path / "spec.yaml")

    assert planned(**{"from": first.folder.name}).code == 0
    assert "no sweep 'nothing' of lab regression" in planned(**{"from": "nothing"}).err
    assert "unknown field 'nodes.table.tune.form': did you mean 'from'?" in planned(form="x").err
