"""How soon a command answers: help, lists, typos and views import no heavy library, and long work first says so.

Time is what the user feels, and imports are what takes it: those can be tested on a busy machine.
"""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from rich.console import Console

import labs
from cluster import jobs
from labs.core import events
from pipelines import fetched
from pipelines.show.display import number, rows_table, state_of, summary_table
from pipelines.show.lesson import reflow
from tests.conftest import Said

Cli = Callable[..., Said]
HEAVY = ("torch", "ray", "mlflow", "transformers", "sqlalchemy", "pandas", "matplotlib", "optuna", "sklearn", "pyarrow")
SCRIPT = f"""
import json, os, sys
from pipelines.cli import main

def answer(until, arguments, environment, folder):
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["labs", *arguments]
    real = sys.stderr
    def imported():
        print("IMPORTED", *(name for name in {HEAVY} if name in sys.modules), file=real, flush=True)
    class UntilFirstLine:
        def write(self, text):
            real.write(text)
            if text.strip():
                imported()
                os._exit(0)
        def __getattr__(self, name):
            return getattr(real, name)
    if until == "first line":
        sys.stderr = UntilFirstLine()
    try:
        main()
    finally:
        imported()

for line in sys.stdin:
    out, err, *asked = json.loads(line)
    child = os.fork()
    if child == 0:
        for number, name in enumerate((os.devnull, out, err)):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
answer(*asked)
"""


@lru_cache
def commands() -> subprocess.Popen[str]:
    """A process that has imported the command line alone. Each line that it gets is a command, for which it forks."""
    return subprocess.Popen([sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class Answer:
    """What a command printed, returned and imported."""

    def __init__(self, arguments: tuple[str, ...], *, until: str = "end", **environment: str) -> None:
        server = commands()
        assert server.stdin
        assert server.stdout
        with TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            asked = [until, arguments, {**os.environ, **environment}, os.getcwd()]
            print(json.dumps([str(out), str(err), *asked]), file=server.stdin, flush=True)
            self.code = int(server.stdout.readline())
            self.out, told = out.read_text(), err.read_text()
        self.err, mark, found = told.partition("IMPORTED")
        assert mark, told
        self.imported = found.splitlines()[0].split()


@pytest.fixture(scope="module")
def run(module_cli: Cli) -> dict[str, Any]:
    """A finished run; `module_cli` has set LABS_HOME to its home."""
    return dict(module_cli("train", "regression", "--size", "tiny", "--workers", "0", "--json").json)


COMMANDS = [
    *("train", "tune", "status", "compare", "ui", "sync", "submit", "list", "show", "data", "deliver", "predict"),
    *("pipeline", "pipeline run", "pipeline plan", "jobs", "jobs list", "jobs logs", "jobs stop"),
]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_imports_no_heavy_library(command: str) -> None:
    answer = Answer((*command.split(), "--help"))
    assert (answer.code, answer.imported) == (0, [])


TYPOS = {
    "trian": "Did you mean 'train'?",
    "pipeline rnu": "Did you mean 'run'?",
    "jobs lst": "Did you mean 'list'?",
    "pipeline plan ladr": "did you mean 'ladder'?",
    "train regression --presset simple": "--preset",
    "tune regression --sizes tiny": "--size",
    "compare --labb cnn": "--lab",
    "tune regression --search tep": "'tpe'",
    **{
        f"{command} regresion": "did you mean 'regression'?"
        for command in ("train", "tune", "show", "data", "deliver", "compare --lab")
    },
    **{f"{command} regression --preset medum": "did you mean 'medium'?" for command in ("train", "tune")},
    **{f"{command} regression --size tny": "did you mean 'tiny'?" for command in ("train", "tune")},
    "train regression --set lr": "must be field=value",
    "train regression --config gone.yaml": "gone.yaml does not exist",
    "data regression": "either --make DIR or --check DIR",
    "deliver regression": "either --run RUN and --out DIR, or --check FILE",
    "status gone": "no pipeline 'gone'",
    "predict regresion x": "did you mean 'regression'?",
    "predict regression x --model gone": "no run 'gone' of lab regression",
    "compare gone": "no run 'gone'",
}


@pytest.mark.parametrize("typo", TYPOS)
def test_a_typo_is_answered_before_anything_heavy_is_imported(typo: str, tmp_path: Path) -> None:
    answer = Answer(tuple(typo.split()), LABS_HOME=str(tmp_path))
    assert (answer.code, answer.imported) == (2, [])
    assert TYPOS[typo] in " ".join(answer.err.replace("│", " ").split())
    assert "starting" not in answer.err


@pytest.mark.parametrize("command", ["list", "status", "compare", "--version"])
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_what_only_looks_imports_no_heavy_library(run: dict[str, Any], command: str, form: list[str]) -> None:
    if command == "--version" and form:
        pytest.skip("it has no other form")
    answer = Answer((command, *form))
    assert (answer.code, answer.imported) == (0, [])
    if form:
        json.loads(answer.out)


LONG = [
    ("train", "regression"),
    ("tune", "regression"),
    ("pipeline", "run"),
    ("pipeline", "plan", "ladder"),
    ("deliver", "regression", "--run", "{run}", "--out", "out"),
    ("deliver", "regression", "--check", "there.csv"),
    ("predict", "regression", "there.csv"),
    ("data", "regression", "--make", "made"),
    ("data", "regression", "--check", "made"),
    ("show", "regression"),
    ("compare", "--store", "sqlite:///there.db"),
    ("sync",),
    ("ui",),
    ("submit", "--", "list"),
]


@pytest.mark.parametrize("arguments", LONG, ids=" ".join)
def test_long_work_is_announced_on_standard_error_before_the_heavy_imports(
    run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(labs.__file__).parents[1]))
    (tmp_path / "there.csv").touch()
    answer = Answer(tuple(word.format(run=run["run_id"]) for word in arguments), until="first line")
    assert (answer.code, answer.imported, answer.out) == (0, [], "")
    assert answer.err.strip()
    assert "error" not in answer.err


def test_training_says_what_it_starts(run: dict[str, Any], module_cli: Cli) -> None:
    said = module_cli("train", "regression", "--size", "tiny", "--workers", "0", "--json")
    assert said.err.splitlines()[:2] == ["regression: reading the lesson", "regression simple tiny seed 0: starting"]
    assert said.json["run_id"] == run["run_id"]
    said = module_cli("train", "regression", "--set", "lrr=3")
    assert (said.code, "starting" in said.err) == (2, False)


def test_the_version_is_the_packages() -> None:
    from importlib import metadata

    assert Answer(("--version",)).out.startswith(f"labs {metadata.version('ml-labs')}")


COMPLETIONS = {
    "tr": ["train"],
    "train self": ["self-attention"],
    "train gan --preset ": list(labs.COURSE["gan"].presets),
    "tune --size tiny meta --preset r": ["reptile"],
    "train --size ": ["tiny", "small", "course"],
    "compare --lab re": ["regression"],
    "pipeline plan lad": ["ladder"],
    "train regression --see": ["--seed"],
}


@pytest.mark.parametrize("typed", COMPLETIONS)
def test_the_shell_completes_names_without_a_heavy_import(typed: str) -> None:
    words = f"labs {typed}"
    number = str(len(words.split(" ")) - 1)
    answer = Answer((), _LABS_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=number)
    assert (answer.out.split(), answer.imported) == (COMPLETIONS[typed], [])


def test_help_groups_the_commands_by_what_they_are_used_for() -> None:
    text = Answer(("--help",)).out
    groups = {
        "Train and scale": ("train", "pipeline"),
        "Tune": ("tune",),
        "Compare runs": ("compare", "status", "sync", "ui"),
        "Submit to a cluster": ("submit", "jobs"),
        "Labs and data": ("list", "show", "data", "deliver", "predict"),
    }
    wanted = [
        word for group, commands in groups.items() for word in (f"─ {group} ─", *(f"│ {name} " for name in commands))
    ]
    places = [text.index(word) for word in wanted]
    assert places == sorted(places)


@pytest.mark.parametrize("arguments", [("list",), ("status",), ("compare",), ("show", "regression")])
def test_eighty_columns_cut_no_value(run: dict[str, Any], module_cli: Cli, arguments: tuple[str, ...]) -> None:
    answer = Answer(arguments, COLUMNS="80")
    text = answer.out + answer.err
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    score = f"{run['metrics']['test/mse']:.4g}"
    whole = {
        "list": [*labs.names(), *(preset for heading in labs.COURSE.values() for preset in heading.presets)],
        "status": ["regression", "FINISHED", score, f"{run['metrics']['test/trivial']:.4g}", run["run_id"][:8]],
        "compare": ["regression", "simple", "test/mse", score],
        "show": ["weight_decay", "num_features", "2,033", "42,250"],
    }
    assert set(whole[arguments[0]]) <= {*text.split(), *text.replace(",", " ").split()}


@pytest.mark.parametrize(("width", "lost"), [(140, 0), (96, 1), (90, 2), (80, 3), (60, 5)])
def test_a_narrow_screen_loses_whole_columns_in_the_order_that_is_stated(width: int, lost: int) -> None:
    node = {
        **{"name": "classification-medium-s11", "preset": "medium", "seed": 11, "status": "FINISHED", "reused": True},
        **{"metric": "test/accuracy", "value": 0.72131, "trivial": 0.163, "seconds": 3700.0, "run_id": "5f80c1a4d2"},
    }
    written = StringIO()
    summary = {"pipeline": "ladder", "status": "FINISHED", "seconds": 9000.0, "nodes": [node]}
    Console(file=written, width=width).print(summary_table(summary))
    words = written.getvalue().split()
    order = ["seed", "preset", "trivial", "time", "MLflow"]
    assert [heading for heading in order if heading not in words] == order[:lost]
    assert {"classification-medium-s11", "FINISHED", "test/accuracy", "0.7213"} <= set(words)


COLUMNS = {"seconds": "seconds", "config": "config"}
LONG_NAME = "a-name-of-a-node-that-is-longer-than-many-a-screen-is-wide-and-was-allowed-all-the-same"


@pytest.mark.parametrize("value", [0.51234, 123456789.5, 1.5e-7, 30000.0])
@pytest.mark.parametrize("width", [80, 60, 40])
def test_a_name_wider_than_the_screen_breaks_no_number(value: float, width: int) -> None:
    """Every column was made narrower alike, and 0.5123 came out as 0.51 above 23."""
    node = {
        **{"name": LONG_NAME, "preset": "medium", "seed": 11, "status": "FINISHED", "reused": False},
        **{"metric": "test/fid", "value": value, "trivial": value, "seconds": 3700.0, "run_id": "5f80c1a4d2"},
    }
    summary = {"pipeline": "ladder", "status": "FINISHED", "seconds": 9000.0, "nodes": [node]}
    rows = [{"node": LONG_NAME, "time": "1h01m", "seconds": value}]
    columns = {"node": "node", "time": "time", "seconds": "seconds"}
    for table in (summary_table(summary), rows_table(rows, columns)):
        written = StringIO()
        Console(file=written, width=width).print(table)
        lines = written.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        assert number(value) in written.getvalue().split()
        assert "…" not in written.getvalue()
        first = "".join(line.split()[0] for line in lines if line[:1].strip() and "─" not in line)
        assert LONG_NAME in first


@pytest.mark.parametrize(
    ("value", "shown"),
    [(31234.4, "31,234"), (9999.6, "10,000"), (1234567.0, "1,234,567"), (1234.4, "1,234"), (999.96, "1,000"),
     (999.4, "999.4"), (-31234.4, "-31,234"),
     (0.123456, "0.1235"), (1.5e-7, "1.5e-07"), (1e30, "1e+30"), (float("inf"), "inf"), (None, "-")],
)  # fmt: skip
def test_a_large_number_is_whole_in_tables_and_progress(tmp_path: Path, value: float | None, shown: str) -> None:
    """30,000 seconds were 3e+04, and so were 31,234."""
    events.append(tmp_path, {"time": 1.0, "step": 1, "of": 2, "metrics": {"val/mse": value or 0.0}})
    node = {"folder": str(tmp_path), "lab": "regression", "status": "FINISHED"}
    assert state_of(node)["metric"] == f"val/mse {'0' if value is None else shown}"
    written = StringIO()
    Console(file=written, width=80).print(rows_table([{"seconds": value, "config": {"steps": value}}], COLUMNS))
    assert written.getvalue().split()[-3:] == [shown, "steps", "None" if value is None else shown]


def test_an_empty_home_says_what_to_do(labs_cli: Cli) -> None:
    """`status` had only "it has none", and `compare` an empty table."""
    assert "labs train regression" in labs_cli("status").err
    compared = labs_cli("compare")
    assert (compared.code, compared.out) == (0, "")
    assert "no finished run to compare: `labs train regression`" in compared.err
    assert "labs train cnn" in labs_cli("compare", "--lab", "cnn").err
    assert labs_cli("compare", "--json").json == []


def test_an_empty_store_says_what_to_do(labs_cli: Cli, tmp_path: Path) -> None:
    compared = labs_cli("compare", "--store", f"sqlite:///{tmp_path / 'empty.db'}")
    assert (compared.code, compared.out) == (0, "")
    assert "no finished run to compare: `labs train regression`" in compared.err


def test_the_web_interface_s_address_is_said_when_it_answers(
    labs_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for MLflow's server that answers after a second, and then ends: its own words had the address."""
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow/__init__.py").touch()
    (tmp_path / "mlflow/__main__.py").write_text(SERVER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.listen()
        taken = labs_cli("ui", "--port", str(port))
    assert (taken.code, "another program listens on it" in taken.err) == (2, True)
    said = labs_cli("ui", "--port", str(port))
    assert said.code == 0
    assert re.findall(rf"http://127.0.0.1:{port}\S*", said.err) == [
        f"http://127.0.0.1:{port}/#/experiments/1/runs?workflowType=machine_learning"
    ]


SERVER = """
import sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

time.sleep(1)
server = HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Answer)
print(f"listening on http://127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
server.handle_request()
time.sleep(0.5)
"""


def test_show_says_what_presets_set_what_they_cost_and_how_large_the_data_are(
    run: dict[str, Any], module_cli: Cli
) -> None:
    shown = module_cli("show", "regression", "--json").json
    assert shown["differences"]["simple"] == {}
    assert shown["differences"]["medium"]["features"] == "selected"
    assert "optimizer" not in shown["differences"]["medium"]
    assert {row["size"]: row["seconds"] for row in shown["scale"]} == dict(labs.get("regression").seconds)
    made = {row["size"]: row for row in shown["data"]}
    assert made["tiny"]["samples"] == {"train": 300, "test": 120}
    assert made["tiny"]["bytes"] > 300 * 86 * 4
    assert (made["course"]["made"], made["course"]["bytes"]) == (False, None)
    text = module_cli("show", "regression").out
    assert "train 300, test 120" in text
    assert "made at the first training" in text


def test_show_of_a_lab_without_a_data_set(module_cli: Cli) -> None:
    assert module_cli("show", "rl", "--json").json["data"] == []
    assert "environment" in module_cli("show", "rl").out


def test_a_docstring_is_wrapped_to_the_screen_and_keeps_its_shape() -> None:
    text = """One line.

Task
    A first line that is rather long,
    and a second one.
Ladder
    simple   the sample, which is described in many words
             on two lines.
    boss     more."""
    assert reflow(text, 120) == text
    assert reflow(text, 40).splitlines() == [
        "One line.", "", "Task", "    A first line that is rather long,", "    and a second one.", "Ladder",
        "    simple   the sample, which is", "             described in many words on", "             two lines.",
        "    boss     more.",
    ]  # fmt: skip


def test_the_results_of_a_job_are_fetched_by_one_command(
    run: dict[str, Any], module_cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The job and the head node are this process here; `tests/cluster/test_jobs.py` has real ones."""
    monkeypatch.setenv("LABS_JOB", "job_1")
    module_cli("train", "regression", "--size", "tiny", "--workers", "0")  # has finished, which makes no difference
    monkeypatch.delenv("LABS_JOB")
    (delivered,) = Path(os.environ["LABS_HOME"]).glob("runs/regression-simple-tiny-s0-*/deliver")
    (delivered / "figures").mkdir()
    (delivered / "figures" / "curve.png").write_text("curve")  # as a lab of the user's own may deliver

    def submit(command: list[str], *, write: Callable[[str], object], **options: Any) -> int:
        said = module_cli(*command)
        write(f"job job_2\n{said.out}{said.err}")
        return said.code

    row = {"command": "train regression", "home": None}
    monkeypatch.setattr(jobs, "list_jobs", lambda address: [{"id": f"job_{n}", **row} for n in (1, 2)])
    monkeypatch.setattr(jobs, "submit", submit)
    said = module_cli("jobs", "fetch", "job_1", "--out", str(tmp_path))
    files = {Path(line).name: Path(line) for line in said.out.splitlines()}
    assert json.loads(files["result.json"].read_text())["metrics"] == run["metrics"]
    assert {str(file.relative_to(files["pred.csv"].parent)) for file in files["pred.csv"].parent.rglob("*.*")} == {
        "pred.csv", "report.md", "learning_curves.png", "predicted.png", "figures/curve.png",
    }  # fmt: skip
    assert not any("checkpoint" in name or name.endswith(".safetensors") for name in files)

    said = module_cli("jobs", "fetch", "job_2", "--out", str(tmp_path))
    assert (said.code, "job job_2 has no results in" in said.err) == (2, True)
    monkeypatch.setattr(fetched, "FILES_BYTES", 1000)
    said = module_cli("jobs", "fetch", "job_1", "--out", str(tmp_path))
    assert (said.code, "copy them from the head node, where they are in " in said.err) == (2, True)
    said = module_cli("jobs", "fetch", "job_3", "--out", str(tmp_path))
    assert (said.code, "no job 'job_3' on the cluster" in said.err) == (2, True)
