"""What the delivered figures show: named axes, readable ticks, legends beside the data."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import labs
from labs.adaptation.figures import feature_maps
from labs.core import curves, events, plots
from labs.explain.figures import title
from labs.explain.hidden_state_file import ANSWER, CONTEXT, QUESTION, QuestionStates
from labs.explain.text_figures import attention, attention_tokens, embeddings
from labs.gan.figures import grid, interpolation
from labs.lifelong.figures import accuracy_curve
from labs.regression.figures import predicted_against_true
from tests.labs.drawn import noted
from tests.labs.store import Store
from tests.labs.test_every_lab import RUNS

SEGMENTS = [QUESTION] * 3 + [CONTEXT] * 4 + [ANSWER] * 2 + [CONTEXT] * 2
TOKENS = ["[CLS]", "誰", "[SEP]", *"在", "1", "##9", "##0", "##1", "年", *"來此"]


@pytest.fixture
def question() -> QuestionStates:
    """States of a question whose answer is two tokens; layer 2, head 1 attends to it."""
    attentions = torch.zeros(2, 3, len(TOKENS), len(TOKENS))
    attentions[1, 0, :, 7] = 1
    states = torch.randn(3, len(TOKENS), 5, generator=torch.Generator().manual_seed(0))
    return QuestionStates(TOKENS, torch.tensor(SEGMENTS), states, attentions)


def legends(figure: Figure) -> Iterator[tuple[Axes, list[str]]]:
    """Axes with a legend, and its words. No legend may cover the data of any axes."""
    figure.canvas.draw()
    for axes in figure.axes:
        if legend := axes.get_legend():
            place = legend.get_window_extent()
            assert not any(place.overlaps(other.get_window_extent()) for other in figure.axes)
            yield axes, [text.get_text() for text in legend.get_texts()]


def ticks(axes: Axes) -> tuple[list[str], list[str]]:
    return tuple([label.get_text() for label in labels] for labels in (axes.get_xticklabels(), axes.get_yticklabels()))


def test_domains_and_classes_have_a_legend_that_covers_no_point() -> None:
    """Ten classes, each with a digit of its own beside its colour, and two domains."""
    rng = np.random.default_rng(0)
    stage = {"source": rng.random((30, 4)), "target": rng.random((20, 4)), "label": np.arange(30) % 10}
    names = [f"class {number}" for number in range(10)]
    figure = feature_maps({"final": stage}, names)
    assert [words for _, words in legends(figure)] == [names, ["photographs", "drawings"]]
    assert all(axes.get_xlabel() and axes.get_ylabel() and axes.get_title() for axes in figure.axes)


def test_attention_names_its_axes_and_the_segments_of_its_tokens(question: QuestionStates) -> None:
    figure = attention(question)
    panels = np.array(figure.axes[:-1]).reshape(2, 3)
    segments = ["question", "context", "answer", "context"]
    assert [ticks(axes)[1] for axes in panels[:, 0]] == [segments] * 2
    assert [ticks(axes)[0] for axes in panels[1]] == [segments] * 3
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("token that is attended to", "token that attends")
    assert figure.axes[-1].get_ylabel() == "attention weight"


@pytest.mark.parametrize("legible", [True, False])
def test_attention_to_the_answer_names_every_token(question: QuestionStates, legible: bool) -> None:
    """By its text, or by its number where no font has Chinese characters; of the head that attends to the answer."""
    axes = attention_tokens(question, legible).axes[0]
    names = TOKENS if legible else [str(number) for number in range(len(TOKENS))]
    assert ticks(axes) == (names, names[:3])
    assert "Layer 2, head 1" in axes.get_title()


def test_embeddings_name_their_rows(question: QuestionStates) -> None:
    figure = embeddings([question, question], legible=False)
    assert [axes.get_ylabel().split("\n")[0] for axes in figure.axes[::3]] == ["question 1", "question 2"]
    assert [words for _, words in legends(figure)] == [["question", "context", "answer"]]


def test_a_picture_that_is_explained_has_its_true_and_its_predicted_class() -> None:
    row = {"file": "0_3.jpg", "predicted": 4, "probability": 0.37}
    assert title(row, 11) == "0_3.jpg\ntrue: Bread\npredicted, 37%:\nFried food"


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A run's folder with the events of two tasks of two epochs each."""
    for step in range(1, 5):
        tasks = {f"val/accuracy_task{task}": 0.9 for task in range(1, 2 + (step > 2))}
        metrics = {"val/accuracy": 0.9, "train/loss": 2.0 / step, **tasks}
        events.append(tmp_path, {"time": 0.0, "step": step, "metrics": metrics})
    return tmp_path


def test_the_curve_of_several_tasks_has_borders_between_them(history: Path) -> None:
    """Whole epochs, a line after the last epoch of the first task, and the tasks' names."""
    figure = accuracy_curve(history, ["0°", "20°"], 2)
    ((axes, words),) = legends(figure)
    assert words[0].startswith("mean of the tasks seen: 0.900")
    borders = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [[*line.get_xdata()] for line in borders] == [[2.5, 2.5]]
    assert [text.get_text() for text in axes.texts] == ["0°", "20°"]
    assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_learning_curves_have_named_axes_and_whole_epochs(history: Path) -> None:
    panels = [("loss, nats", {"train/loss": "training"}), ("accuracy", {"val/accuracy": "validation"})]
    figure = curves.figure(history, "title", panels, log=True)
    assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes] == [
        ("epoch", "loss, nats"),
        ("epoch", "accuracy"),
    ]
    assert [words for _, words in legends(figure)] == [["training: 0.500 at the end"], ["validation: 0.900 at the end"]]
    assert all(float(tick).is_integer() for axes in figure.axes for tick in axes.get_xticks())


def test_grids_of_generated_pictures_say_what_their_rows_are() -> None:
    pictures = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    axes = grid(pictures, 2, "title", ["first", "second"]).axes[0]
    assert (axes.get_title(), ticks(axes)[1]) == ("title", ["first", "second"])
    axes = interpolation(torch.randn(16, 4), lambda noise: torch.zeros(len(noise), 3, 8, 8, dtype=torch.uint8)).axes[0]
    assert (len(ticks(axes)[1]), "first vector" in axes.get_xlabel()) == (8, True)


@pytest.mark.parametrize(
    ("lab", "preset"),
    [("regression", "boss"), ("classification", "strong"), ("cnn", "strong"), ("transformer", "boss"),
     ("lifelong", "rwalk")],
)  # fmt: skip
def test_every_delivered_figure_names_what_it_shows(
    lab: str, preset: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Axes with ticks have a name on each of them, a colour bar has one, and whatever has no ticks has a title."""
    folder, data_dir, drawn = store.finished(lab, preset), store.data_dir(lab), list[Figure]()
    monkeypatch.setattr(plots, "save", lambda figure, file: drawn.append(figure))
    labs.get(lab).deliver(folder, data_dir, tmp_path)
    assert drawn
    for figure in drawn:
        for axes in figure.axes:
            title = axes.get_title() or figure.get_suptitle()
            if axes.get_label() == "<colorbar>":
                assert axes.get_ylabel()
            else:
                assert axes.get_xlabel() or (title and not (axes.axison and len(axes.get_xticks())))
                assert axes.get_ylabel() or (title and not (axes.axison and len(axes.get_yticks())))


def test_predictions_stand_against_the_truth_with_their_unit() -> None:
    true = torch.linspace(0, 40, 9)
    axes = predicted_against_true(true + 1, true).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("true positive tests, %", "predicted positive tests, %")
    assert [*axes.collections[0].get_offsets()[0]] == [0, 1]


@pytest.mark.parametrize(("lab", "preset"), RUNS, ids=map("-".join, RUNS))
def test_every_panel_of_a_run_s_figures_shows_data(lab: str, preset: str, store: Store) -> None:
    figures = store.figures(lab, preset)
    delivered = {file.name for file in (store.finished(lab, preset) / "deliver").glob("*.png")}
    assert delivered <= figures.keys()
    assert {name: panels for name, panels in figures.items() if panels} == {}


@pytest.mark.parametrize("values", [[], [np.nan]])
def test_a_panel_without_data_is_found(values: list[float], tmp_path: Path) -> None:
    figure = Figure()
    first, second = figure.subplots(2)
    first.plot([1.0], [2.0], "o")
    second.plot(values, values)
    second.imshow(np.zeros((2, 2)))
    with noted(tmp_path / "figures.json"):
        figure.savefig(tmp_path / "two.png")
    assert json.loads((tmp_path / "figures.json").read_text()) == {"two.png": ["panel 1"]}
