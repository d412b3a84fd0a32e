"""A home that was copied or moved is whole where it is, and nothing is written to the place where it was."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from pipelines.home import read_record, write_record
from pipelines.record_fields import TAGS
from pipelines.tracking.writer import Store
from tests.conftest import Said

Cli = Callable[..., Said]
TRAIN = ("train", "regression", "--size", "tiny", "--workers", "0", "--json")


def contents(home: Path) -> dict[str, tuple[int, bytes]]:
    """When each file was written, and what it holds; data sets are shared with other tests."""
    files = [path for path in home.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def places(store: Store) -> set[str]:
    """The homes that a store names, in all columns that have places."""
    with sqlite3.connect(store.uri.removeprefix("sqlite:///")) as database:
        text = "\n".join(database.iterdump())
    return {name for name in ("before", "after") if f"/{name}/" in text}


@pytest.fixture
def homes(home: Path, labs_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], Path, Path]:
    """A run in a home, that home, and a copy of it, which is now the home of `labs_cli`."""
    before, after = home.parent / "before", home.parent / "after"
    home.rename(before)
    monkeypatch.setenv("LABS_HOME", str(before))
    trained = labs_cli(*TRAIN).json
    shutil.copytree(before, after, symlinks=True)
    _artifact_repos_cache.clear()  # of this process: a run's id has its place
    monkeypatch.setenv("LABS_HOME", str(after))
    return trained, before, after


def test_nothing_is_written_to_the_original_of_a_copy(
    homes: tuple[dict[str, Any], Path, Path], labs_cli: Cli, tmp_path: Path
) -> None:
    trained, before, after = homes
    original = contents(before)
    (node,) = labs_cli("status", "--json").json["nodes"]
    assert (node["run_id"], Path(node["folder"]).parents[1]) == (trained["run_id"], after)
    (row,) = labs_cli("compare", "--json").json
    assert row["run_ids"] == [trained["run_id"]]
    assert labs_cli("deliver", "regression", "--run", trained["run_id"], "--out", str(tmp_path / "out")).code == 0
    assert "0 runs and pipelines written" in labs_cli("sync").err.replace("\n", " ")
    assert labs_cli(*TRAIN).json["run_id"] == trained["run_id"]
    assert labs_cli(*TRAIN, "--seed", "1").json["status"] == "FINISHED"
    (run,) = (after / "runs").glob("*-s0-*")
    write_record(run, ended=1.0)  # as one that was continued: its files are written again
    assert "1 runs and pipelines written" in labs_cli("sync").err.replace("\n", " ")
    assert contents(before) == original
    assert places(Store(after, None)) == {"after"}


def test_a_moved_home_has_its_runs_and_their_files(homes: tuple[dict[str, Any], Path, Path], labs_cli: Cli) -> None:
    trained, before, after = homes
    shutil.rmtree(before)
    assert labs_cli("status", "--json").json["nodes"][0]["run_id"] == trained["run_id"]
    client = Store(after, None).client()
    assert client.get_run(trained["run_id"]).info.artifact_uri.startswith(after.as_uri())
    assert "result.json" in {file.path for file in client.list_artifacts(trained["run_id"])}
    assert not before.exists()
    (run,) = (after / "runs").iterdir()
    assert Path(read_record(run)["data"]["packed"]).is_relative_to(after)


def test_a_trial_s_record_names_the_sweep_of_its_own_home_and_data_of_the_user_s_where_they_are(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    sweep = before / "sweeps" / "a"
    trial = sweep / "trials" / "3"
    words = {
        "key": "k",
        "name": "n",
        "status": "FINISHED",
        "error": "",
        "lab": "cnn",
        "preset": "simple",
        "size": "tiny",
    }
    rest = {"created": 0.0, "seconds": 0.0, "seed": 0, "params": {}, "config": {}, "overrides": {}, "pruned": False}
    data = {"packed": str(before / "data" / "cnn"), "source": str(tmp_path / "mine"), "digest": "d", "origin": "folder",
            "splits": {}}  # fmt: skip
    tags = {**dict.fromkeys(TAGS, "cnn"), "labs.folder": str(trial)}
    job = {"folder": str(trial), "upstream": {"teacher": str(before / "runs" / "b")}}
    write_record(trial, parent=str(sweep), data=data, job=job, tags=tags, **words, **rest)
    shutil.copytree(before, after)
    found = read_record(after / "sweeps" / "a" / "trials" / "3")
    assert found["parent"] == str(after / "sweeps" / "a")
    assert found["data"] == {**data, "packed": str(after / "data" / "cnn")}
    assert found["job"]["upstream"] == {"teacher": str(after / "runs" / "b")}
    assert read_record(trial)["parent"] == str(sweep)
