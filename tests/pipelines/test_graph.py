"""Pipelines: order, failure, reuse, locks, limits. The nodes train in this process: only placement is left out."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from pipelines.plan import priorities
from tests.conftest import Said
from tests.forked import LabsProcess

Cli = Callable[..., Said]
NODE = "{lab: regression, size: tiny, resources: {workers: 0}"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a spec of tiny regression nodes; each keyword is a node with what else is in it."""

    def spec(**nodes: str) -> Path:
        path = tmp_path / "spec.yaml"
        lines = [f"  {name}: {NODE}{', ' if more else ''}{more}}}" for name, more in nodes.items()]
        path.write_text("\n".join(["name: test", "nodes:", *lines]) + "\n")
        return path

    return spec


def statuses(said: Said) -> dict[str, str]:
    return {node["name"]: node["status"] for node in said.json["nodes"]}


BROKEN = "overrides: {hidden: [-1]}"


def test_a_failed_node_stops_only_what_needs_it(labs_cli: Cli, write: Callable[..., Path]) -> None:
    spec = write(bad=BROKEN, after="needs: {teacher: bad}", later="needs: {teacher: after}", free="preset: strong")
    said = labs_cli("pipeline", "run", spec, "--json")
    assert said.code == 1
    assert statuses(said) == {"bad": "FAILED", "after": "BLOCKED", "later": "BLOCKED", "free": "FINISHED"}
    assert said.json["status"] == "FAILED"
    bad = next(node for node in said.json["nodes"] if node["name"] == "bad")
    assert bad["error"].startswith("RuntimeError")
    assert "Traceback" in (Path(bad["folder"]) / "error.txt").read_text()


DIVERGES = "overrides: {lr: 1.0e+30}"


@pytest.mark.parametrize(("nodes", "code"), [({"wrong": DIVERGES}, 2), ({"wrong": DIVERGES, "bad": BROKEN}, 1)])
def test_a_pipeline_ends_with_2_where_nothing_but_bad_input_failed(
    labs_cli: Cli, write: Callable[..., Path], nodes: dict[str, str], code: int
) -> None:
    said = labs_cli("pipeline", "run", write(**nodes, free=""), "--json")
    assert (said.code, statuses(said)) == (code, {**dict.fromkeys(nodes, "FAILED"), "free": "FINISHED"})


def runs_in_store(home: Path) -> int:
    from pipelines.tracking.writer import Store

    store = Store(home, None)
    return len(store.client().search_runs([store.experiment]))


def test_a_finished_pipeline_run_again_does_nothing_and_says_so(
    labs_cli: Cli, write: Callable[..., Path], home: Path
) -> None:
    spec = write(a="preset: simple", b="preset: strong")
    first = labs_cli("pipeline", "run", spec, "--json")
    before = runs_in_store(home)
    second = labs_cli("pipeline", "run", spec, "--json")
    assert "has already finished" in second.err
    assert runs_in_store(home) == before == 3
    assert second.json == first.json
    assert first.json["run_id"]


def test_force_runs_again_and_keeps_the_first_run(labs_cli: Cli, write: Callable[..., Path]) -> None:
    spec = write(a="")
    first = labs_cli("pipeline", "run", spec, "--json").json["nodes"][0]
    forced = labs_cli("pipeline", "run", spec, "--json", "--force").json["nodes"][0]
    assert forced["run_id"] != first["run_id"]
    assert forced["value"] == first["value"]
    assert (Path(first["folder"]) / "result.json").exists()
    assert labs_cli("pipeline", "run", spec, "--json").json["nodes"][0]["run_id"] == forced["run_id"]


def test_another_pipeline_reuses_what_is_the_same(labs_cli: Cli, write: Callable[..., Path]) -> None:
    train = labs_cli("train", "regression", "--size", "tiny", "--workers", "0", "--json").json
    nodes = {
        node["name"]: node for node in labs_cli("pipeline", "run", write(a="", b="seeds: [7]"), "--json").json["nodes"]
    }
    assert (nodes["a"]["reused"], nodes["a"]["run_id"]) == (True, train["run_id"])
    assert not nodes["b-s7"]["reused"]


def test_a_changed_setting_runs_only_that_node_and_its_dependants(labs_cli: Cli, write: Callable[..., Path]) -> None:
    labs_cli("pipeline", "run", write(a="", b="needs: {x: a}", c="preset: strong"))
    said = labs_cli(
        "pipeline", "run", write(a="overrides: {lr: 2.0e-5}", b="needs: {x: a}", c="preset: strong"), "--json"
    )
    assert {node["name"]: node["reused"] for node in said.json["nodes"]} == {"a": False, "b": False, "c": True}


def test_runs_that_need_runs_of_other_settings_share_no_row(labs_cli: Cli, write: Callable[..., Path]) -> None:
    """Equal in all else, such as two fine-tunings of other pre-trained models; `labs compare` names what they need."""
    needing = {name: f"preset: medium, needs: {{teacher: {name[-1]}}}" for name in ("of-a", "of-b", "of-c")}
    labs_cli("pipeline", "run", write(a="", b="preset: strong", c="overrides: {lr: 2.0e-5}", **needing))
    rows = labs_cli("compare", "--pipeline", "test", "--json").json
    teachers = [row["settings"]["teacher"] for row in rows if row["preset"] == "medium"]
    assert sorted(teachers) == ["regression simple", "regression simple lr=2e-05", "regression strong"]


@pytest.mark.slow
def test_runs_that_need_runs_of_other_labs_share_no_row(labs_cli: Cli, tmp_path: Path) -> None:
    """A teacher and a teaching assistant of one preset: their students were averaged as one seed that was run twice."""
    common = {"size": "tiny", "preset": "strong", "resources": {"workers": 0}}
    student = {"lab": "compression", **common}
    nodes = {
        "teacher": {"lab": "cnn", **common},
        "assistant": {**student, "overrides": {"assistant": True}, "needs": {"teacher": "teacher"}},
        "with": {**student, "needs": {"teacher": "assistant"}},
        "without": {**student, "needs": {"teacher": "teacher"}},
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump({"name": "test", "nodes": nodes}))
    said = labs_cli("pipeline", "run", tmp_path / "spec.yaml")
    assert said.code == 0, said.err
    rows = [row for row in labs_cli("compare", "--pipeline", "test", "--json").json if row["lab"] == "compression"]
    assert sorted((row["settings"]["teacher"], row["settings"]["assistant"]) for row in rows) == [
        ("cnn strong", False),
        ("cnn strong", True),
        ("compression strong assistant=True teacher=cnn strong", False),
    ]


def test_only_runs_a_node_and_what_it_needs(labs_cli: Cli, write: Callable[..., Path]) -> None:
    spec = write(a="", b="needs: {x: a}", c="", d="")
    said = labs_cli("pipeline", "run", spec, "--only", "b", "--json")
    assert set(statuses(said)) == {"a", "b"}
    said = labs_cli("pipeline", "run", spec, "--only", "b", "--only", "d", "--json")
    assert set(statuses(said)) == {"a", "b", "d"}


def test_a_node_over_its_time_limit_is_saved_and_continues_with_a_higher_one(
    labs_cli: Cli, write: Callable[..., Path]
) -> None:
    long = "overrides: {epochs: 100000, patience: 100000}"
    said = labs_cli("pipeline", "run", write(a=f"{long}, time_limit: 3", b=""), "--json")
    assert (said.code, statuses(said)) == (1, {"a": "FAILED", "b": "FINISHED"})
    a = said.json["nodes"][0]
    assert "time limit of 3 s reached" in a["error"]
    assert list((Path(a["folder"]) / "checkpoints").glob("step-*"))
    long = ("--workers", "0", "--set", "epochs=100000", "--set", "patience=100000")
    said = labs_cli("train", "regression", "--size", "tiny", *long, "--time-limit", "1")
    assert said.code == 1
    assert "time limit of 1 s reached; raise it and run again to continue" in said.err


def test_a_second_process_follows_the_first_and_ends_with_the_same(
    labs_cli: Cli, labs_process: Callable[..., LabsProcess], home: Path
) -> None:
    arguments = ("train", "regression", "--size", "tiny", "--workers", "0", "--json", "--set", "epochs=150")
    first = labs_process(*arguments, "--set", "patience=150")
    deadline = time.monotonic() + 60
    while not list((home / "runs").glob("*/events.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.1)
    second = labs_cli(*arguments, "--set", "patience=150")
    out, _ = first.communicate(timeout=120)
    assert "following it" in second.err
    assert second.json == json.loads(out)
    assert len(list((home / "runs").iterdir())) == 1


def test_the_first_interrupt_saves_and_the_same_command_continues(
    labs_cli: Cli, write: Callable[..., Path], home: Path
) -> None:
    spec = write(a="overrides: {epochs: 75, passes: 20, patience: 75}", b="needs: {x: a}")
    whole = labs_cli("pipeline", "run", spec, "--json", "--force").json
    before = set((home / "runs").iterdir())

    def interrupt_once_it_trains() -> None:
        while not any(list(folder.glob("events.jsonl")) for folder in set((home / "runs").iterdir()) - before):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=interrupt_once_it_trains, daemon=True)
    watcher.start()
    stopped = labs_cli("pipeline", "run", spec, "--json", "--force")
    watcher.join()
    assert stopped.code == 130
    assert statuses(stopped) == {"a": "KILLED", "b": "WAITING"}
    continued = labs_cli("pipeline", "run", spec, "--json", "--force")
    assert continued.code == 0
    assert [node["value"] for node in continued.json["nodes"]] == [node["value"] for node in whole["nodes"]]
    assert continued.json["run_id"] == stopped.json["run_id"] != whole["run_id"]


def test_the_longest_remaining_path_goes_first() -> None:
    seconds = {"short": 1.0, "head": 2.0, "long": 5.0, "tail": 9.0}
    needs = {"short": [], "head": [], "long": [], "tail": ["head"]}
    order = priorities(seconds, needs)
    assert sorted(order, key=lambda name: -order[name]) == ["head", "tail", "long", "short"]
    assert order["head"] == 11.0


def test_plan_says_what_is_cached_and_how_long_the_rest_takes(labs_cli: Cli, write: Callable[..., Path]) -> None:
    spec = write(a="", b="preset: strong", c="preset: strong, needs: {x: b}")
    before = labs_cli("pipeline", "plan", spec, "--json").json
    assert not any(node["cached"] for node in before["nodes"])
    assert before["makespan_s"] >= before["bound_s"] > 0
    labs_cli("pipeline", "run", spec, "--only", "a")
    after = labs_cli("pipeline", "plan", spec, "--json").json
    assert {node["name"]: node["cached"] for node in after["nodes"]} == {"a": True, "b": False, "c": False}
    assert set(after) >= {"nodes", "makespan_s", "bound_s", "fits"}


def test_the_end_says_how_well_the_cluster_was_used(labs_cli: Cli, write: Callable[..., Path]) -> None:
    spec = write(a="", b="preset: strong, needs: {x: a}")
    ran = labs_cli("pipeline", "run", spec, "--json")
    figures, seconds = ran.json["schedule"], [node["seconds"] for node in ran.json["nodes"]]
    assert figures["work_cpu_s"] == pytest.approx(sum(seconds))  # each holds one CPU
    assert figures["bound_s"] == pytest.approx(sum(seconds))  # one waits for the other
    assert 0 < figures["used"] <= 1
    assert "which no schedule does in less than" in ran.err
    assert labs_cli("pipeline", "run", spec, "--json", "--only", "a").json["schedule"] is None


def test_status_shows_the_newest_pipeline(labs_cli: Cli, write: Callable[..., Path]) -> None:
    ran = labs_cli("pipeline", "run", write(a=""), "--json").json
    assert labs_cli("status", "--json").json == ran
    assert labs_cli("status", "test", "--json").json == ran


def test_a_comment_or_docstring_changes_no_fingerprint_and_code_does(tmp_path: Path) -> None:
    from pipelines.fingerprint import code_digest

    digests = []
    for text in ('"""Doc."""\nx = 1\n', '"""Other."""\nx = 1  # why\n', "x = 2\n"):
        root = tmp_path / str(len(digests))
        (root / "labs").mkdir(parents=True)
        (root / "labs" / "part.py").write_text(text)
        (root / "labs" / "some.py").write_text("from labs import part\nfrom labs.part import x\n")
        digests.append(code_digest("labs.some", root))
    assert digests[0] == digests[1] != digests[2]


def test_a_broken_folder_of_a_later_node_is_named_before_anything_starts(
    labs_cli: Cli, write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines import datasets, preparation

    (tmp_path / "broken").mkdir()
    monkeypatch.setattr(datasets, "SEED", 11)  # data that no other test has prepared
    monkeypatch.setattr(preparation, "prepare", lambda *arguments: pytest.fail("data were prepared"))
    said = labs_cli("pipeline", "run", write(a="", b="data: broken"))
    assert said.code == 2
    assert said.err.splitlines()[-1].startswith(f"error: data folder {tmp_path / 'broken'} of lab regression: ")


def test_what_is_wrong_with_data_is_said_without_the_traceback_of_the_task() -> None:
    from ray.exceptions import RayTaskError

    from labs.core.errors import BadInput
    from pipelines.preparation import raise_error_of

    failed: Future[None] = Future()
    error = RayTaskError("_prepare", "many\nlines", BadInput("train.csv is empty"))
    failed.set_exception(error.as_instanceof_cause())
    with pytest.raises(BadInput, match=r"^train.csv is empty$"):
        raise_error_of(failed)


def test_a_node_that_has_finished_takes_no_room() -> None:
    from cluster.capacity import Cluster, Resources
    from pipelines.plan import demand
    from pipelines.simulation import bound, simulate

    def planned(seconds: float, finished: bool) -> Any:
        return SimpleNamespace(
            node=SimpleNamespace(needs={}), bundles=(Resources(2.0),), seconds=seconds, finished=lambda: finished,
            job=SimpleNamespace(data=Path("data")),
        )  # fmt: skip

    nodes = {"done": planned(50.0, True), "first": planned(3.0, False), "second": planned(4.0, False)}
    ahead, cluster = demand(nodes, {}), Cluster({"node": Resources(2.0)})
    assert ahead.bundles == {"done": (), "first": (Resources(2.0),), "second": (Resources(2.0),)}
    assert max(stay.end for stay in simulate(ahead, cluster).values()) == bound(ahead, cluster) == 7.0
