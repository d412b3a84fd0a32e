"""Comparing runs: groups, spread over seeds, only the settings that differ."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.home import write_record
from pipelines.show.runs import _of_mlflow, of_home
from tests.conftest import Said

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
    assert [(row["preset"], row["seeds"]) for row in rows] == [("simple", [0]), ("strong", [0, 1]), ("strong", [0, 1])]
    own = [run["metrics"]["test/mse"] for run in (runs[1], runs[3])]
    assert (rows[1]["mean"], rows[1]["std"]) == (pytest.approx(mean(own)), pytest.approx(stdev(own)))
    assert rows[1]["run_ids"] == [runs[1]["run_id"], runs[3]["run_id"]]
    assert {row["config"]["lr"] for row in rows[1:]} == {0.001, 0.002}
    assert "batch_size" not in rows[0]["config"]
    assert (rows[0]["metric"], rows[0]["goal"]) == ("test/mse", "min")


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


def test_the_pause_between_two_commands_does_not_count_as_time(tmp_path: Path) -> None:
    tags = {"labs.lab": "regression", "labs.folder": str(tmp_path / "runs" / "a")}
    times = {"created": 0.0, "ended": 1000.0, "seconds": 5.0}
    words = {"key": "", "name": "a", "error": "", "lab": "regression", "preset": "simple", "size": "tiny"}
    rest: dict[str, Any] = {"params": {}, "config": {}, "data": {}, "seed": 0}
    write_record(tmp_path / "runs" / "a", status="FINISHED", tags=tags, **words, **times, **rest)
    assert [run.seconds for run in of_home(tmp_path).found] == [5.0]
    data = SimpleNamespace(tags={**tags, "labs.seconds": "5.0"}, params={}, metrics={})
    stored: Any = SimpleNamespace(data=data, info=SimpleNamespace(run_id="a", start_time=0, end_time=1_000_000))
    assert _of_mlflow(None, stored).seconds == 5.0


def test_many_seeds_are_shown_as_ranges_or_counted_and_named_in_json(labs_cli: Cli, home: Path) -> None:
    """A row of 200 seeds named each of them, over many lines."""
    words = {"key": "", "name": "a", "error": "", "lab": "regression", "size": "tiny", "status": "FINISHED"}
    rest: dict[str, Any] = {"params": {}, "config": {}, "data": {}, "created": 0.0, "seconds": 1.0}
    wanted = {"simple": (1, 2, 4), "medium": [*range(200), 300], "strong": range(0, 400, 2)}
    for preset, seeds in wanted.items():
        tags = {"labs.lab": "regression", "labs.preset": preset, "labs.size": "tiny", "labs.metric": "mse"}
        for seed in seeds:
            folder = home / "runs" / f"{preset}-{seed}"
            own = {"labs.seed": str(seed), "labs.goal": "min", "labs.folder": str(folder)}
            write_record(folder, preset=preset, seed=seed, tags={**tags, **own}, **words, **rest)
    table = labs_cli("compare").out
    shown = [next(line for line in table.splitlines() if preset in line) for preset in wanted]
    for line, seeds in zip(shown, ("1, 2, 4", "0-199, 300", "200 seeds"), strict=True):
        assert seeds in line
    assert labs_cli("compare", "--markdown").out.count("200 seeds") == 1
    rows = {row["preset"]: row["seeds"] for row in labs_cli("compare", "--json").json}
    assert rows == {preset: list(seeds) for preset, seeds in wanted.items()}
