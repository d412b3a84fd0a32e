"""Promises of the explain lab's second half: the hidden states of a question-answering model."""

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from labs.bert import lesson as bert
from labs.core import shards
from labs.core.errors import BadInput
from labs.explain import texts
from labs.explain.hidden_state_file import ANSWER, QuestionStates, TextStates, encode_texts
from labs.explain.lesson import LAB, READER
from labs.explain.text_figures import cosine, layer_table, principal_components
from tests.labs.store import Store

__all__ = ["LAB"]  # whose data the fixtures make


@pytest.fixture(scope="module")
def finished(store: Store) -> Path:
    return store.finished("explain", "smoothgrad")


@pytest.fixture
def content(data_dir: Path) -> dict[str, Any]:
    """Content of `texts.json`."""
    found: dict[str, Any] = shards.manifest(data_dir)["facts"]["texts"]
    return found


def test_sentences_hold_the_character(source: Path) -> None:
    """Three questions with contexts, and ten sentences, five of each meaning, with the character at `start`."""
    generated = texts.read(source)
    assert len(generated.questions) == 3
    assert all(sentence.text[sentence.start] == generated.character for sentence in generated.sentences)
    meanings = [sentence.meaning for sentence in generated.sentences]
    assert sorted(meanings) == ["date"] * 5 + ["old age"] * 5


FAULTS = {
    "no character": (lambda t: t.pop("character"), "texts.json: field 'character' is missing"),
    "no questions": (lambda t: t.update(questions=[]), "texts.json: field 'questions' is []"),
    "place": (lambda t: t["sentences"][3].update(start=0), "texts.json: sentence 3 must have '年' at start 0"),
    "blank": (lambda t: t.update(character=" "), "texts.json: 'character' is white space"),
    "one meaning": (
        lambda t: [sentence.update(meaning="date") for sentence in t["sentences"]],
        "texts.json: expected at least two meanings, one of them in at least two sentences; found 'date' in 10",
    ),
    "no meaning twice": (
        lambda t: t.update(sentences=[t["sentences"][0], t["sentences"][1]]),
        "found 'date' in 1, 'old age' in 1",
    ),
    "unknown": (lambda t: t.update(answers=[]), "texts.json: unknown field 'answers'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_names_the_fault(fault: str, source: Path, tmp_path: Path) -> None:
    """One sentence with the fault of the file."""
    content = json.loads((source / texts.FILE).read_text())
    change, message = FAULTS[fault]
    change(content)
    (tmp_path / texts.FILE).write_text(json.dumps(content))
    (found,) = texts.check(tmp_path)
    assert message in found


def test_what_is_delivered(finished: Path) -> None:
    """Three figures, and a row of numbers for the embeddings and for each layer of the reader."""
    out = finished / "deliver"
    with (out / "layers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["layer"] for row in rows] == ["0", "1"]
    assert all(0 <= float(row["attention_to_answer"]) <= 1 for row in rows)
    assert all(-1 <= float(row["silhouette"]) <= 1 for row in rows)


def test_the_hidden_states_are_those_of_the_character(upstream: Mapping[str, Path], content: dict[str, Any]) -> None:
    """Its embedding is the same in every sentence, as this model's embeddings do not depend on the position; its last
    hidden state is not."""
    character = encode_texts(bert.load(upstream[READER]), content).character
    assert character.shape[:2] == (10, 2)
    assert torch.allclose(character[:, 0], character[:1, 0], atol=1e-5)
    assert not torch.allclose(character[:, -1], character[:1, -1], atol=1e-3)


def test_an_answer_that_is_not_in_the_context_marks_no_token(upstream: Mapping[str, Path]) -> None:
    """A reader that decodes an unknown character as [UNK] predicts a text that the context does not contain."""
    model = bert.load(upstream[READER])
    model.settings = replace(model.settings, search="separate")
    pair = {"question": "誰？", "context": "彧犇堃垚"}
    states = encode_texts(model, {"questions": [pair], "sentences": [{"text": "1年", "start": 1}]}).questions[0]
    assert (states.segments != ANSWER).all()


def test_a_text_that_is_too_long_is_refused(upstream: Mapping[str, Path]) -> None:
    """More tokens than the model has positions: one sentence, not an IndexError."""
    too_long = {"questions": [{"question": "誰？", "context": "年" * 600}], "sentences": []}
    with pytest.raises(BadInput, match="are 605 tokens with the special tokens, expected at most 512"):
        encode_texts(bert.load(upstream[READER]), too_long)


def states(segments: list[int], attentions: torch.Tensor) -> QuestionStates:
    tokens = len(segments)
    return QuestionStates([""] * tokens, torch.tensor(segments), torch.randn(2, tokens, 4), attentions)


def test_attention_to_the_answer_is_a_fraction() -> None:
    """Of two heads the one that attends to the answer counts, with half of the attention of the question's tokens."""
    attentions = torch.zeros(1, 2, 4, 4)
    attentions[0, 0, :, 0] = 1
    attentions[0, 1, :, 1], attentions[0, 1, :, 3] = 0.5, 0.5
    rows = layer_table(TextStates([states([0, 0, 1, ANSWER], attentions)], torch.randn(4, 2, 4)), ["a", "a", "b", "b"])
    assert [row["attention_to_answer"] for row in rows] == [0, 0.5]


def test_the_meaning_gap_is_a_difference_of_similarities() -> None:
    """1 for hidden states that are equal within a meaning and orthogonal across meanings."""
    vectors = torch.eye(2).repeat_interleave(2, 0)[:, None].expand(4, 2, 2)
    attentions = torch.full((1, 1, 4, 4), 1 / 4)
    rows = layer_table(TextStates([states([0, 0, 1, ANSWER], attentions)], vectors), ["a", "a", "b", "b"])
    assert [row["meaning_gap"] for row in rows] == [1, 1]


def test_principal_components_keep_what_lies_in_a_plane() -> None:
    """The distances of points that lie in a plane of ten dimensions."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(10, 2, generator=generator))[0]
    points = torch.randn(20, 2, generator=generator) @ basis.T
    torch.testing.assert_close(
        torch.cdist(principal_components(points), principal_components(points)), torch.cdist(points, points)
    )


def test_cosine_is_scikit_learns() -> None:
    """(N, N)."""
    from sklearn.metrics.pairwise import cosine_similarity

    vectors = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    assert cosine(vectors).numpy() == pytest.approx(cosine_similarity(vectors.numpy()), abs=1e-6)
