"""What grows with the number of nodes, runs and trials, and what does not; `tests.benchmarks.growth` has the costs."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import labs
from cluster.capacity import Cluster, Resources
from pipelines import record_fields
from pipelines.home import read_record, write_record
from pipelines.spec import Node, tuning_of
from pipelines.spec_fields import TuneSpec
from pipelines.tracking.names import stored
from pipelines.tracking.writer import Store
from pipelines.tuning.sweep import Sweep
from tests.benchmarks.growth import StandIn
from tests.conftest import Said

Cli = Callable[..., Said]


@pytest.fixture
def pipeline_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """Writes the spec of a pipeline of so many nodes, whose jobs only write a result."""
    monkeypatch.setattr("pipelines.execution.run_job", StandIn().run)

    def write(nodes: int) -> Path:
        file = tmp_path / f"{nodes}.yaml"
        seeds = list(range(1000 * nodes, 1001 * nodes))
        text = f"{{lab: regression, size: tiny, resources: {{workers: 0}}, seeds: {seeds}}}"
        file.write_text(f"name: of-{nodes}\nnodes:\n  a: {text}\n")
        return file

    return write


def test_a_second_run_reads_each_nodes_record_as_often_however_many_there_are(
    labs_cli: Cli, pipeline_of: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To prepare a plan, to complete the mirror, to show the end and to report it: never once for each other node."""
    reads, fault, often = Counter[str](), record_fields.fault, []

    def counted(record: dict[str, Any], kind: str) -> str:
        reads[record["name"]] += 1
        return fault(record, kind)

    for nodes in (3, 12):
        assert labs_cli("pipeline", "run", pipeline_of(nodes)).code == 0
        reads.clear()
        with monkeypatch.context() as patch:
            patch.setattr(record_fields, "fault", counted)
            again = labs_cli("pipeline", "run", pipeline_of(nodes), "--json").json
        often.append({reads[f"regression-simple-tiny-s{node['seed']}"] for node in again["nodes"]})
        assert {node["status"] for node in again["nodes"]} == {"FINISHED"}
    assert often == [{4}, {4}]


def test_a_folder_that_many_nodes_name_is_listed_for_a_plan_as_for_one(
    labs_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "train.csv").touch()
    file, listed, walk = tmp_path / "spec.yaml", list[str](), os.walk
    monkeypatch.setattr(os, "walk", lambda top, **how: listed.append(str(top)) or walk(top, **how))
    often = []
    for seeds in ([0], [0, 1, 2, 3]):
        file.write_text(f"name: x\nnodes:\n  a: {{lab: regression, size: tiny, data: own, seeds: {seeds}}}\n")
        listed.clear()
        assert labs_cli("pipeline", "plan", file).code == 0
        often.append(listed.count(str(tmp_path / "own")))
    assert often[0] == often[1] > 0


def test_a_pipeline_of_more_nodes_than_mlflow_takes_in_one_call_is_in_the_store(
    labs_cli: Cli, home: Path, pipeline_of: Callable[[int], Path]
) -> None:
    """MLflow takes 100 tags, 100 parameters and 1,000 metrics in a call, and 1,000 of all together."""
    run_id = labs_cli("pipeline", "run", pipeline_of(2), "--json").json["run_id"]
    (folder,) = (home / "pipelines").iterdir()
    tags = {f"labs.node.n{number}": f"run-{number}" for number in range(1200)}
    write_record(folder, end_tags=tags, ended=read_record(folder)["ended"] + 1)
    assert labs_cli("sync").code == 0
    written = Store(home, None).client().get_run(run_id).data.tags
    assert stored(tags).items() <= written.items()


def test_the_live_view_shows_what_runs_where_the_screen_has_not_lines_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.show import display

    statuses = {f"n{number}": "RUNNING" if number == 77 else "FINISHED" for number in range(100)}
    node = {"lab": "regression", "preset": "simple", "size": "tiny", "seed": 0, "reused": False, "error": ""}
    nodes = {
        name: {**node, "folder": str(tmp_path / name), "status": status, "seconds": 0.0}
        for name, status in statuses.items()
    }
    rest = {"key": "", "name": "x", "error": "", "created": 0.0, "seconds": 0.0, "params": {}, "tags": {}}
    write_record(tmp_path / "pipelines" / "x", status="RUNNING", nodes=nodes, **rest)
    screen = Console(force_terminal=True, width=80, height=12, file=(tmp_path / "screen").open("w"))
    monkeypatch.setattr(display, "screen", screen)
    with display.Progress(tmp_path / "pipelines" / "x") as view:
        view.tick()
    screen.file.flush()
    drawn = (tmp_path / "screen").read_text()
    assert "1 RUNNING, 99 FINISHED" in drawn
    assert "n77" in drawn
    assert "n76" not in drawn


def test_a_search_of_many_trials_goes_on_as_if_it_had_not_ended(tmp_path: Path) -> None:
    """The sampler knows some trials of many: the same ones, whether the search has gone on or was begun anew."""
    lab, cluster = labs.get("regression"), Cluster({"node": Resources(1)})
    node = Node("a", "regression", "simple", "tiny", lab.resolve("simple", "tiny"))
    space = {"lr": {"type": "loguniform", "low": 1e-5, "high": 1e-1}}
    tuning = tuning_of(TuneSpec(trials=200, space=space), lab, "simple", "tiny", {})

    def searched(home: Path, ends: tuple[int, ...]) -> list[float]:
        """The values that were tried, by searches that end after so many trials."""
        sweep, tried = Sweep(home, node, tuning, cluster, tmp_path, {}), list[float]()
        for end in ends:
            study = sweep.study()
            search = sweep.search(study)
            while len(tried) < end:
                number, fields = search.ask(tuning.space)
                study.tell(number, abs(fields["lr"] - 0.01))
                search.learn(number)
                tried.append(fields["lr"])
        lines = (sweep.folder / "study.journal").read_text().splitlines()
        assert len(lines) <= 2 * len(tried) + 4  # the trial and its end; each search's begin, and the metric's name
        return tried

    whole = searched(tmp_path / "whole", (130,))
    assert searched(tmp_path / "parts", (60, 117, 130)) == whole
    assert abs(whole[-1] - 0.01) < 0.01
