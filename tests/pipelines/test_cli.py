"""The command line: what it lists, and what it says to bad input."""

import inspect
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

import labs
from labs.regression import lesson
from tests.conftest import Said

Cli = Callable[..., Said]


def test_list_names_every_lab_with_metric_presets_and_sizes(labs_cli: Cli) -> None:
    rows = labs_cli("list", "--json").json
    assert [row["name"] for row in rows] == labs.names()
    assert {"name", "number", "title", "metric", "presets", "sizes"} <= set(rows[0])
    assert set(rows[0]["metric"]) == {"name", "goal", "thresholds"}


def test_show_prints_the_lesson_the_fields_and_the_scale(labs_cli: Cli) -> None:
    said = labs_cli("show", "regression")
    assert said.code == 0
    assert str(inspect.getdoc(lesson)).splitlines()[0] in said.out
    assert "weight_decay" in said.out
    assert "2,033" in said.out


@pytest.mark.parametrize("lab", labs.names())
def test_show_knows_the_scale_of_every_lab_s_presets_and_sizes(labs_cli: Cli, lab: str) -> None:
    rows = labs_cli("show", lab, "--json").json["scale"]
    found = labs.get(lab)
    assert [(row["preset"], row["size"]) for row in rows] == list(product(found.presets, found.sizes))
    assert all(row["parameters"] > 100 for row in rows)


BAD = {
    "unknown lab": (("train", "regresion"), "did you mean 'regression'?"),
    "unknown preset": (("train", "regression", "--preset", "medum"), "valid choices are simple, medium, strong, boss"),
    "unknown size": (("train", "regression", "--size", "huge"), "tiny, small, course"),
    "unknown field": (("train", "regression", "--set", "rate=1"), "unknown field 'rate'"),
    "wrong type": (("train", "regression", "--set", "epochs=many"), "field 'epochs' is 'many'"),
    "out of range": (("train", "regression", "--set", "lr=0"), "field 'lr' is 0: input should be greater than 0"),
    "no assignment": (("train", "regression", "--set", "lr"), "must be field=value"),
    "no config file": (("train", "regression", "--config", "gone.yaml"), "gone.yaml does not exist"),
    "negative workers": (("train", "regression", "--workers", "-1"), "'--workers' is -1"),
    "negative retries": (("train", "regression", "--retries", "-1"), "'--retries' is -1"),
    "no time": (("train", "regression", "--time-limit", "0"), "'--time-limit' is 0"),
    "too many CPUs": (("train", "regression", "--cpus-per-worker", "999"), "999 CPUs, the cluster has"),
    "trials of many CPUs": (("tune", "regression", "--cpus-per-worker", "999"), "999 CPUs, the cluster has"),
    "trials of none": (("tune", "regression", "--trials", "0"), "'--trials' is 0"),
    "trials without workers": (("tune", "regression", "--workers", "0"), "'--workers' is 0"),
    "trials at no time": (("tune", "regression", "--concurrent", "many"), "neither auto nor a number from 1 on"),
    "too many workers": (("train", "regression", "--workers", "9999"), "9999 CPUs, the cluster has"),
    "uneven batch": (
        ("train", "regression", "--workers", "2", "--set", "batch_size=7"),
        "batch_size is 7, which can't be split evenly between 2 workers: take 6",
    ),
    "rl with workers": (("train", "rl", "--workers", "2"), "scales by its config (num_env_runners), not by workers"),
    "too many GPUs": (("train", "regression", "--gpus-per-worker", "64"), "64 GPUs, the cluster has"),
    "no data folder": (("train", "regression", "--data", "gone"), "gone does not exist"),
    "no spec": (("pipeline", "run", "gone.yaml"), "gone.yaml does not exist"),
    "unknown node": (("pipeline", "plan", "--only", "cn"), "did you mean 'cnn'?"),
    "no run": (("deliver", "regression", "--run", "gone", "--out", "out"), "no run 'gone' of lab regression"),
    "no submission": (("deliver", "regression", "--check", "gone.csv"), "gone.csv does not exist"),
    "no pipeline": (("status", "gone"), "no pipeline 'gone'"),
    "data twice": (("data", "regression"), "either --make DIR or --check DIR"),
    "unknown source": (("data", "transformer", "--make", "out", "--source", "ted"), "choices are catalogues"),
    "no source": (("data", "cnn", "--make", "out", "--source", "web"), "lab cnn has only data of its own"),
    "source of a check": (("data", "transformer", "--check", ".", "--source", "catalogues"), "goes with --make alone"),
    "data of rl": (("data", "rl", "--make", "out"), "has no data set"),
    "unknown run": (("compare", "gone"), "no run 'gone'"),
    "empty name": (("compare", ""), "the name of a run is empty"),
    "empty run": (("deliver", "regression", "--run", "", "--out", "out"), "the name of a run is empty"),
    "switch": (("train", "regression", "--set", "batch_size=true"), "field 'batch_size' is true: expected int"),
    "field twice": (("train", "regression", "--config", "twice.yaml"), "line 2: lr stands twice, first on line 1"),
    "long name": (("pipeline", "plan", "long.yaml"), "at most 100"),
    "unknown option": (("train", "regression", "--sizes", "tiny"), "No such option"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_exit_2(
    labs_cli: Cli, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "twice.yaml").write_text("lr: 0.1\nlr: 0.2\n")
    (tmp_path / "long.yaml").write_text(f"name: {'n' * 101}\nnodes: {{a: {{lab: regression}}}}\n")
    arguments, sentence = BAD[case]
    said = labs_cli(*arguments)
    assert said.code == 2
    assert sentence in said.err
    assert "Traceback" not in said.err
    assert not (home / "runs").exists()
    assert not (tmp_path / "out").exists()


def test_data_that_make_writes_passes_check_and_trains(labs_cli: Cli, tmp_path: Path) -> None:
    assert labs_cli("data", "regression", "--make", tmp_path / "made", "--data-seed", "3").code == 0
    assert labs_cli("data", "regression", "--check", tmp_path / "made").code == 0
    said = labs_cli("train", "regression", "--size", "tiny", "--workers", "0", "--data", tmp_path / "made", "--json")
    assert said.json["metrics"]["test/mse"] < said.json["metrics"]["test/trivial"]


def test_make_does_not_write_into_a_folder_with_something_in_it(labs_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    said = labs_cli("data", "regression", "--make", tmp_path)
    assert (said.code, [path.name for path in tmp_path.glob("*.csv")]) == (2, [])


def test_a_broken_data_folder_is_named_with_file_and_fault(labs_cli: Cli, tmp_path: Path) -> None:
    labs_cli("data", "regression", "--make", tmp_path / "made")
    file = tmp_path / "made" / "covid.train.csv"
    file.write_text(file.read_text().replace("0.", "zero.", 1))
    for command in (("data", "regression", "--check"), ("train", "regression", "--workers", "0", "--data")):
        said = labs_cli(*command, tmp_path / "made")
        assert said.code == 2
        assert "covid.train.csv line" in said.err
        assert "is not a finite number" in said.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize(("redirection", "code"), [(">/dev/full", 1), (">&-", 0)])
def test_an_output_that_can_t_be_written_gives_no_traceback(redirection: str, code: int) -> None:
    command = f'"$0" -m pipelines.cli list {redirection}'
    done = subprocess.run(["sh", "-c", command, sys.executable], capture_output=True, text=True, timeout=60)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["train", "cnn", "--workers", "99"], 2)])
def test_help_and_refusals_load_no_heavy_library(arguments: list[str], code: int) -> None:
    """Time is what the user feels; what takes it is imports, and those can be tested on a noisy machine."""
    script = (
        "import sys; from pipelines.cli import main; sys.argv = ['labs', *sys.argv[1:]]\n"
        "try: main()\n"
        "finally: print('HEAVY', [name for name in ('ray', 'mlflow') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120)
    assert (done.returncode, "HEAVY []" in done.stderr) == (code, True)


def test_train_says_what_to_type_next(labs_cli: Cli) -> None:
    said = labs_cli("train", "regression", "--size", "tiny", "--workers", "0")
    assert said.code == 0
    for command in ("labs ui", "labs compare", "labs deliver regression --run"):
        assert command in said.err


def test_config_files_and_set_give_the_same_run(labs_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("lr: 0.002\nhidden: [8]\n")
    common = ("train", "regression", "--preset", "strong", "--size", "tiny", "--workers", "0", "--json")
    first = labs_cli(*common, "--config", tmp_path / "config.yaml")
    second = labs_cli(*common, "--set", "lr=2e-3", "--set", "hidden=[8]")
    assert second.json["run_id"] == first.json["run_id"]
