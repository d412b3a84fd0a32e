"""The regression lab and its data: the CSV format, its faults, the submission."""

import hashlib
from pathlib import Path

import pytest
import torch

import labs
from labs.data import shards, survey
from labs.errors import BadInput
from labs.run import Run

LAB = labs.get("regression")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("survey")
    survey.make(folder, 0, "tiny")
    return folder


@pytest.fixture(scope="module")
def packed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed")
    survey.prepare(source, out, "generated")
    (out / "answers").symlink_to(source / "answers")
    return out


def digest(folder: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.rglob("*.csv")))).hexdigest()


def test_the_same_data_seed_writes_the_same_bytes_and_another_others(source: Path, tmp_path: Path) -> None:
    for name, seed in (("same", 0), ("other", 1)):
        (tmp_path / name).mkdir()
        survey.make(tmp_path / name, seed, "tiny")
    assert digest(tmp_path / "same") == digest(source) != digest(tmp_path / "other")


def test_the_tables_have_the_courses_shape(tmp_path: Path) -> None:
    survey.make(tmp_path, 0, "course")
    assert survey.check(tmp_path) == []
    survey.prepare(tmp_path, tmp_path, "folder")
    found = shards.manifest(tmp_path)
    assert found["splits"] == {"train": 2699, "test": 1078}
    assert {key: found["facts"][key] for key in ("states", "days", "block")} == {"states": 37, "days": 5, "block": 16}


def test_another_edition_with_other_states_and_columns_is_accepted(tmp_path: Path) -> None:
    header = ["id", "AA", "BB", "cli", "tested_positive", "cli.1", "tested_positive.1", "cli.2", "tested_positive.2"]
    rows = [[str(i), *("10" if i % 2 else "01"), *("1.5" for _ in range(6))] for i in range(6)]
    (tmp_path / survey.TRAIN).write_text("\n".join(",".join(row) for row in [header, *rows]))
    (tmp_path / survey.TEST).write_text("\n".join(",".join(row[:-1]) for row in [header, *rows]))
    assert survey.check(tmp_path) == []
    facts = survey.layout(header)
    assert (facts["states"], facts["days"], facts["block"]) == (2, 3, 2)


def edit(text: str, line: int, column: int, value: str | None) -> str:
    lines = text.split("\n")
    cells = lines[line].rstrip("\r").split(",")
    cells[column : column + 1] = [] if value is None else [value]
    lines[line] = ",".join(cells)
    return "\n".join(lines)


FAULTS = {
    "no number": ((3, 50, "n/a"), "covid.train.csv line 4: 'n/a' is not a finite number"),
    "infinite": ((2, 60, "inf"), "covid.train.csv line 3: 'inf' is not a finite number"),
    "short row": ((2, 60, None), "covid.train.csv line 3: 117 columns, expected 118"),
    "no state": ((1, 1, "7"), "exactly one state column must be 1"),
    "no id": ((0, 0, "row"), "the first column must be 'id', found 'row'"),
    "no target": ((0, 117, "cases"), "covid.train.csv"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_file_line_and_what_is_right(source: Path, tmp_path: Path, fault: str) -> None:
    place, said = FAULTS[fault]
    for name in (survey.TRAIN, survey.TEST):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    (tmp_path / survey.TRAIN).write_text(edit((source / survey.TRAIN).read_text(), *place))
    assert said in " ".join(survey.check(tmp_path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert [Path(fault.split()[0]).name for fault in survey.check(tmp_path)] == [survey.TRAIN, survey.TEST]


@pytest.mark.parametrize("preset", LAB.presets)
def test_a_tiny_run_beats_the_trivial_predictor_and_delivers(packed: Path, tmp_path: Path, preset: str) -> None:
    LAB.fit(LAB.resolve(preset, "tiny"), Run(tmp_path, packed))
    scores = LAB.score(tmp_path / "deliver", packed)
    assert scores["test/mse"] < scores["test/trivial"]
    assert LAB.check_submission(tmp_path / "deliver" / "pred.csv") == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("id,tested_positive", "id,value", "line 1: the header must be 'id,tested_positive'"),
        ("\n1,", "\n7,", "line 3: expected '1,<float>'"),
        ("\n2,", "\n2,x", "is not a finite number"),
    ],
)
def test_a_broken_submission_is_refused(packed: Path, tmp_path: Path, old: str, new: str, said: str) -> None:
    LAB.fit(LAB.resolve("strong", "tiny"), Run(tmp_path, packed))
    file = tmp_path / "deliver" / "pred.csv"
    file.write_text(file.read_text().replace("\r\n", "\n").replace(old, new, 1))
    assert said in " ".join(LAB.check_submission(file))


def test_the_state_split_shares_no_state_with_training(packed: Path) -> None:
    from labs.regression import split

    inputs = shards.ArrowDataset(packed, "train", ("inputs",)).columns[0].all()
    mask = split(inputs, 37, LAB.resolve("strong", "tiny"), seed=0)
    states = inputs[:, 1:38].argmax(1)
    assert mask.any()
    assert not set(states[mask].tolist()) & set(states[~mask].tolist())


def test_the_state_split_of_one_state_is_refused() -> None:
    from labs.regression import split

    with pytest.raises(BadInput, match="rows of at least 2 states, found 1"):
        split(torch.eye(5)[:1].repeat(4, 1), 3, LAB.resolve("strong", "tiny"), seed=0)
