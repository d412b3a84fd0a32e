"""Promises of the explain lab's second half: what it shows of a question-answering model."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from labs.bert import lesson as bert
from labs.core import shards
from labs.core.errors import BadInput
from labs.core.run import Run
from labs.explain import texts as texts_hw9
from labs.explain.hidden_state_file import ANSWER, Reading, Readings, read_texts
from labs.explain.lesson import LAB, READER
from labs.explain.text_figures import cosine, principal, table
from tests.labs.folders import contents


@pytest.fixture(scope="module")
def finished(data_dir: Path, upstream: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    LAB.fit(LAB.resolve("saliency", "tiny"), Run(folder, data_dir, seed=3, upstream=upstream))
    return folder


@pytest.fixture
def texts(data_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = shards.manifest(data_dir)["facts"]["texts"]
    return found


def test_sentences_hold_the_character(source: Path) -> None:
    """Three questions about contexts, and ten sentences, five of each meaning, with the character at its place."""
    made = texts_hw9.read(source)
    assert len(made.questions) == 3
    assert all(sentence.text[sentence.start] == made.character for sentence in made.sentences)
    meanings = [sentence.meaning for sentence in made.sentences]
    assert sorted(meanings) == ["date"] * 5 + ["old age"] * 5


FAULTS = {
    "no character": (lambda t: t.pop("character"), "texts.json: field 'character' is missing"),
    "no questions": (lambda t: t.update(questions=[]), "texts.json: field 'questions' is []"),
    "place": (lambda t: t["sentences"][3].update(start=0), "texts.json: sentence 3 must have '年' at start 0"),
    "blank": (lambda t: t.update(character=" "), "texts.json: 'character' is white space"),
    "one meaning": (
        lambda t: [sentence.update(meaning="date") for sentence in t["sentences"]],
        "texts.json: expected two meanings or more, one of them in two sentences, to compare; found 'date' in 10",
    ),
    "no meaning twice": (
        lambda t: t.update(sentences=[t["sentences"][0], t["sentences"][1]]),
        "found 'date' in 1, 'old age' in 1",
    ),
    "unknown": (lambda t: t.update(answers=[]), "texts.json: unknown field 'answers'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_names_the_fault(fault: str, source: Path, tmp_path: Path) -> None:
    """One sentence for a file that can't be used."""
    content = json.loads((source / texts_hw9.FILE).read_text())
    change, message = FAULTS[fault]
    change(content)
    (tmp_path / texts_hw9.FILE).write_text(json.dumps(content))
    (found,) = texts_hw9.check(tmp_path)
    assert message in found


def test_what_is_delivered(finished: Path, texts: dict[str, Any]) -> None:
    """Three figures, and a row of numbers for each layer of the reader, the input's too."""
    out = finished / "deliver"
    assert min((out / f"{name}.png").stat().st_size for name in ("attention", "embeddings", "similarity")) > 10_000
    with (out / "layers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["layer"] for row in rows] == ["0", "1"]
    assert all(0 <= float(row["to_answer"]) <= 1 and -1 <= float(row["apart"]) <= 1 for row in rows)


def test_the_character_is_looked_at_in_its_place(upstream: dict[str, Path], texts: dict[str, Any]) -> None:
    """What goes into the first layer is the same in every sentence, as tokens have no place there; what comes out of
    the last layer is not."""
    character = read_texts(bert.load(upstream[READER]), texts).character
    assert character.shape[:2] == (10, 2)
    assert torch.allclose(character[:, 0], character[:1, 0], atol=1e-5)
    assert not torch.allclose(character[:, -1], character[:1, -1], atol=1e-3)


def test_an_answer_that_is_not_in_the_context_is_not_shown(upstream: dict[str, Path]) -> None:
    """A reader that decodes [UNK] for a character it does not know says what stands nowhere: no token is the answer."""
    model = bert.load(upstream[READER])
    model.settings = replace(model.settings, search="separate")
    asked = {"question": "誰？", "context": "彧犇堃垚"}
    found = read_texts(model, {"questions": [asked], "sentences": [{"text": "1年", "start": 1}]}).questions[0]
    assert (found.kinds != ANSWER).all()


def test_a_text_that_is_too_long_is_refused(upstream: dict[str, Path]) -> None:
    """More tokens than the reader has positions for: one sentence, no fault of an index."""
    texts = {"questions": [{"question": "誰？", "context": "年" * 600}], "sentences": []}
    with pytest.raises(BadInput, match="are 605 tokens with their marks, expected at most 512"):
        read_texts(bert.load(upstream[READER]), texts)


def reading(kinds: list[int], attention: torch.Tensor) -> Reading:
    tokens = len(kinds)
    return Reading([""] * tokens, torch.tensor(kinds), torch.randn(2, tokens, 4), attention)


def test_attention_to_the_answer_is_a_share() -> None:
    """Of two heads the one that looks at the answer counts: half of what the question's tokens look at."""
    attention = torch.zeros(1, 2, 4, 4)
    attention[0, 0, :, 0] = 1
    attention[0, 1, :, 1], attention[0, 1, :, 3] = 0.5, 0.5
    rows = table(Readings([reading([0, 0, 1, ANSWER], attention)], torch.randn(4, 2, 4)), ["a", "a", "b", "b"])
    assert [row["to_answer"] for row in rows] == [0, 0.5]


def test_meanings_that_lie_apart_are_found() -> None:
    """Embeddings that are equal within a meaning and orthogonal across meanings differ by 1."""
    vectors = torch.eye(2).repeat_interleave(2, 0)[:, None].expand(4, 2, 2)
    attention = torch.full((1, 1, 4, 4), 1 / 4)
    rows = table(Readings([reading([0, 0, 1, ANSWER], attention)], vectors), ["a", "a", "b", "b"])
    assert [row["meaning"] for row in rows] == [1, 1]


def test_principal_components_keep_what_lies_in_a_plane() -> None:
    """Points of a plane in ten dimensions keep their distances."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(10, 2, generator=generator))[0]
    points = torch.randn(20, 2, generator=generator) @ basis.T
    torch.testing.assert_close(torch.cdist(principal(points), principal(points)), torch.cdist(points, points))


def test_cosine_is_scikit_learns() -> None:
    """(N, N)."""
    from sklearn.metrics.pairwise import cosine_similarity

    vectors = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    assert cosine(vectors).numpy() == pytest.approx(cosine_similarity(vectors.numpy()), abs=1e-6)


def test_pictures_are_explained_without_texts(source: Path, upstream: dict[str, Path], tmp_path: Path) -> None:
    """A folder as the course gives it has no texts: the run ends without them, and writes no figure of texts."""
    folder, packed = tmp_path / "course", tmp_path / "packed"
    for name, data in contents(source).items():
        if name.startswith("food/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    packed.mkdir()
    LAB.data.prepare(folder, packed, "folder")
    LAB.fit(LAB.resolve("saliency", "tiny"), Run(tmp_path / "run", packed, seed=3, upstream=upstream))
    assert not (tmp_path / "run/deliver/layers.csv").exists()
