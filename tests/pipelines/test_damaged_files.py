"""What can't be read is named, and everything else goes on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import labs
from labs.core.errors import BadInput
from pipelines.home import read_record, write_record
from tests.conftest import Said, called
from tests.labs.folders import made
from tests.stand_in_runs import write_run, write_sweep

TRAIN = ("train", "regression", "--size", "tiny", "--workers", "0", "--set", "epochs=1")


def test_an_empty_record_of_another_run_hinders_no_command(labs_cli: Callable[..., Said], home: Path) -> None:
    """A power cut left one record empty: it is named, and other runs are trained and shown."""
    assert labs_cli(*TRAIN).code == 0
    (record,) = home.glob("runs/*/record.json")
    record.write_text("")
    other = labs_cli(*TRAIN, "--seed", "1")
    assert other.code == 0
    assert [labs_cli("status", *name).code for name in ((), ("train-regression",))] == [0, 0]
    compared = labs_cli("compare", "--json")
    assert compared.code == 0
    assert [row["seeds"] for row in compared.json] == [[1]]


def test_an_empty_record_of_the_run_itself_says_what_to_remove(labs_cli: Callable[..., Said], home: Path) -> None:
    assert labs_cli(*TRAIN).code == 0
    (record,) = home.glob("runs/*/record.json")
    record.write_text("")
    (home / "runs" / record.parent.name / "result.json").unlink()
    again = labs_cli(*TRAIN)
    assert again.code == 2
    assert "can't be read" in again.err
    assert "Traceback" not in again.err


def test_a_record_that_is_no_record_is_named_and_passed_over(
    labs_cli: Callable[..., Said], home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """JSON all the same: every later command of the home ended with the traceback of a KeyError."""
    assert labs_cli(*TRAIN).code == 0
    files = [*home.glob("runs/*/record.json"), *home.glob("pipelines/*/record.json")]
    assert labs_cli(*TRAIN, "--seed", "1").code == 0
    whole = {file: json.loads(file.read_text()) for file in files}
    changes: list[dict[str, Any]] = [{"created": "yesterday"}, {"status": None}, {"nodes": {"a": {}}, "data": []}]
    for content in ("{}", "[]", "null", *changes):
        for file in files:
            file.write_text(content if isinstance(content, str) else json.dumps({**whole[file], **content}))
        caplog.clear()
        assert labs_cli("status", "--json").json["status"] == "FINISHED"
        assert [row["seeds"] for row in labs_cli("compare", "--json").json] == [[1]]
        assert all(f"{file} can't be read (" in caplog.text for file in files)
        assert labs_cli(*TRAIN).code == 2
    other = labs_cli(*TRAIN, "--seed", "1")
    assert (other.code, "has already finished" in other.err) == (0, True)
    synced = labs_cli("sync")
    assert (synced.code, synced.err.count("error: ")) == (1, len(files))


def test_a_damaged_result_is_made_again_by_the_same_command(labs_cli: Callable[..., Said], home: Path) -> None:
    """Every later command of the home ended with a traceback; the run itself took the file for the end of its work."""
    first = labs_cli(*TRAIN, "--json").json["metrics"]
    (file,) = home.glob("runs/*/result.json")
    for content in ("", "[]"):
        file.write_text(content)
        assert labs_cli("status").code == 0
        again = labs_cli(*TRAIN, "--json")
        assert (again.code, again.json["metrics"]["test/mse"]) == (0, first["test/mse"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"lr: [1\n", "is not YAML"),
        (b'lr: !!python/object/apply:os.system ["true"]\n', "is not YAML"),
        (b"lr: \xe9\n", "is not text in UTF-8"),
        (b"- 1\n", "must hold 'field: value' lines"),
    ],
)
def test_a_broken_config_file_is_one_sentence(
    labs_cli: Callable[..., Said], tmp_path: Path, content: bytes, message: str
) -> None:
    """Torn YAML, a tag that would run code, other encodings: exit code 2, no traceback, and no code is run."""
    file = tmp_path / "c.yaml"
    file.write_bytes(content)
    said = labs_cli(*TRAIN, "--config", str(file))
    assert (said.code, "Traceback" in said.err) == (2, False)
    assert message in said.err


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_other_systems_text_is_read(labs_cli: Callable[..., Said], tmp_path: Path, encoding: str) -> None:
    """A byte-order mark, or UTF-16 as some editors write it, is no fault."""
    file = tmp_path / "c.yaml"
    file.write_bytes("epochs: 1\r\n".encode(encoding))
    assert labs_cli(*TRAIN[:-2], "--config", str(file)).code == 0


@pytest.mark.parametrize("arguments", [("--set", "hidden=[1,"), ("--config", ".")])
def test_broken_values_and_folders_are_one_sentence(labs_cli: Callable[..., Said], arguments: tuple[str, str]) -> None:
    said = labs_cli(*TRAIN, *arguments)
    assert (said.code, "Traceback" in said.err) == (2, False)


@pytest.mark.parametrize("name", ["reg lr=0.01", "../x", "a'b"])
def test_a_nodes_name_is_one_that_folders_and_tags_can_have(tmp_path: Path, name: str) -> None:
    """The line is named, before anything starts."""
    from pipelines.spec import read_spec

    file = tmp_path / "a.yaml"
    file.write_text(f'name: x\nnodes:\n  "{name}": {{lab: regression}}\n')
    with pytest.raises(BadInput, match=r"a.yaml line [123]"):
        read_spec(file)


def test_json_has_no_number_that_is_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    """A diverged run's NaN is null: `NaN` is no JSON, and other programs refuse the whole document."""
    from pipelines.commands.options import print_json

    print_json({"value": float("nan"), "rows": [(1.5, float("inf"))]})
    assert "".join(capsys.readouterr().out.split()) == '{"value":null,"rows":[[1.5,null]]}'


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "regression", "--size", "tiny", "--seed", "-1"),
        ("data", "regression", "--make", "new", "--data-seed", "-1"),
        ("data", "regression", "--make", "{file}/x"),
        ("data", "regression", "--check", "{file}"),
        ("status", "--home", "{file}"),
        ("deliver", "regression", "--run", "x", "--out", "{file}/x"),
        ("deliver", "regression", "--check", "."),
        ("ui", "--port", "-1"),
        ("ui", "--port", "99999999"),
    ],
)
def test_impossible_values_and_places_are_refused_before_any_work(
    labs_cli: Callable[..., Said], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "file").touch()
    said = labs_cli(*(argument.format(file=tmp_path / "file") for argument in arguments))
    assert (said.code, "Traceback" in said.err) == (2, False)


def test_a_store_that_can_never_be_read_is_bad_input(labs_cli: Callable[..., Said]) -> None:
    """In one sentence, without the password of its URI; `test_store.py` has stores that are only down."""
    said = labs_cli("compare", "--store", "mysql+nodriver://user:secret@127.0.0.1:9/db", "--json")
    assert (said.code, "Traceback" in said.err, "secret" in said.err) == (2, False, False)
    assert "must be a URI such as" in said.err


def test_nodes_of_a_pipeline_whose_driver_died_are_killed(labs_cli: Callable[..., Said], home: Path) -> None:
    """After a second Ctrl-C the pipeline was KILLED and its node RUNNING for ever."""
    assert labs_cli(*TRAIN).code == 0
    (folder,) = (path.parent for path in home.glob("pipelines/*/record.json"))
    nodes = {name: {**node, "status": "RUNNING"} for name, node in read_record(folder)["nodes"].items()}
    write_record(folder, status="RUNNING", nodes=nodes)
    status = labs_cli("status", "--json").json
    assert (status["status"], [node["status"] for node in status["nodes"]]) == ("KILLED", ["KILLED"])


def changed(file: Path, *path: str, value: Any = None) -> None:
    """Set a field of a JSON file."""
    content = json.loads(file.read_text())
    place = content
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    file.write_text(json.dumps(content))


def with_line(folder: Path, line: str) -> None:
    """Put a line before the events of a run."""
    file = folder / "events.jsonl"
    file.write_text(f"{line}\n{file.read_text()}")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "splits": lambda run: changed(run / "record.json", "data", "splits"),
    "origin": lambda run: changed(run / "record.json", "data", "origin"),
    "tags": lambda run: changed(run / "record.json", "tags", value={}),
    "metrics": lambda run: changed(run / "result.json", "metrics", value=True),
    "score": lambda run: changed(run / "result.json", "metrics", "test/accuracy"),
    "null": lambda run: with_line(run, "null"),
    "no event": lambda run: with_line(run, '{"x": 1}'),
    "packages": lambda run: (run / "environment.txt").write_bytes(b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_field_of_one_run_hinders_no_look_at_the_others(
    damage: Callable[[Path], object], home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """JSON all the same: each ended the command with a traceback."""
    write_run(home, test=0.5)
    damage(write_run(home, preset="medium", test=0.75))
    assert called("compare", "--json", "--home", home) == 0
    assert {"preset": "simple", "mean": 0.5}.items() <= json.loads(capfd.readouterr().out)[-1].items()
    assert called("report", "--home", home) == 0


def test_a_sweep_whose_best_trial_is_gone_hinders_no_command(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_run(home, test=0.5)
    write_sweep(home, best=3)
    assert called("compare", "--json", "--home", home) == 0
    assert len(json.loads(capfd.readouterr().out)) == 1


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights": (lambda run: (run / "weights.safetensors").write_bytes(bytes(9)), "weights.safetensors can't be read"),
    "no weights": (lambda run: (run / "weights.safetensors").unlink(), "weights.safetensors is missing"),
    "config": (lambda run: (run / "config.json").write_text("[1"), "config.json can't be read"),
    "fields": (lambda run: changed(run / "config.json", "gone", value=1), "an earlier version of lab regression"),
    "shape": (lambda run: (run / "shape.json").unlink(), "shape.json is missing"),
    "data": (lambda run: changed(run / "record.json", "data", "packed", value="/gone"), "/gone, which are no longer"),
}


def test_a_run_that_is_not_whole_is_neither_delivered_nor_asked_but_named(
    labs_cli: Callable[..., Said], home: Path, tmp_path: Path
) -> None:
    """Each ended both commands with a traceback of sixty lines."""
    assert labs_cli(*TRAIN).code == 0
    (run,) = (file.parent for file in home.glob("runs/*/record.json"))
    made(labs.get("regression").data, tmp_path / "made")
    shutil.rmtree(run / "deliver")
    for name, (damage, sentence) in FILES.items():
        shutil.copytree(run, tmp_path / "whole")
        damage(run)
        commands = (("predict", "regression", tmp_path / "made" / "covid.test.csv"),
                    ("deliver", "regression", "--run", run.name, "--out", tmp_path / name))  # fmt: skip
        for command in commands:
            said = labs_cli(*command)
            assert said.code == 2, (name, said.err)
            assert sentence in said.err, (name, said.err)
            assert "Traceback" not in said.err
        shutil.rmtree(run)
        (tmp_path / "whole").rename(run)


def test_a_pipeline_that_was_ended_hard_has_a_status_and_a_report(
    labs_cli: Callable[..., Said], home: Path, tmp_path: Path
) -> None:
    """Its record has no seconds yet: the share of the CPUs that it has used was a division by zero."""
    spec = tmp_path / "two.yaml"
    spec.write_text("name: two\nnodes: {a: {lab: regression, size: tiny, seeds: [0, 1], resources: {workers: 0}}}\n")
    said = labs_cli("pipeline", "run", spec)
    assert "of work on CPUs" in said.err
    (record,) = home.glob("pipelines/*/record.json")
    changed(record, "seconds", value=0.0)
    changed(record, "status", value="KILLED")
    ended = labs_cli("status")
    assert (ended.code, "of work on CPUs" in ended.err) == (0, False)
    assert labs_cli("report", "two").code == 0
    assert labs_cli("status", "--json").json["schedule"] is None
