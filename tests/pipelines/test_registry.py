"""The registry: MLflow has the best model of a lab, and says why it is the best."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.home import read_record, result, write_record
from pipelines.tracking.writer import Store, run_id
from tests.conftest import Said

Cli = Callable[..., Said]
TRAIN = ("train", "regression", "--size", "tiny", "--workers", "0", "--set", "epochs=1")


def best_version(home: Path) -> Any:
    """The version that the alias points to."""
    return Store(home, None).client().get_model_version_by_alias("labs-regression", "best")


def run_of(home: Path, folder: Path) -> str | None:
    return run_id(folder, Store(home, None))


def rewrite(folder: Path, value: float, **data: Any) -> None:
    """Give a run another validation metric, or other data, without training it again."""
    ended = result(folder)
    (folder / "result.json").write_text(json.dumps({**ended, "metrics": {**ended["metrics"], "best/value": value}}))
    write_record(folder, data={**read_record(folder)["data"], **data})


def test_the_best_model_of_a_lab_is_registered_with_its_metrics_and_data(labs_cli: Cli, home: Path) -> None:
    """Of two runs on the same data the one with the better validation metric, and one on larger data before both."""
    for seed in (0, 1):
        assert labs_cli(*TRAIN, "--seed", seed).code == 0
    first, second = sorted((home / "runs").iterdir())
    digest = read_record(first)["data"]["digest"]

    rewrite(first, 20.0)
    rewrite(second, 10.0)
    assert labs_cli("sync").code == 0
    version = best_version(home)
    assert version.run_id == run_of(home, second)
    said = labs_cli("predict", "regression", home / "nothing.csv").err
    assert second.name in said
    for part in ("val/mse 10", "test/mse", "seed 1", digest, second.name):
        assert part in version.description
    client = Store(home, None).client()
    assert "Homework 1" in client.get_registered_model("labs-regression").description

    rewrite(first, 5.0)
    assert labs_cli("sync").code == 0
    assert best_version(home).run_id == run_of(home, first)

    rewrite(second, 10.0, digest="another", splits={"train": 10**6})
    assert labs_cli("sync").code == 0
    assert best_version(home).run_id == run_of(home, second)


def test_a_store_of_several_homes_keeps_the_best_of_all(labs_cli: Cli, home: Path) -> None:
    """A version of another home's run stays where it is better on the same data, or was trained on larger ones."""
    assert labs_cli(*TRAIN).code == 0
    (folder,) = (home / "runs").iterdir()
    rewrite(folder, 5.0, digest="d", splits={"train": 9})
    client, own = Store(home, None).client(), run_of(home, folder)
    for value, digest, rows, keeps in ((4, "d", 9, True), (6, "d", 9, False), (6, "e", 10, True), (4, "e", 9, False)):
        tags = {"labs.value": str(value), "labs.data.digest": digest, "labs.data.rows": str(rows)}
        other = client.create_model_version("labs-regression", best_version(home).source, tags=tags)
        client.set_registered_model_alias("labs-regression", "best", other.version)
        assert labs_cli("sync").code == 0
        assert best_version(home).run_id == (other.run_id if keeps else own), (value, digest, rows)
