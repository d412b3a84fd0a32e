"""What `labs compare` says of runs: which share a row, how sure a difference is, what is not averaged, what it cost."""

import csv
import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import labs
from pipelines.home import driver_lock
from tests.conftest import Said, said
from tests.stand_in_runs import write_run, write_sweep

Compare = Callable[..., Said]
COUNTS = {"train": 2699, "test": 1078}
"""Of the course's own data of the regression lab."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def compare(home: Path, monkeypatch: pytest.MonkeyPatch) -> Compare:
    """`labs compare` on the home of the test, 80 columns wide."""
    monkeypatch.setenv("COLUMNS", "80")
    return lambda *arguments: said("compare", *arguments, "--home", home)


def write_ladder(home: Path, settings: dict[str, Any] | None = None, **scores: list[float]) -> None:
    """Runs of the presets of cnn, with seeds 0, 1, 2 and so on."""
    for preset, values in scores.items():
        for seed, value in enumerate(values):
            write_run(home, "cnn", preset, seed, test=value, settings=settings)


def row_of(rows: list[dict[str, Any]], preset: str) -> dict[str, Any]:
    (row,) = (row for row in rows if row["preset"] == preset)
    return row


def test_runs_on_different_data_share_no_row(home: Path, compare: Compare) -> None:
    """18.16 on generated data and 5.16 on a folder became a mean of 11.66."""
    write_run(home, "regression", test=18.16, data="aaaa1111")
    write_run(home, "regression", test=5.16, data="bbbb2222", origin="folder")
    for by in ("config", "preset"):
        rows = compare("--by", by, "--json").json
        assert [(row["mean"], row["origin"], row["verdict"]) for row in rows] == [
            (18.16, "generated", None),
            (5.16, "folder", None),
        ]
    shown = " ".join(compare().out.split())
    assert "generated data aaaa1111" in shown
    assert "folder data bbbb2222" in shown
    assert "| aaaa1111 |" in compare("--markdown").out


def test_a_seed_that_was_run_twice_counts_once_and_is_named(home: Path, compare: Compare) -> None:
    write_ladder(home, simple=[0.5, 0.7])
    write_run(home, seed=1, test=0.8)
    (row,) = compare("--json").json
    assert (row["seeds"], row["repeated_seeds"], row["mean"]) == ([0, 1, 1], [1], pytest.approx((0.5 + 0.75) / 2))
    assert "seed 1 was run 2 times, and its mean counts once" in " ".join(compare().out.split())


@pytest.mark.parametrize(("count", "method"), [(3, "t"), (25, "bootstrap")])
def test_intervals_are_those_of_scipy(home: Path, compare: Compare, count: int, method: str) -> None:
    rng = np.random.default_rng(count)
    simple, boss = (rng.normal(centre, 0.02, count) for centre in (0.5, 0.51))
    write_ladder(home, simple=simple.tolist(), boss=boss.tolist())
    row = row_of(compare("--json").json, "boss")
    if method == "t":
        of_mean = stats.t.interval(0.95, count - 1, boss.mean(), stats.sem(boss))
        of_difference = stats.ttest_rel(boss, simple).confidence_interval(0.95)
    else:
        seeded = {"confidence_level": 0.95, "method": "BCa", "n_resamples": 9999}
        of_mean, of_difference = (
            stats.bootstrap((values,), np.mean, rng=np.random.default_rng(0), **seeded).confidence_interval
            for values in (boss, boss - simple)
        )
    assert (row["low"], row["high"]) == pytest.approx(tuple(of_mean))
    assert (row["difference_low"], row["difference_high"]) == pytest.approx(tuple(of_difference))
    assert (row["interval"], row["difference_interval"], row["common_seeds"]) == (method, method, count)
    assert (row["difference"], row["std"]) == pytest.approx(((boss - simple).mean(), boss.std(ddof=1)))
    assert method in compare().out or "Student's t;" in " ".join(compare().out.split())


@pytest.mark.parametrize(("lab", "words"), [("cnn", ("better", "worse")), ("regression", ("worse", "better"))])
def test_the_verdict_follows_the_goal_and_pairs_seeds(
    home: Path, compare: Compare, lab: str, words: tuple[str, ...]
) -> None:
    """Seeds differ by more than presets do, but each seed by about as much."""
    scores = {"simple": [0.3, 0.5, 0.7], "medium": [0.31, 0.511, 0.709], "strong": [0.29, 0.489, 0.691],
              "boss": [0.4, 0.4, 0.8]}  # fmt: skip
    for preset, values in scores.items():
        for seed, value in enumerate(values):
            write_run(home, lab, preset, seed, test=value)
    rows = compare("--json").json
    found = {row["preset"]: row["verdict"] for row in rows}
    assert found == {"simple": None, "medium": words[0], "strong": words[1], "boss": "can't tell with 3 seeds"}
    means = [row["mean"] for row in rows]
    assert means == sorted(means, reverse=lab == "cnn")
    assert "can't tell with 3 seeds" in compare().out


def test_a_single_seed_has_no_interval_and_tells_nothing(home: Path, compare: Compare) -> None:
    write_ladder(home, simple=[0.5], boss=[0.9])
    row = row_of(compare("--json").json, "boss")
    assert (row["low"], row["std"], row["verdict"]) == (None, None, "can't tell with 1 seed")
    assert row["difference"] == pytest.approx(0.4)


def test_the_baseline_is_a_preset_a_run_or_a_row(home: Path, compare: Compare) -> None:
    write_ladder(home, medium=[0.5, 0.6], strong=[0.6, 0.7])
    folder = write_run(home, "cnn", "boss", 0, test=0.8)
    assert {row["baseline"] for row in compare("--json").json} == {None, "medium small"}
    for name in ("boss", folder.name[:20], "boss small"):
        rows = compare("--baseline", name, "--json").json
        assert {row["preset"]: row["baseline"] for row in rows} == {
            "boss": None,
            "strong": "boss small",
            "medium": "boss small",
        }
    unknown = compare("--baseline", "bos")
    assert (unknown.code, "the presets are medium, strong, boss" in unknown.err) == (2, True)


def test_runs_without_a_score_are_listed_as_what_they_are_and_never_averaged(
    home: Path, compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    write_ladder(home, simple=[0.5, 0.6])
    error = "BadInput: lab cnn: val/accuracy was never a finite number, so there is no model"
    write_run(home, seed=2, status="FAILED", curve=(math.nan,), error=error)
    write_run(home, seed=3, test=math.nan)
    write_run(home, seed=4, status="FAILED", error="RuntimeError: out of memory")
    write_run(home, seed=5, status="RUNNING", curve=(0.1, 0.2))
    with driver_lock(write_run(home, seed=6, status="RUNNING", curve=(0.1, 0.2, 0.3))):
        rows = compare("--json").json
        shown = compare().out
        pasted = compare("--markdown").out
    statuses = ["DIVERGED", "DIVERGED", "FAILED", "KILLED", "RUNNING"]
    assert [(row["status"], row["mean"]) for row in rows[1:]] == [(status, None) for status in statuses]
    assert rows[0]["mean"] == pytest.approx(0.55)
    assert "not averaged: 5" in shown
    for text in (shown, pasted):
        assert re.findall("DIVERGED|FAILED|KILLED|RUNNING", text) == statuses
        assert all(why in text for why in ("test/accuracy is nan", "RuntimeError: out of memory", "after epoch 3 of"))


def test_a_home_with_failed_runs_alone_says_so_without_an_empty_table(home: Path, compare: Compare) -> None:
    for form in ((), ("--markdown",), ("--csv",)):
        assert compare(*form).out == ""
    write_run(home, status="FAILED", error="RuntimeError: out of memory")
    one = compare()
    assert "no finished run to compare" in one.err
    assert "out of memory" in one.out
    assert "mean" not in one.out


def test_a_sweep_s_best_trial_stands_beside_the_ladder(home: Path, compare: Compare) -> None:
    write_ladder(home, {"lr": 0.5}, simple=[0.5, 0.6], medium=[0.7, 0.8])
    sweep = write_sweep(home, best=2)
    for number in range(4):
        write_run(home, test=0.75, settings={"lr": 0.1 * number}, parent=sweep, number=number)
    rows = compare("--json").json
    tuned = [row for row in rows if row["sweep"]]
    assert [(row["sweep"], row["config"], row["baseline"]) for row in tuned] == [
        (sweep.name, {"lr": 0.2}, "simple small")
    ]
    assert [row["settings"] for row in rows] == [{}] * 3  # a sweep's many fields would stand in every row
    assert len(rows) == 3
    assert "simple tuned" in compare().out


def test_the_course_s_thresholds_are_compared_on_its_own_data_alone(home: Path, compare: Compare) -> None:
    """It keeps its test answers: a folder with a test score is one that was made here, whatever its counts."""
    course = {"origin": "folder", "splits": COUNTS, "data": "c0"}
    write_run(home, "regression", "simple", curve=(2.0, 1.4, 1.6), **course)
    write_run(home, "regression", "medium", test=0.5, **course)
    write_run(home, "regression", "strong", curve=(0.5,), splits=COUNTS)
    write_run(home, "regression", "boss", curve=(0.5,), origin="folder", splits={"train": 300, "test": 120}, data="d0")
    write_run(home, "gan", "boss", curve=(5.0,), origin="folder", splits={"train": 71314}, data="e0")
    passed = {row["preset"]: row["passed"] for row in compare("--json").json}
    assert passed == {"simple": ["simple"], "medium": None, "strong": None, "boss": None}
    assert "indicative" in compare().out


def test_a_share_of_test_samples_has_their_binomial_error(home: Path, compare: Compare) -> None:
    write_run(home, "cnn", test=0.64, splits={"test": 500})
    write_run(home, "cnn", "medium", curve=(0.64,), splits={"test": 500})
    write_run(home, "regression", test=0.64, splits={"test": 500})
    rows = compare("--json").json
    share = stats.binom(504, (320 + 2) / 504).std() / 504  # Agresti and Coull: two hits and two misses more
    assert [row["test_error"] for row in rows] == [None, pytest.approx(share), None]
    assert all(heading.metric.share_of != "" for name, heading in labs.COURSE.items() if name in ("bert", "lifelong"))


def test_cost_is_time_cores_memory_and_parameters(home: Path, compare: Compare) -> None:
    write_run(home, seed=0, test=0.5, seconds=60.0)
    write_run(home, seed=1, test=0.5, seconds=90.0)
    (row,) = compare("--json").json
    assert (row["seconds"], row["core_seconds"], row["gpu_seconds"]) == (75.0, 150.0, 0.0)
    assert (row["memory_mb"], row["parameters"]) == (500.0, 12345.0)


def test_a_narrow_screen_loses_columns_in_the_stated_order_and_says_which(
    home: Path, compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ladder(home, simple=[0.5123, 0.6234, 0.5345], boss=[0.7, 0.6, 0.66])
    order = [
        "parameters",
        "memory MB",
        "core-s",
        "best",
        "interval of difference",
        "test ±",
        "seeds",
        "difference",
        "time",
    ]
    for columns, lost in ((160, 0), (100, 5), (80, 7), (60, 9)):
        monkeypatch.setenv("COLUMNS", str(columns))
        text = compare().out
        assert max(map(len, text.splitlines())) <= columns
        assert "…" not in text
        said_lost = re.search("No room for (.*?):", " ".join(text.split()))
        assert (said_lost.group(1).split(", ") if said_lost else []) == order[:lost]
        assert {"simple", "boss", "0.5567", "0.6533", "can't"} <= set(text.split())
        assert len(re.findall("^simple|^boss", text, re.MULTILINE)) == 2, "a row is a line"


def test_settings_are_those_that_differ_between_rows_of_a_preset(home: Path, compare: Compare) -> None:
    """Each row of a ladder repeated all settings of its preset, over 15 lines."""
    for preset, width, rate in (("simple", 8, 0.1), ("boss", 64, 0.1), ("boss", 64, 0.2)):
        write_run(home, "cnn", preset, test=0.5, settings={"width": width, "lr": rate, "depth": 3})
    rows = compare("--json").json
    assert [row["config"] for row in rows] == [{"width": 8, "lr": 0.1}, {"width": 64, "lr": 0.1},
                                               {"width": 64, "lr": 0.2}]  # fmt: skip
    assert [row["settings"] for row in rows] == [{}, {"lr": 0.1}, {"lr": 0.2}]
    assert [row["name"] for row in rows] == ["simple small", "boss small lr 0.1", "boss small lr 0.2"]
    for width, seed in ((9, 0), (8, 7), (8, 8)):
        settings = {"width": width, "lr": 0.1, "depth": 3}
        write_run(home, "cnn", seed=seed, status="FAILED", error="RuntimeError: no", settings=settings)
    names = [row["name"] for row in compare("--json").json]
    assert names[0] == "simple small"
    assert names[3:] == ["simple small width 9", "simple small width 8 seed 7", "simple small width 8 seed 8"]


def test_csv_has_each_key_of_json(home: Path, compare: Compare) -> None:
    write_ladder(home, simple=[0.5, 0.6], boss=[0.7, 0.9])
    write_run(home, seed=4, status="FAILED", error='it said "no", and ended')
    rows, lines = compare("--json").json, list(csv.DictReader(io.StringIO(compare("--csv").out)))
    assert [set(line) for line in lines] == [set(row) for row in rows]
    assert [line["mean"] for line in lines] == [str(row["mean"] or "") for row in rows]
    assert (lines[0]["values"], lines[2]["reason"]) == ("0.7 0.9", 'it said "no", and ended')


def test_a_figure_of_the_course_is_a_grid_with_dots_where_there_is_one_epoch(
    home: Path, compare: Compare, tmp_path: Path
) -> None:
    """It was a strip of 800 x 7200 pixels."""
    several = ("regression", "cnn", "gan", "explain", "rl")
    for name in several:
        for preset in labs.heading(name).presets[:2]:
            write_run(home, name, preset, test=0.5, curve=(0.5,) if name == "explain" else (0.1, 0.3, 0.5))
    compare("--figure", tmp_path / "course.svg")
    text = (tmp_path / "course.svg").read_text()
    width, height = map(float, re.search('width="(.*?)pt" height="(.*?)pt"', text).groups())  # type: ignore[union-attr]
    assert 0.5 < height / width < 1
    assert all(f"<!-- {name} -->" in text for name in several)
    assert "<!-- test/mass_accuracy -->" in text
    assert "<!-- val/mass_accuracy -->" not in text


def test_a_cell_of_markdown_is_one_line_without_bars_and_markup(home: Path, compare: Compare) -> None:
    write_run(home, test=0.5, settings={"note": "a|b <b>"})
    write_run(home, test=0.6, settings={"note": "c"})
    write_run(home, status="FAILED", error="one\ntwo")
    out = compare("--markdown").out
    assert "a\\|b &lt;b&gt;" in out
    assert "one two" in out
    assert {line.count(" | ") for line in out.splitlines() if "simple" in line and "FAILED" not in line} == {
        out.splitlines()[0].count(" | ")
    }
