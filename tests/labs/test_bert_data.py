"""Promises of the bert lab's data: what is generated, refused and packed, and which windows are drawn."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from labs.bert import data
from labs.bert.data import Split
from labs.bert.lesson import LAB
from labs.bert.tiny_bert import SPECIAL_TOKENS, new_tokenizer
from labs.bert.training_windows import TrainingWindows, centred_start, negative_start, random_start
from labs.shared.text.passages import RARE, RELATIONS, PassageGenerator
from labs.shared.text.questions import Question, SlidingWindows, TokenizedQuestions
from tests.labs.folders import one_fault


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_made_questions_are_as_many_as_stated(source: Path) -> None:
    """And so are the passages; ids count from 0, and a question has the course's fields."""
    for split, (paragraphs, questions) in data.COUNTS["tiny"].items():
        content = read(source / data.FILES[split])
        assert len(content["paragraphs"]) == paragraphs
        assert [question["id"] for question in content["questions"]] == list(range(questions))
        assert set(content["questions"][0]) == set(data.FIELDS)


def test_the_last_character_is_inclusive(source: Path) -> None:
    """paragraph[start : end + 1] is the answer."""
    content = read(source / data.FILES["train"])
    for question in content["questions"]:
        paragraph = content["paragraphs"][question["paragraph_id"]]
        assert paragraph[question["answer_start"] : question["answer_end"] + 1] == question["answer_text"]


def test_missing_answers_are_null_or_the_string_null(source: Path) -> None:
    """As in the course, 70 % of the test set's answers are null and the others "null"; the answers are in a file of
    their own."""
    test, answers = (read(source / name)["questions"] for name in (data.FILES["test"], data.ANSWERS))
    missing = [question["answer_text"] for question in test]
    nulls = missing.count(None)
    assert missing == [None] * nulls + ["null"] * (len(missing) - nulls)
    assert nulls == pytest.approx(len(test) * 3493 / 4957, abs=1)
    assert [q["question_text"] for q in test] == [q["question_text"] for q in answers]
    assert all(question["answer_text"] not in (None, "null") for question in answers)


def test_a_question_has_one_answer() -> None:
    """A passage states at most one fact for each pair of a person and a relation."""
    generator = PassageGenerator("test")
    for _ in range(100):
        text, facts = generator.passage(3, 3)
        assert len({(fact.person, fact.relation) for fact in facts}) == len(facts)
        for fact in facts:
            assert text[fact.start : fact.start + len(fact.value)] == fact.value
            assert fact.person in generator.question(fact)


def test_other_people_have_facts_of_the_same_kind() -> None:
    """Many passages state the same relation for two people, so that the relation alone does not give the answer."""
    generator = PassageGenerator("test")
    passages = [[fact.relation for fact in generator.passage(3, 3)[1]] for _ in range(100)]
    assert sum(len(set(relations)) < len(relations) for relations in passages) > 50
    assert all(len(relation.full) > 1 and len(relation.questions) > 1 for relation in RELATIONS)


def test_some_answers_have_characters_that_the_corpus_lacks(tmp_path: Path) -> None:
    """About 1 % of the answers; their tokens would be [UNK]."""
    data.make(tmp_path, 0, "small")
    answers = [question["answer_text"] for question in read(tmp_path / data.FILES["train"])["questions"]]
    assert 0.005 < sum(bool(set(answer) & set(RARE)) for answer in answers) / len(answers) < 0.03


# --- faults ----------------------------------------------------------------------------------------------------------


def spoil(split: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """A function that changes the content of a split's file."""

    def work(folder: Path) -> None:
        file = folder / {**data.FILES, "answers": data.ANSWERS}[split]
        content = read(file)
        change(content)
        file.write_text(json.dumps(content, ensure_ascii=False))

    return work


def field(name: str, value: Any, split: str = "train") -> Callable[[Path], None]:
    return spoil(split, lambda content: content["questions"][3].update({name: value}))


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no file": (lambda d: (d / "hw7_dev.json").unlink(), "hw7_dev.json is missing"),
    "no json": (lambda d: (d / "hw7_dev.json").write_text("{"), "hw7_dev.json: expected JSON in UTF-8, found a fault"),
    "encoding": (lambda d: (d / "hw7_dev.json").write_bytes(b'"\xff"'), "hw7_dev.json: expected JSON in UTF-8"),
    "half a character": (
        lambda d: (d / "hw7_dev.json").write_text('{"questions": [1], "paragraphs": ["\\ud800"]}'),
        "hw7_dev.json: expected JSON in UTF-8, found a fault",
    ),
    "no questions": (
        spoil("test", lambda content: content.pop("questions")),
        "hw7_test.json: expected an object with 'questions', a list that is not empty",
    ),
    "no object": (lambda d: (d / "hw7_dev.json").write_text("[]"), "hw7_dev.json: expected an object with 'questions'"),
    "answers without answers": (
        spoil("answers", lambda content: content["questions"][0].update(answer_text=None)),
        "answers/hw7_test.json question 0: 'answer_text' is None, expected a string",
    ),
    "negative id": (
        spoil("train", lambda content: content["questions"][0].update(id=-1)),
        "hw7_train.json question 0: 'id' is -1, expected 0 to 9223372036854775807",
    ),
    "blank paragraph": (
        spoil("dev", lambda content: content["paragraphs"].append(" ")),
        "hw7_dev.json: 'paragraphs' must hold strings that are not empty",
    ),
    "empty paragraph": (
        spoil("dev", lambda content: content["paragraphs"].append("")),
        "hw7_dev.json: 'paragraphs' must hold strings that are not empty",
    ),
    "no field": (
        spoil("train", lambda content: content["questions"][3].pop("answer_end")),
        "hw7_train.json question 3: expected the fields id, paragraph_id, question_text, answer_text, answer_start, "
        "answer_end, found without answer_end",
    ),
    "type": (field("answer_start", "5"), "hw7_train.json question 3: 'answer_start' is '5', expected an integer"),
    "null": (field("answer_text", None), "hw7_train.json question 3: 'answer_text' is None, expected a string"),
    "paragraph": (field("paragraph_id", 40), "hw7_train.json question 3: 'paragraph_id' is 40, expected 0 to 39"),
    "no question": (field("question_text", " ", "test"), "hw7_test.json question 3: 'question_text' is empty"),
    "answered": (
        field("answer_text", "林文德", "test"),
        "hw7_test.json question 3: 'answer_text' is '林文德', expected null: the test set's answers belong in "
        "answers/hw7_test.json",
    ),
    "outside": (field("answer_end", 999), "are outside the paragraph's, 0 to"),
    "before": (
        spoil("train", lambda content: content["questions"][3].update(answer_start=5, answer_end=4)),
        "hw7_train.json question 3: the answer's characters 5 to 4 are outside",
    ),
    "exclusive end": (
        spoil("train", lambda content: content["questions"][3].update(
            answer_end=content["questions"][3]["answer_end"] - 1)),
        "expected the answer '",
    ),
    "twice": (
        spoil("dev", lambda content: content["questions"][3].update(id=2)),
        "hw7_dev.json question 3: 'id' 2 occurs twice",
    ),
    "other answers": (
        lambda d: shutil.copy(d / "hw7_dev.json", d / data.ANSWERS),
        "answers/hw7_test.json: expected the questions of hw7_test.json, found other ids",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_check_names_the_fault(fault: str, source: Path, tmp_path: Path) -> None:
    """One sentence per fault, with the file, the question, what was found and what was expected."""
    work, message = FAULTS[fault]
    assert message in one_fault(data.check, source, tmp_path / "drcd", work)


# --- packed text -----------------------------------------------------------------------------------------------------


def test_null_can_be_an_answer(source: Path, tmp_path: Path) -> None:
    """In the training set the text "null" is an answer like any other; in the test set it means that the answer is not
    given."""
    folder, packed = tmp_path / "drcd", tmp_path / "packed"
    shutil.copytree(source, folder)
    packed.mkdir()

    def answer_null(content: dict[str, Any]) -> None:
        content["paragraphs"][content["questions"][0]["paragraph_id"]] = "他說null。"
        content["questions"] = content["questions"][:1]
        content["questions"][0].update(answer_text="null", answer_start=2, answer_end=5)

    spoil("train", answer_null)(folder)
    assert data.check(folder) == []
    data.prepare(folder, packed, "folder")
    assert Split(packed, "train").answers() == ["null"]
    assert {question.start for question in Split(packed, "test").questions} == {-1}


@pytest.mark.parametrize("split", data.SPLITS)
def test_packed_text_is_the_file_s(split: str, source: Path, data_dir: Path) -> None:
    """Every paragraph, question and span is read back, in order; questions without an answer have -1."""
    content, packed = read(source / data.FILES[split]), Split(data_dir, split)
    assert packed.paragraphs == content["paragraphs"]
    for question, row in zip(content["questions"], packed.questions, strict=True):
        span = (-1, -1) if split == "test" else (question["answer_start"], question["answer_end"])
        assert row == (question["id"], question["paragraph_id"], question["question_text"], *span)


def test_ids_need_not_count_from_zero(source: Path, tmp_path: Path) -> None:
    """Any ids, and characters beyond 16 bits, are packed as they are."""
    folder, out = tmp_path / "drcd", tmp_path / "packed"
    shutil.copytree(source, folder)
    spoil("test", lambda content: content["questions"][0].update(id=70_000, question_text="𠮷在哪？"))(folder)
    (folder / data.ANSWERS).unlink()
    out.mkdir()
    assert data.check(folder) == []
    data.prepare(folder, out, "folder")
    first = Split(out, "test").questions[0]
    assert (first.id, first.text) == (70_000, "𠮷在哪？")


# --- tokens and windows ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_tokenizer() -> Tokenizer:
    """A tokenizer whose vocabulary lacks 彧."""
    return new_tokenizer("林文德生於年的老師是誰，。？0123456789").backend_tokenizer


@pytest.fixture(scope="module")
def training(data_dir: Path) -> Split:
    return Split(data_dir, "train")


@pytest.fixture(scope="module")
def tokenized(training: Split) -> TokenizedQuestions:
    """The training questions, with a vocabulary of all characters of the paragraphs."""
    return TokenizedQuestions(training.questions, training.paragraphs, full_tokenizer(training), 10)


def full_tokenizer(training: Split) -> Tokenizer:
    return new_tokenizer("".join(sorted({c for text in training.paragraphs for c in text}))).backend_tokenizer


def one_question(tokenizer: Tokenizer, question: str, paragraph: str, answer: str) -> TokenizedQuestions:
    start = paragraph.index(answer)
    questions = [Question(0, 0, question, start, start + len(answer) - 1)]
    return TokenizedQuestions(questions, [paragraph], tokenizer, 40)


@pytest.mark.parametrize("answer", ["林彧德", "1874年", "74", "。"])
def test_answers_survive_tokenization(answer: str, small_tokenizer: Tokenizer) -> None:
    """Characters to tokens to characters gives the same answer, unknown characters and parts of numbers included."""
    texts = one_question(small_tokenizer, "誰？", "林文德生於1874年， 林彧德的老師是誰。", answer)
    assert texts.span_text(0, *texts.answer_span(0)) == answer


def test_every_window_with_the_whole_answer_is_drawn_and_no_other() -> None:
    """Brute force: all starts that a draw from 0 to 1 can give."""
    for tokens, first, last, window in ((10, 4, 5, 4), (10, 0, 1, 4), (10, 8, 9, 4), (3, 1, 1, 4), (10, 2, 7, 4)):
        drawn = {random_start(tokens, first, last, window, draw / 1000) for draw in range(1001)}
        fits = [s for s in range(max(0, tokens - window) + 1) if s <= first and last < s + window]
        assert drawn == (set(fits) or {first})


def test_every_window_without_the_answer_is_drawn_and_no_other() -> None:
    """Brute force again; None where every window has a token of it."""
    for tokens, first, last, window in ((12, 5, 6, 4), (12, 0, 1, 4), (12, 10, 11, 4), (3, 1, 1, 4), (10, 3, 5, 4)):
        drawn = {negative_start(tokens, first, last, window, draw / 1000) for draw in range(1000)}
        lacks = [s for s in range(max(0, tokens - window) + 1) if s + window <= first or s > last]
        assert drawn == (set(lacks) or {None})


def test_centred_windows_are_the_sample_s() -> None:
    """max(0, min(middle of the answer - half a window, start of the last window))."""
    for tokens, first, last in ((300, 100, 103), (300, 2, 5), (300, 298, 299), (80, 40, 41)):
        expected = max(0, min((first + last) // 2 - 150 // 2, tokens - 150))
        assert centred_start(tokens, first, last, 150) == expected


@pytest.mark.parametrize("position", ["centre", "random"])
def test_training_windows_hold_their_answers(position: Any, training: Split, tokenized: TokenizedQuestions) -> None:
    """The target span decodes to the answer, in a window of the stated size; another seed draws other windows."""
    windows = TrainingWindows(tokenized, SPECIAL_TOKENS, 24, position, 0.0, seed=0)
    input_ids, token_type_ids, attention_mask, first, last = windows[torch.arange(len(windows))]
    tokenizer = full_tokenizer(training)
    for row, number in enumerate(windows.order.tolist()):
        question = training.questions[number]
        answer = training.paragraphs[question.paragraph][question.start : question.end + 1]
        assert tokenizer.decode(input_ids[row, first[row] : last[row] + 1].tolist()).replace(" ", "") == answer
        assert token_type_ids[row].sum() == 24 + 1
    lengths = torch.tensor([len(tokenized.question_ids[number]) for number in windows.order])
    assert torch.equal(attention_mask.sum(1), token_type_ids.sum(1) + 2 + lengths)
    other = TrainingWindows(tokenized, SPECIAL_TOKENS, 24, position, 0.0, seed=1)
    starts = [dict(zip(w.order.tolist(), w[torch.arange(96)][3].tolist(), strict=True)) for w in (windows, other)]
    assert (starts[0] != starts[1]) == (position == "random")


def test_negative_windows_have_cls_as_their_target(training: Split, tokenized: TokenizedQuestions) -> None:
    """Both targets are token 0 exactly in the windows without the answer; about half of the windows, as configured."""
    windows = TrainingWindows(tokenized, SPECIAL_TOKENS, 16, "random", 0.5, seed=0)
    input_ids, token_type_ids, _, first, last = windows[torch.arange(len(windows))]
    assert 0.3 < float((last == 0).float().mean()) < 0.7
    tokenizer = full_tokenizer(training)
    for row, number in enumerate(windows.order.tolist()):
        question = training.questions[number]
        answer = training.paragraphs[question.paragraph][question.start : question.end + 1]
        window = tokenizer.decode(input_ids[row][token_type_ids[row].bool()].tolist()).replace(" ", "")
        assert (first[row] == 0) == (last[row] == 0) == (answer not in window)


@pytest.mark.parametrize("stride", [5, 8])
def test_windows_cover_a_paragraph(stride: int, small_tokenizer: Tokenizer) -> None:
    """Every token is in some window; with a stride below the window's size every short span is whole in one."""
    paragraph = "林文德生於1874年，林文德的老師是誰。"
    texts = one_question(small_tokenizer, "誰？", paragraph, "林文德")
    windows = SlidingWindows(texts, SPECIAL_TOKENS, 8, stride)
    input_ids, token_type_ids, attention_mask, numbers, starts = windows[torch.tensor([0])]
    assert set(numbers.tolist()) == {0}
    spans = {
        (start + a, start + b)
        for start, count in zip(starts.tolist(), (token_type_ids.sum(1) - 1).tolist(), strict=True)
        for a in range(count) for b in range(a, count)
    }  # fmt: skip
    n = len(texts.paragraph_ids[0])
    assert {(i, i) for i in range(n)} <= spans
    assert ({(i, i + 3) for i in range(n - 3)} <= spans) == (stride == 5)
    for row, start in enumerate(starts.tolist()):
        window = input_ids[row][(token_type_ids[row] == 1)][:-1]
        assert torch.equal(window, texts.paragraph_ids[0][start : start + 8])
        assert input_ids[row, 0] == SPECIAL_TOKENS.cls
        assert input_ids[row][attention_mask[row] == 1][-1] == SPECIAL_TOKENS.sep


def test_long_questions_are_truncated(small_tokenizer: Tokenizer) -> None:
    """To the stated number of tokens."""
    texts = TokenizedQuestions([Question(0, 0, "老師" * 30, 0, 0)], ["林"], small_tokenizer, 7)
    assert len(texts.question_ids[0]) == 7


def test_passages_and_questions_have_no_latin_letters() -> None:
    """And every placeholder of a wording is replaced."""
    generator = PassageGenerator("test", rare_fraction=0.5)
    for _ in range(50):
        text, facts = generator.passage(2, 4)
        assert not re.search("[a-z{}]", text + generator.question(facts[0]) + generator.paraphrase(facts[1]))
    assert LAB.data is data
