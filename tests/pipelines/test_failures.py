"""Whatever goes wrong around a node is that node's failure: what needs it is blocked, the others go on."""

import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.error_file import first_line
from pipelines.job import Job, Outcome
from pipelines.requests import is_asked_to_abort
from tests.conftest import Said
from tests.faults.story import Start, wait_for

Cli = Callable[..., Said]
pytestmark = pytest.mark.timeout(120)
NODE = "{lab: regression, size: tiny, resources: {workers: 0}"
BAD, GOOD = "strong", "simple"
"""Presets of the node that fails and of those that do not."""


@pytest.fixture
def run(labs_cli: Cli, tmp_path: Path) -> Callable[..., Said]:
    """Runs a pipeline of a bad node, one that needs it, and one that does not; `more` goes into the bad node."""

    def pipeline(more: str = "") -> Said:
        spec = tmp_path / "spec.yaml"
        bad = f"bad: {NODE}, preset: {BAD}{more}}}"
        after, free = f"after: {NODE}, needs: {{teacher: bad}}}}", f"free: {NODE}, preset: {GOOD}, seeds: [7]}}"
        spec.write_text("\n".join(["name: test", "nodes:", *(f"  {node}" for node in (bad, after, free))]) + "\n")
        return labs_cli("pipeline", "run", spec, "--json")

    return pipeline


def nodes_of(said: Said) -> dict[str, Any]:
    return {node["name"]: node for node in said.json["nodes"]}


def assert_only_bad_failed(said: Said, error: str) -> Path:
    """The folder of the node that failed, after everything else was checked."""
    nodes = nodes_of(said)
    assert said.code == 1, said.err
    statuses = {name: node["status"] for name, node in nodes.items()}
    assert statuses == {"bad": "FAILED", "after": "BLOCKED", "free-s7": "FINISHED"}
    assert error in nodes["bad"]["error"]
    assert error in said.err
    return Path(nodes["bad"]["folder"])


def raise_for(name: str, error: Exception, original: Callable[..., Any]) -> Callable[..., Any]:
    """`original`, but for a folder whose name has `name`, where it raises."""

    def function(folder: Path, *arguments: Any, **more: Any) -> Any:
        if f"-{name}-" in folder.name:
            raise error
        return original(folder, *arguments, **more)

    return function


def test_a_record_that_can_not_be_written(run: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines import node

    full = OSError(28, "No space left on device")
    monkeypatch.setattr(node, "write_record", raise_for(BAD, full, node.write_record))
    folder = assert_only_bad_failed(run(), "OSError: [Errno 28] No space left on device")
    assert "Traceback" in (folder / "error.txt").read_text()


def test_an_environment_that_can_not_be_written_and_the_same_command_continues(
    run: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.home import read_record
    from pipelines.tracking import snapshot

    with monkeypatch.context() as patch:
        broken = raise_for(BAD, ValueError("a distribution without a name"), snapshot.write_environment)
        patch.setattr(snapshot, "write_environment", broken)
        folder = assert_only_bad_failed(run(), "ValueError: a distribution without a name")
    assert "Traceback" in (folder / "error.txt").read_text()
    assert read_record(folder)["status"] == "FAILED"
    continued = run()
    assert continued.code == 0, continued.err
    assert {node["status"] for node in continued.json["nodes"]} == {"FINISHED"}
    assert not (folder / "error.txt").exists()


def test_workers_that_fail_without_saying_why(run: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines import execution

    run_job = execution.run_job
    monkeypatch.setattr(execution, "run_job", lambda job: "FAILED" if job.preset == BAD else run_job(job))
    assert_only_bad_failed(run(), "left no error.txt")


def test_a_sweep_whose_best_config_is_not_there(run: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines import execution, pipeline

    monkeypatch.setattr(pipeline, "connect_for", lambda home, nodes, cluster, reporter: cluster)
    monkeypatch.setattr(execution, "conduct", lambda *arguments, **more: "FINISHED")
    said = run(", tune: {trials: 1}")
    nodes = nodes_of(said)
    assert nodes.pop("bad-tune")["status"] == "FINISHED"
    assert {name: node["status"] for name, node in nodes.items()} == {
        "bad": "FAILED", "after": "BLOCKED", "free-s7": "FINISHED"}  # fmt: skip
    assert "best.yaml" in nodes["bad"]["error"]
    assert "Traceback" in (Path(nodes["bad"]["folder"]) / "error.txt").read_text()


def never_end() -> None:
    """Let a job of this process, where no Ray is, never end unless its preset is simple."""
    from pipelines import execution, pipeline

    train = execution.run_job

    def run_job(job: Job) -> Outcome:
        if job.preset == "simple":
            return train(job)
        print("started", flush=True)
        threading.Event().wait()
        raise AssertionError

    pipeline.connect_for = lambda home, nodes, cluster, reporter: cluster
    execution.run_job, execution.GRACE_S, execution.ABORT_S, execution.START_LIMIT_S = run_job, 0.5, 0.5, 0.0


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.usefixtures("labs_cli")
def test_one_interrupt_ends_a_pipeline_whose_node_never_ends(home: Path, labs_process: Start, workers: int) -> None:
    """After the time to save is over nothing waits for the node: not the graph, and not the interpreter's exit.

    Workers, which may be on other machines, are asked to abort: they do not end with this process.
    """
    train = ("train", "regression", "--size", "tiny", "--preset", "strong", "--workers", workers)
    process = labs_process(*train, before=never_end)
    wait_for(lambda: "started" in (process.folder / "err").read_text(), process)
    begin = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert time.monotonic() - begin < 20
    assert "KILLED" in err
    assert "the same command again continues" in err
    (folder,) = (home / "runs").iterdir()
    assert is_asked_to_abort(folder) == (workers > 0)


@pytest.mark.usefixtures("labs_cli")
def test_the_time_limit_ends_a_node_whose_workers_never_start(labs_process: Start, tmp_path: Path) -> None:
    """Nobody is there to read what the node is asked for; the rest of the pipeline goes on all the same."""
    spec = tmp_path / "spec.yaml"
    stuck = "{lab: regression, size: tiny, preset: strong, time_limit: 0.5}"
    spec.write_text(f"name: test\nnodes:\n  stuck: {stuck}\n  after: {NODE}, needs: {{x: stuck}}}}\n  free: {NODE}}}\n")
    process = labs_process("pipeline", "run", spec, "--json", before=never_end)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    nodes = {node["name"]: node for node in json.loads(out[out.index("{") :])["nodes"]}
    assert {name: node["status"] for name, node in nodes.items()} == {
        "stuck": "FAILED", "after": "BLOCKED", "free": "FINISHED"}  # fmt: skip
    assert nodes["stuck"]["error"].startswith("time limit of 0.5 s reached")
    assert json.loads((Path(nodes["stuck"]["folder"]) / "record.json").read_text())["status"] == "FAILED"
    assert is_asked_to_abort(Path(nodes["stuck"]["folder"]))


def test_an_error_that_ends_the_command_is_in_the_pipeline_s_record(
    labs_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stood there as WAITING for good, and nothing said that nobody worked on it."""
    from cluster import connect
    from cluster.errors import ClusterError

    def fail() -> None:
        raise ClusterError("no Ray cluster answers")

    labs_cli("train", "regression", "--size", "tiny", "--workers", "0")  # prepares the data
    with monkeypatch.context() as patch:
        patch.setattr(connect, "connect", fail)
        said = labs_cli("train", "regression", "--size", "tiny", "--seed", "3")
    assert (said.code, said.err.splitlines()[-1]) == (2, "error: no Ray cluster answers")
    status = labs_cli("status", "--json").json
    assert (status["status"], status["error"]) == ("FAILED", "ClusterError: no Ray cluster answers")
    assert "no process runs this pipeline now: nothing was trained yet; the same command starts it" in (
        labs_cli("status").err
    )


@pytest.mark.parametrize(("first", "last"), [("Training failed due to controller error:", "RuntimeError: refused"),
                                             ("a line", None), ("nothing follows:", None)])  # fmt: skip
def test_an_error_s_line_is_the_one_that_tells(first: str, last: str | None) -> None:
    text = f"{first}\n\n  File x\n\x1b[36m  {last}\n\n" if last else first
    assert first_line(ValueError(text)) == (f"ValueError: {first} {last}" if last else f"ValueError: {first}")
