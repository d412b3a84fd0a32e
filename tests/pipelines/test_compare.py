"""Comparing runs: groups, spread over seeds, only the settings that differ."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from types import SimpleNamespace
from typing import Any

import pytest

import labs
from pipelines.show.runs import _of_mlflow, of_home
from tests.conftest import Said
from tests.stand_in_runs import write_run

Cli = Callable[..., Said]


@pytest.fixture(scope="module")
def runs(module_cli: Cli) -> list[dict[str, Any]]:
    """Two presets, the strong one with two learning rates and two seeds each."""
    settings = [("simple", "0", "lr=1e-5"), *(("strong", seed, lr) for seed in "01" for lr in ("lr=1e-3", "lr=2e-3"))]
    common = ("--size", "tiny", "--workers", "0", "--json")
    return [
        module_cli("train", "regression", "--preset", preset, "--seed", seed, "--set", lr, *common).json
        for preset, seed, lr in settings
    ]


def test_runs_that_differ_in_the_seed_alone_share_a_row_with_mean_and_deviation(
    module_cli: Cli, runs: list[dict[str, Any]]
) -> None:
    rows = module_cli("compare", "--json").json
    row = next(row for row in rows if row["name"] == "strong tiny lr 0.001")
    own = [run["metrics"]["test/mse"] for run in (runs[1], runs[3])]
    assert (row["mean"], row["std"]) == (pytest.approx(mean(own)), pytest.approx(stdev(own)))
    assert (row["seeds"], row["run_ids"]) == ([0, 1], [runs[1]["run_id"], runs[3]["run_id"]])
    assert {(row["preset"], row["config"]["lr"]) for row in rows} == {
        ("simple", 1e-5),
        ("strong", 1e-3),
        ("strong", 2e-3),
    }
    assert "batch_size" not in rows[0]["config"]
    assert (rows[0]["metric"], rows[0]["goal"]) == ("test/mse", "min")


def test_a_run_records_what_it_costs(module_cli: Cli, runs: list[dict[str, Any]]) -> None:
    (row,) = module_cli("compare", runs[0]["run_id"], "--json").json
    (folder,) = Path(os.environ["LABS_HOME"]).glob("runs/regression-simple-*")
    assert row["parameters"] == sum(p.numel() for p in labs.get("regression").load(folder).parameters())
    assert (row["core_seconds"], row["gpu_seconds"]) == (row["seconds"], 0.0)
    assert 100 < row["memory_mb"] < 10_000


@pytest.mark.parametrize(("by", "count"), [("preset", 2), ("config", 3), ("seed", 5)])
def test_by_says_what_makes_a_row(module_cli: Cli, runs: list[dict[str, Any]], by: str, count: int) -> None:
    assert len(module_cli("compare", "--by", by, "--json").json) == count


def test_runs_labs_and_pipelines_can_be_chosen(module_cli: Cli, runs: list[dict[str, Any]]) -> None:
    assert len(module_cli("compare", runs[0]["run_id"][:12], runs[1]["run_id"], "--json").json) == 2
    assert module_cli("compare", "--lab", "cnn", "--json").json == []
    newest = module_cli("compare", "--pipeline", "train-regression", "--json").json
    assert [row["run_ids"] for row in newest] == [[runs[-1]["run_id"]]]
    said = module_cli("compare", "--pipeline", "cours")
    assert (said.code, "it has train-regression" in said.err) == (2, True)


def test_the_home_folder_and_its_store_give_the_same_rows(module_cli: Cli, runs: list[dict[str, Any]]) -> None:
    """Without `--store` the run folders are read, without MLflow, which takes 2 s to import."""
    store = f"sqlite:///{Path(os.environ['LABS_HOME']).resolve() / 'mlflow.db'}"
    for chosen in ((), ("--pipeline", "train-regression"), (runs[0]["run_id"][:12],), ("--by", "seed")):
        own = module_cli("compare", *chosen, "--json").json
        stored = module_cli("compare", *chosen, "--json", "--store", store).json
        seconds = [(row.pop("seconds"), other.pop("seconds")) for row, other in zip(own, stored, strict=True)]
        assert own == stored
        assert all(here == pytest.approx(there, abs=0.01) for here, there in seconds)


def test_markdown_is_a_table(module_cli: Cli, runs: list[dict[str, Any]]) -> None:
    lines = module_cli("compare", "--markdown").out.strip().split("\n")
    assert lines[0].startswith("| lab | preset |")
    assert len(lines) == 5
    assert len({line.count("|") for line in lines}) == 1


def test_validation_curves_are_drawn(module_cli: Cli, runs: list[dict[str, Any]], tmp_path: Path) -> None:
    """A line for each row, named by what sets it apart; the run folders and the store have the same points."""
    store = f"sqlite:///{Path(os.environ['LABS_HOME']).resolve() / 'mlflow.db'}"
    files = [tmp_path / "figures" / name for name in ("curves.svg", "stored.svg")]
    module_cli("compare", "--figure", str(files[0]))
    module_cli("compare", "--figure", str(files[1]), "--store", store)
    text = files[0].read_text()
    drawn = [re.findall(r'<path d="[^"]*"', file.read_text()) for file in files]
    assert drawn[0] == drawn[1]
    assert all(f"<!-- {label} -->" in text for label in ("simple tiny", "strong tiny lr 0.001", "strong tiny lr 0.002"))
    assert "<!-- regression -->" in text
    assert "<!-- val/mse -->" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--figure", "curves.txt"), "curves.txt: expected a name that ends with .png or .svg or .pdf"),
        (("--figure", "folder.png"), "folder.png can't be written: Is a directory"),
        (("--figure", "curves.png", "--lab", "cnn"), "curves.png: there is no finished run to draw"),
    ],
)
def test_a_figure_that_can_not_be_drawn_is_named(
    module_cli: Cli, runs: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...], message: str,
) -> None:  # fmt: skip
    (tmp_path / "folder.png").mkdir()
    monkeypatch.chdir(tmp_path)
    said = module_cli("compare", *arguments)
    assert said.code == 2
    assert message in " ".join(said.err.split())


def test_the_pause_between_two_commands_does_not_count_as_time(home: Path) -> None:
    write_run(home, seconds=5.0, ended=1.9e9)
    (run,) = of_home(home).found
    assert run.seconds == 5.0
    data: Any = SimpleNamespace(tags={**run.tags, "labs.seconds": "5.0"}, params={}, metrics={})
    info, inputs = SimpleNamespace(run_id="a", start_time=0, end_time=1_000_000, status="FINISHED"), SimpleNamespace
    stored = SimpleNamespace(data=data, info=info, inputs=inputs(dataset_inputs=[]))
    assert _of_mlflow(None, stored, {}).seconds == 5.0


def test_many_seeds_are_shown_as_ranges_or_counted_and_named_in_json(
    labs_cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of 200 seeds named each of them, over many lines."""
    monkeypatch.setenv("COLUMNS", "120")
    wanted = {"simple": (1, 2, 4), "medium": [*range(20), 30], "strong": range(0, 40, 2)}
    for preset, seeds in wanted.items():
        for seed in seeds:
            write_run(home, preset=preset, seed=seed)
    table = labs_cli("compare").out
    shown = [next(line for line in table.splitlines() if preset in line) for preset in wanted]
    for line, seeds in zip(shown, ("1, 2, 4", "0-19, 30", "20 seeds"), strict=True):
        assert seeds in line
    assert labs_cli("compare", "--markdown").out.count("20 seeds") == 1
    rows = {row["preset"]: row["seeds"] for row in labs_cli("compare", "--json").json}
    assert rows == {preset: list(seeds) for preset, seeds in wanted.items()}
