"""Nodes that do not see the home folder: here this machine's own node is taken for one, by the suite's Ray.

Whole runs there are in `test_placement.py`, and real machines are in `tests/faults/test_machines.py`.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labs.core import events
from pipelines import home_files, node_cache, replica
from pipelines.home import write_record
from pipelines.job import Job
from pipelines.replica import Replica, staged
from pipelines.requests import ask_to_stop

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(ray_session: None) -> Iterator[Any]:
    """The actor that serves this node."""
    import ray

    home_files.serve([ray.get_runtime_context().get_node_id()])
    yield home_files.find()
    ray.kill(home_files.find())


@pytest.fixture
def run(files: Any, home: Path, tmp_path: Path) -> Replica:
    """The copy of a run that was begun."""
    folder = home / "runs" / "regression"
    write_record(folder, name="regression")
    events.append(folder, {"step": 1, "metrics": {}})
    return begun(files, folder, tmp_path / "copy", "first")


def begun(files: Any, folder: Path, copy: Path, workers: str) -> Replica:
    import ray

    ray.get(files.begin.remote(folder, workers))
    return Replica(files, folder, copy, workers)


def test_a_log_that_goes_back_to_a_checkpoint_does_not_get_a_step_twice(run: Replica) -> None:
    for step in (2, 3):
        events.append(run.folder, {"step": step, "metrics": {}})
        run.send()
    events.rewind(run.folder, 1)
    for step in (2, 3, 4):
        events.append(run.folder, {"step": step, "metrics": {"longer": 1.0}})
    run.send()
    assert [event["step"] for event in events.read(run.original)] == [1, 2, 3, 4]
    assert events.read(run.original) == events.read(run.folder)


def test_of_a_checkpoint_nothing_is_there_before_the_events_that_it_has(
    run: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that is lost at any moment leaves a folder to continue from; the result is the last file."""
    sent, send = list[str](), Replica._send_file

    def note(self: Replica, name: str, *rest: Any) -> None:
        sent.append(name)
        send(self, name, *rest)

    monkeypatch.setattr(Replica, "_send_file", note)
    (run.folder / "checkpoints" / "step-000002").mkdir(parents=True)
    for name in ("result.json", "checkpoints/step-000002/state.pt", "weights.safetensors"):
        (run.folder / name).write_text("{}")
    events.append(run.folder, {"step": 2, "metrics": {}})
    run.send()
    assert (sent[0], sent[-1]) == (events.FILE, "result.json")
    (run.folder / "checkpoints" / "step-000002" / "state.pt").unlink()
    run.send()
    assert not list((run.original / "checkpoints").iterdir())


def test_a_request_of_the_driver_reaches_the_copy(run: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "SEND_EVERY_S", 0.05)
    with run:
        ask_to_stop(run.original)
        assert not run.ended.wait(1)
        assert (run.folder / "stop").exists()


def test_workers_that_were_cut_off_write_no_more_once_others_have_the_run(run: Replica, tmp_path: Path) -> None:
    """A late call cut the file off where it had ended for the old ones."""
    events.append(run.folder, {"step": 2, "metrics": {}})
    later = begun(run.files, run.original, tmp_path / "later", "second")
    for step in (2, 3):
        events.append(later.folder, {"step": step, "metrics": {}})
    later.send()
    with pytest.raises(home_files.Superseded):
        run.send()
    assert [event["step"] for event in events.read(run.original)] == [1, 2, 3]


def test_large_files_and_many_small_ones_arrive_whole_and_a_damaged_copy_is_fetched_again(
    files: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_cache, "TOGETHER", 3)
    data, folder = home / "data" / "cnn" / "generated", home / "runs" / "cnn"
    contents = {f"masks/{n}": os.urandom(n) for n in range(8)} | {"train.arrow": os.urandom(home_files.PIECE * 2 + 1)}
    contents["manifest.json"] = json.dumps({"digest": "d" * 64}).encode()
    for name, content in contents.items():
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(content)
    write_record(folder, name="cnn")
    job = Job(lab="cnn", preset="simple", size="tiny", config={}, seed=0, workers=1, cpus_per_worker=1, retries=0,
              gpus_per_worker=0, folder=folder, data=data, upstream={}, bundles=[1.0], code="")  # fmt: skip
    for _ in range(2):
        with staged(job) as here:
            assert here.data != data
            assert {name: (here.data / name).read_bytes() for name in contents} == contents
        (here.data / "masks" / "5").write_bytes(b"")
