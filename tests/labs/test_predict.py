"""`labs predict`: what a model says of a person's own input, and what it can't take."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import labs
from labs.core import shards
from pipelines.home import write_record
from pipelines.record_fields import TAGS
from tests.conftest import Said
from tests.labs.store import Store
from tests.labs.test_every_lab import RUNS

Cli = Callable[..., Said]
Case = tuple[list[object], list[str] | list[float] | None]
"""What is given, and the column `prediction` where the submission has it."""


def submitted(folder: Path, lab: str) -> dict[str, str]:
    """Id -> prediction of a run's submission."""
    with (folder / "deliver" / labs.get(lab).submission).open(newline="") as file:
        return {row[0]: row[1] for row in list(csv.reader(file))[1:]}


def food(place: str) -> Callable[[Path, Path, Path, str], Case]:
    """The first three test pictures of the food labs."""

    def case(source: Path, data_dir: Path, folder: Path, lab: str) -> Case:
        files = sorted((source / place).glob("*.jpg"))[:3]
        if lab == "explain":
            return list(files), None
        names = shards.manifest(data_dir)["facts"]["classes"]
        return list(files), [names[int(submitted(folder, lab)[file.stem])] for file in files]

    return case


def drawings(source: Path, data_dir: Path, folder: Path, lab: str) -> Case:
    from labs.adaptation.data import CLASSES

    files = sorted((source / "real_or_drawing/test_data/0").glob("*.bmp"))[:3]
    return list(files), [CLASSES[int(submitted(folder, lab)[str(number)])] for number in range(3)]


def tables(source: Path, data_dir: Path, folder: Path, lab: str) -> Case:
    return [source / "covid.test.csv"], [round(float(value), 4) for value in submitted(folder, lab).values()]


def speakers(source: Path, data_dir: Path, folder: Path, lab: str) -> Case:
    predictions = list(submitted(folder, lab).items())[:2]
    return [source / name for name, _ in predictions], [speaker for _, speaker in predictions]


def characters(source: Path, data_dir: Path, folder: Path, lab: str) -> Case:
    support, query = (sorted((source / f"Omniglot-test/{part}/0000").iterdir()) for part in ("support", "query"))
    labels = [int(submitted(folder, lab)[str(number)]) for number in range(5)]
    return [*support, *query], [f"as {support[label]}" for label in labels]


def questions(source: Path, data_dir: Path, folder: Path, lab: str) -> Case:
    from labs.bert.data import Split
    from labs.bert.metrics import normalise

    test = Split(data_dir, "test")
    first = test.questions[0]
    answer = submitted(folder, lab)[str(first.id)]
    assert normalise(answer) == answer
    return [first.text, test.paragraphs[first.paragraph]], [answer]


def utterance(source: Path, data_dir: Path, folder: Path, lab: str) -> Case:
    return sorted((source / "libriphone/feat/test").glob("*.pt"))[:2], None  # type: ignore[return-value]


def picture(source: Path, data_dir: Path, folder: Path, lab: str) -> Case:
    """One with transparent parts and other sides than any lab's."""
    file = data_dir.parent / f"{lab}.png"
    pixels = np.random.default_rng(0).integers(0, 256, (90, 70, 4), np.uint8)
    Image.fromarray(pixels).save(file)
    return [file, file], None


CASES: dict[str, Callable[[Path, Path, Path, str], Case]] = {
    "regression": tables,
    "classification": utterance,
    "cnn": food("test"),
    "self-attention": speakers,
    "transformer": lambda *_: (["The dog sees a cat."], None),
    "gan": lambda *_: (["2"], None),
    "bert-pretrain": lambda *_: (["小明[MASK]北京住。"], None),
    "bert": questions,
    "anomaly": picture,
    "explain": food("food"),
    "attack": picture,
    "adaptation": drawings,
    "compression": food("evaluation"),
    "lifelong": picture,
    "meta": characters,
}
ANSWER = {"regression": "tested_positive", "bert": "answer"}
"""Lab -> its column, if not `prediction`."""


@pytest.fixture
def recorded(store: Store, tmp_path: Path) -> Callable[[str], Path]:
    """A finished run of a lab as a run folder, with a record."""

    def run(lab: str) -> Path:
        folder = tmp_path / "runs" / lab
        shutil.copytree(store.finished(lab, dict(RUNS)[lab]), folder, ignore=shutil.ignore_patterns("checkpoints"))
        data = {"packed": str(store.data_dir(lab)), "digest": "d", "origin": "generated", "splits": {}}
        write_record(folder, key="k", name=lab, status="FINISHED", created=0.0, seconds=0.0, error="", params={},
                     tags=dict.fromkeys(TAGS, lab), lab=lab, preset="simple", size="tiny", seed=0, config={},
                     data=data)  # fmt: skip
        return folder

    return run


def test_every_lab_takes_a_persons_input_but_the_one_whose_input_is_a_simulator() -> None:
    assert set(labs.names()) - CASES.keys() == {"rl"}


@pytest.mark.parametrize("lab", CASES)
def test_a_model_predicts_for_what_a_person_gives_as_for_the_submission(
    lab: str, store: Store, recorded: Callable[[str], Path], labs_cli: Cli, tmp_path: Path
) -> None:
    folder = recorded(lab)
    inputs, expected = CASES[lab](store.source(lab), store.data_dir(lab), folder, lab)
    said = labs_cli("predict", lab, *inputs, "--model", folder, "--out", tmp_path / "drawn", "--json")
    assert said.code == 0, said.err
    rows: list[dict[str, Any]] = said.json["predictions"]
    if expected is None:
        assert len(rows) == (2 if lab in ("gan", "classification", "anomaly", "attack", "lifelong") else len(inputs))
    else:
        assert [row[ANSWER.get(lab, "prediction")] for row in rows] == expected
    drawn = [value for row in rows for value in row.values() if str(value).startswith(str(tmp_path / "drawn"))]
    assert [Image.open(file).mode for file in drawn] == ["RGB"] * (len(rows) if lab in ("gan", "explain") else 0)
    assert not any("[MASK]" in row.get("filled in", "") for row in rows)


BAD = {
    "no such file": ("cnn", ["nothing.png"], "picture nothing.png does not exist"),
    "no picture": ("cnn", ["text.png"], "text.png: expected a whole BMP, GIF, JPEG, PNG or WEBP image"),
    "a folder": ("cnn", ["."], "picture . is a folder"),
    "other columns": ("regression", ["two.csv"], "two.csv: expected the"),
    "no number": ("regression", ["words.csv"], "'many' is not a finite number"),
    "no tensor": ("self-attention", ["text.png"], "text.png: expected a tensor that torch.save wrote"),
    "another shape": ("self-attention", ["flat.pt"], "flat.pt: expected float32 (frames, 40), found float32 (3,)"),
    "no sentence": ("transformer", ["()"], "sentence '()' has 0 tokens"),
    "no paragraph": ("bert", ["誰?"], "expected one or more questions and then their paragraph"),
    "no mask": ("bert-pretrain", ["小明"], "text '小明' has no [MASK]"),
    "too few": ("meta", ["text.png"], "1 pictures: expected 10"),
}


@pytest.mark.parametrize(("lab", "inputs", "sentence"), BAD.values(), ids=BAD)
def test_what_a_model_can_not_take_is_one_sentence(
    lab: str, inputs: list[str], sentence: str, store: Store, recorded: Callable[[str], Path], labs_cli: Cli,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = recorded(lab)
    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("a text")
    Path("two.csv").write_text("id,tested_positive\n0,1\n")
    torch.save(torch.zeros(3), "flat.pt")
    if lab == "regression":
        columns = shards.manifest(store.data_dir(lab))["facts"]["columns"]
        Path("words.csv").write_text(f"{','.join(columns)}\n{','.join(['many'] * len(columns))}\n")
    said = labs_cli("predict", lab, *inputs, "--model", folder)
    assert (said.code, said.out) == (2, "")
    assert sentence in said.err.splitlines()[-1]


def test_without_a_finished_run_the_command_names_what_makes_one(labs_cli: Cli) -> None:
    said = labs_cli("predict", "cnn", "dinner.jpg")
    assert said.code == 2
    assert "no finished run of lab cnn" in said.err
    assert "`labs train cnn` makes one" in said.err


def test_a_lab_that_takes_no_input_says_what_shows_its_runs(labs_cli: Cli) -> None:
    said = labs_cli("predict", "rl", "3")
    assert said.code == 2
    assert "`labs deliver rl --run RUN --out DIR` shows what a run has learnt" in said.err


def test_the_best_run_is_of_the_largest_data_and_a_table_has_80_columns(
    labs_cli: Cli, recorded: Callable[[str], Path], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best validation metric among runs on the same data; a better value on smaller data is another task's."""
    monkeypatch.setenv("COLUMNS", "80")
    folder = recorded("cnn")
    record = json.loads((folder / "record.json").read_text())
    for number, (digest, rows, value) in enumerate([("a", 100, 0.5), ("a", 100, 0.6), ("a", 100, 0.55), ("b", 9, 0.9)]):
        run = home / "runs" / f"cnn-{number}"
        shutil.copytree(folder, run)
        data = {**record["data"], "digest": digest, "splits": {"train": rows}}
        write_record(run, data=data, created=float(number))
        (run / "result.json").write_text(json.dumps({"metrics": {"val/accuracy": value}, "steps": 1}))
    monkeypatch.chdir(tmp_path)
    Image.new("L", (30, 20)).save("grey.png")
    for model in ([], ["--model", "best-cnn"]):
        said = labs_cli("predict", "cnn", "grey.png", *model)
        assert said.code == 0, said.err
        assert "run cnn-1 with val/accuracy 0.6" in said.err
    assert max(map(len, said.out.splitlines())) <= 80
    assert "grey.png" in said.out
