"""`report.md`, which every lab delivers: each question of the homework, figures that are there, numbers of the run."""

import json
import re
from pathlib import Path

import pytest

import labs
from labs.core import events
from labs.core.lab import Lab
from labs.core.report import questions
from pipelines.spec import SPECS, read_spec
from tests.labs.store import Store
from tests.labs.test_every_lab import RUNS

WITHOUT_QUESTIONS = {"bert-pretrain"}
"""Labs that are no homework of their own."""
NUMBERS = {
    "regression": ("best/value",),
    "classification": ("train/accuracy", "val/accuracy"),
    "cnn": ("best/value",),
    "self-attention": ("best/value",),
    "bert": ("best/value",),
    "anomaly": ("val/mse", "val/auc"),
    "lifelong": ("val/forgetting", "val/backward_transfer", "val/forward_transfer"),
    "meta": ("val/accuracy", "val/accuracy_inductive"),
}
"""Lab -> metrics of the finished run that stand in the tables of its report."""
EXPERIMENTS = sorted(spec.stem for spec in SPECS.glob("*-report.yaml"))
"""Pipelines whose runs a report compares, each named after its lab."""


def check_report(lab: Lab, folder: Path) -> None:
    """The report of a finished run has the lesson's questions in their order, each with an answer; it shows all figures
    that are delivered, and no others; it names the best epoch; its tables have the run's metrics."""
    text = (folder / "deliver/report.md").read_text()
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    asked, answers = parts[1::2], parts[2::2]
    assert asked == [f"({letter}) {question}" for letter, question in questions(lab).items()]
    assert bool(asked) == (lab.name not in WITHOUT_QUESTIONS)
    assert all(answer.strip() for answer in answers)
    shown = re.findall(r"^!\[.+\]\((.+)\)$", text, re.MULTILINE)
    pictures = {file.name for file in (folder / "deliver").iterdir() if file.suffix in (".png", ".gif")}
    assert sorted(shown) == sorted(pictures)
    logged = [(event["metrics"].get(f"val/{lab.metric.name}"), event["step"]) for event in events.read(folder)]
    best, epoch = min(
        ((value, step) for value, step in logged if value is not None),
        key=lambda pair: (pair[0] if lab.metric.goal == "min" else -pair[0], pair[1]),
    )
    said = re.search(r"best `val/(.+?)` is (\S+) .+ in epoch (\d+) of", text)
    assert said is not None
    assert (said[1], float(said[2]), int(said[3])) == (lab.metric.name, pytest.approx(best, rel=1e-3), epoch)
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    cells = {float(cell) for cell in re.findall(r"(?<=\| )-?\d[\d.e-]*(?= \|)", text)}
    for name in NUMBERS.get(lab.name, ()):
        assert any(cell == pytest.approx(metrics[name], rel=1e-3, abs=1e-4) for cell in cells), name


@pytest.mark.parametrize(("lab", "preset"), RUNS, ids=map("-".join, RUNS))
def test_a_report_answers_each_question_of_the_homework(lab: str, preset: str, store: Store) -> None:
    check_report(labs.get(lab), store.finished(lab, preset))


@pytest.mark.parametrize("pipeline", EXPERIMENTS)
def test_a_report_names_the_pipeline_of_its_experiments(pipeline: str, store: Store) -> None:
    """The command names a spec that comes with the program, whose runs of the lab differ in settings or needs."""
    lab = pipeline.removesuffix("-report")
    preset = next(preset for name, preset in RUNS if name == lab)
    assert f"`labs pipeline run {pipeline}`" in (store.finished(lab, preset) / "deliver/report.md").read_text()
    name, nodes = read_spec(SPECS / f"{pipeline}.yaml")
    runs = {(node.config, node.seed, *node.needs.items()) for node in nodes if node.lab == lab}
    assert name == pipeline
    assert len(runs) == sum(node.lab == lab for node in nodes) > 1


@pytest.mark.parametrize(
    ("preset", "learnt"),
    [("simple", "the policy alone"), ("strong", "the value (the critic)"), ("dqn", "the value of each action")],
)
def test_the_landers_report_says_what_of_muzero_a_run_learns(preset: str, learnt: str, tmp_path: Path) -> None:
    """By the networks that the method has; and how many steps it took in the environment instead of in a model."""
    from labs.rl import report

    lab = labs.get("rl")
    (tmp_path / "config.json").write_text(lab.resolve(preset, "tiny").model_dump_json())
    metrics = {"val/return": -100.0, "train/return": -200.0, "train/env_steps": 3072.0}
    events.append(tmp_path, {"time": 0.0, "step": 1, "metrics": metrics})
    report.write(lab, tmp_path, tmp_path / "out", {"greedy": [1.0], "sampled": [2.0]}, "sampled")
    text = (tmp_path / "out/report.md").read_text()
    assert learnt in text.split("## (d)")[1]
    assert "in all 3,072 steps" in text.split("## (c)")[1]


def test_what_a_table_says_can_be_any_text(store: Store, tmp_path: Path) -> None:
    """A cell with a bar stays one cell, and a small number keeps its digits."""
    from labs.core.report import Report

    report = Report(labs.get("regression"), store.finished("regression", "boss"), tmp_path)
    report.table(("a|b", "c"), [("x|y", 0.00012345)], file="t.csv")
    report.write()
    assert "| a\\|b | c |\n| --- | --- |\n| x\\|y | 0.0001234 |" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "t.csv").read_text().splitlines() == ["a|b,c", "x|y,0.0001234"]
