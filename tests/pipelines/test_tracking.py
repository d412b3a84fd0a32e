"""MLflow mirrors the run folders: all of it, once, whatever died in between."""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labs.core import events
from pipelines.home import read_record, write_record
from pipelines.torch_lock import TORCH_LOCK
from pipelines.tracking import mirroring
from pipelines.tracking.writer import MIRROR, Store, search
from tests.conftest import Said
from tests.forked import LabsProcess

Cli = Callable[..., Said]
TRAIN = ("train", "regression", "--size", "tiny", "--workers", "0", "--json")


@pytest.fixture
def trained(labs_cli: Cli) -> dict[str, Any]:
    found: dict[str, Any] = labs_cli(*TRAIN).json
    return found


def runs(store: Store) -> list[Any]:
    return search(store.client(), store.experiment)


def curve(store: Store, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in store.client().get_metric_history(run_id, name)]


def run_folder(home: Path) -> Path:
    return next((home / "runs").iterdir())


def test_a_lab_s_run_has_everything_that_was_run(home: Path, trained: dict[str, Any]) -> None:
    store = Store(home, None)
    run = store.client().get_run(trained["run_id"])
    assert run.info.status == "FINISHED"
    assert (run.data.params["lr"], run.data.params["seed"]) == ("1e-05", "0")
    assert run.data.metrics["test/mse"] == trained["metrics"]["test/mse"]
    assert run.data.tags["mlflow.source.git.commit"] or "mlflow.labs.version" in run.data.tags
    (data,) = run.inputs.dataset_inputs
    digest = json.loads((run_folder(home) / "record.json").read_text())["data"]["digest"]
    assert digest.startswith(data.dataset.digest)
    assert "machine/cpu_utilization_percentage" in run.data.metrics
    assert "system/cpu_utilization_percentage" in search(store.client(), store.experiment)[0].data.metrics
    artifacts = {file.path for file in store.client().list_artifacts(run.info.run_id)}
    assert {"config.json", "deliver", "environment.txt", "result.json"} <= artifacts


def test_the_curve_has_each_step_once(home: Path, trained: dict[str, Any]) -> None:
    written = [(e["step"], e["metrics"]["val/mse"]) for e in events.read(run_folder(home)) if "val/mse" in e["metrics"]]
    assert curve(Store(home, None), trained["run_id"], "val/mse") == written
    assert [step for step, _ in written] == [1, 2, 3, 4, 5, 6]


def test_the_model_loads_without_pickle_and_predicts_with_its_signature_and_its_example(
    home: Path, trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    import labs

    store = Store(home, None)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    (output,) = store.client().get_run(trained["run_id"]).outputs.model_outputs
    model = mlflow.pyfunc.load_model(f"models:/{output.model_id}")
    lab = labs.get("regression")
    inputs = lab.example(Path(read_record(run_folder(home))["data"]["packed"]))
    assert model.metadata.signature is not None
    assert np.array_equal(model.predict(inputs), lab.predict(lab.load(run_folder(home)), inputs))
    assert np.allclose(model.predict(model.input_example), model.predict(inputs)[:1])
    files = list((home / "artifacts" / "models").rglob("*"))
    assert not [file for file in files if file.suffix in (".pkl", ".pt", ".pth")]


@pytest.mark.parametrize("died_after", ["run", "metrics", "all"])
def test_a_mirror_whose_notes_were_lost_is_completed_and_nothing_is_twice(
    home: Path, labs_cli: Cli, trained: dict[str, Any], died_after: str
) -> None:
    """The process may die between a write to the store and the note that it was made."""
    notes = run_folder(home) / MIRROR
    kept = json.loads(notes.read_text())
    (store_name,) = kept
    if died_after == "run":
        notes.unlink()
    else:
        lost = {"metrics": 0} if died_after == "metrics" else {"metrics": 0, "system": 0, "ended": ""}
        notes.write_text(json.dumps({store_name: {**kept[store_name], **lost, "ended": ""}}))
    assert labs_cli("sync").code == 0
    store = Store(home, None)
    assert len(runs(store)) == 1
    assert [step for step, _ in curve(store, trained["run_id"], "val/mse")] == [1, 2, 3, 4, 5, 6]
    assert len(store.client().get_run(trained["run_id"]).outputs.model_outputs) == 1
    assert store.client().get_run(trained["run_id"]).info.status == "FINISHED"


def test_another_store_gets_all_of_it(home: Path, labs_cli: Cli, trained: dict[str, Any], tmp_path: Path) -> None:
    other = f"sqlite:///{tmp_path / 'other.db'}"
    said = labs_cli("sync", "--store", other)
    assert "1 runs and pipelines written" in said.err.replace("\n", " ")
    assert "0 runs and pipelines written" in labs_cli("sync", "--store", other).err.replace("\n", " ")
    assert {run.info.status for run in runs(Store(home, other))} == {"FINISHED"}


def test_an_unreachable_store_warns_and_the_next_command_writes_everything(labs_cli: Cli, home: Path) -> None:
    gone = "http://127.0.0.1:9"
    said = labs_cli(*TRAIN, "--store", gone)
    assert said.code == 0
    assert f"MLflow store {gone} can't be written" in said.err
    assert "labs sync" in said.err
    assert said.json["metrics"]["test/mse"]
    assert labs_cli("sync", "--store", gone).code == 1
    assert labs_cli("sync").code == 0
    assert len(runs(Store(home, None))) == 1


def test_a_store_that_is_lost_and_comes_back_misses_nothing(labs_cli: Cli, home: Path, tmp_path: Path) -> None:
    said = labs_cli(*TRAIN).json
    database, away = home / "mlflow.db", tmp_path / "away.db"
    shutil.move(database, away)
    database.mkdir()  # an SQLite file can't be opened there
    failed = labs_cli("train", "regression", "--preset", "strong", "--size", "tiny", "--workers", "0", "--json")
    assert failed.code == 0
    assert "can't be written" in failed.err
    database.rmdir()
    shutil.move(away, database)
    assert labs_cli("sync").code == 0
    store = Store(home, None)
    assert {run.info.status for run in runs(store)} == {"FINISHED"}
    assert len(runs(store)) == 2
    assert curve(store, said["run_id"], "val/mse")


def test_a_run_left_running_by_a_killed_process_is_marked_killed(
    labs_cli: Cli, home: Path, trained: dict[str, Any]
) -> None:
    folder = run_folder(home)
    (folder / "result.json").unlink()
    write_record(folder, status="RUNNING")
    store = Store(home, None)
    store.client().update_run(trained["run_id"], status="RUNNING")
    assert labs_cli("sync").code == 0
    assert store.client().get_run(trained["run_id"]).info.status == "KILLED"


def test_no_password_of_a_store_is_shown_or_kept(labs_cli: Cli, home: Path) -> None:
    said = labs_cli(*TRAIN, "--store", "http://me:secret@127.0.0.1:9")
    assert "secret" not in said.out + said.err
    assert not [path for path in home.rglob("*.json") if "secret" in path.read_text()]


def test_a_store_that_answers_nothing_does_not_hold_up_training(labs_cli: Cli) -> None:
    """A server that refuses every call with an error of its own is as good as none."""

    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(500, "broken")

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    said = labs_cli(*TRAIN, "--store", f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    assert said.code == 0
    assert "can't be written" in said.err


def test_many_writers_on_a_fresh_store_lose_nothing(home: Path, labs_process: Callable[..., LabsProcess]) -> None:
    """Three commands start on an empty home at once: one schema, one experiment, every run whole."""
    seeds = range(3)
    started = [labs_process(*TRAIN, "--seed", str(seed)) for seed in seeds]
    documents = []
    for process in started:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        documents.append(json.loads(out))
    store = Store(home, None)
    assert len(runs(store)) == 3
    assert len({document["run_id"] for document in documents}) == 3
    for document in documents:
        assert [step for step, _ in curve(store, document["run_id"], "val/mse")] == [1, 2, 3, 4, 5, 6]
    assert os.path.exists(home / "mlflow.db")


def test_a_model_that_takes_other_inputs_than_its_lab_s_is_mirrored(home: Path, labs_cli: Cli) -> None:
    """A preset may train another kind of model: gan's translators take pictures, its generators noise."""
    import mlflow

    trained = labs_cli("train", "gan", "--preset", "cycle", "--size", "tiny", "--workers", "0", "--json").json
    (output,) = Store(home, None).client().get_run(trained["run_id"]).outputs.model_outputs
    model = mlflow.pyfunc.load_model(f"models:/{output.model_id}")
    (shape,) = [tensor.shape for tensor in model.metadata.signature.inputs]
    assert shape == (-1, 3, 32, 32)


def test_a_run_whose_model_has_to_wait_is_closed_before_its_pipeline_ends(
    home: Path, trained: dict[str, Any], empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model is not loaded beside a bare run in this process; nothing in the run's folder changes meanwhile."""
    monkeypatch.setattr(mirroring, "MIRROR_EVERY_S", 0.02)
    store = Store(home, f"sqlite:///{shutil.copy(empty_store, tmp_path / 'other.db')}")
    (pipeline,) = (home / "pipelines").iterdir()

    def statuses() -> set[str]:
        return {run.info.status for run in runs(store)}

    with ExitStack() as training:
        training.enter_context(TORCH_LOCK)
        with mirroring.Mirroring(pipeline, store, pytest.fail):  # it has looked at every folder once
            assert statuses() == {"RUNNING"}
            training.close()
            deadline = time.monotonic() + 20
            while statuses() != {"FINISHED"} and time.monotonic() < deadline:
                time.sleep(0.05)
            assert statuses() == {"FINISHED"}
