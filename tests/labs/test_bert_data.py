"""Promises of the bert lab's data format: what is made, what is refused, what is packed, how windows are cut."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from labs.bert.lesson import LAB
from labs.bert.tiny_bert import MARKS, tokenizer
from labs.shared.text import drcd
from labs.shared.text.drcd import Asked, Question
from labs.shared.text.passages import RARE, RELATIONS, Teller
from labs.shared.text.windows import EveryWindow, Layout, OneWindow, Texts, negative_start, window_start
from tests.labs.folders import contents, made


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_make_is_deterministic(source: Path, tmp_path: Path) -> None:
    """The same seed writes the same bytes, another seed others."""
    assert contents(made(drcd, tmp_path / "same")) == contents(source)
    other = contents(made(drcd, tmp_path / "other", seed=1))
    assert all(other[name] != content for name, content in contents(source).items())


def test_check_accepts_what_make_writes(source: Path) -> None:
    """Invented lives have the course's format, and as many questions as stated; ids count from 0."""
    assert drcd.check(source) == []
    for split, (paragraphs, questions) in drcd.COUNTS["tiny"].items():
        content = read(source / drcd.FILES[split])
        assert len(content["paragraphs"]) == paragraphs
        assert [question["id"] for question in content["questions"]] == list(range(questions))
        assert set(content["questions"][0]) == set(drcd.FIELDS)


def test_the_last_character_is_inclusive(source: Path) -> None:
    """paragraph[start .. end], the end with it, is the answer."""
    content = read(source / drcd.FILES["train"])
    for question in content["questions"]:
        paragraph = content["paragraphs"][question["paragraph_id"]]
        assert paragraph[question["answer_start"] : question["answer_end"] + 1] == question["answer_text"]


def test_the_test_set_has_both_kinds_of_nothing(source: Path) -> None:
    """As in the course the first 7 in 10 are null and the rest the string; the answers lie apart."""
    asked, right = (read(source / name)["questions"] for name in (drcd.FILES["test"], drcd.ANSWERS))
    nothing = [question["answer_text"] for question in asked]
    nulls = nothing.count(None)
    assert nothing == [None] * nulls + ["null"] * (len(nothing) - nulls)
    assert nulls == pytest.approx(len(asked) * 3493 / 4957, abs=1)
    assert [q["question_text"] for q in asked] == [q["question_text"] for q in right]
    assert all(question["answer_text"] not in (None, "null") for question in right)


def test_a_fact_is_asked_only_of_its_own_clause() -> None:
    """A question's person and relation stand together once in a passage, so that it has one answer."""
    teller = Teller("test")
    for _ in range(100):
        text, facts = teller.passage(3, 3)
        assert len({(fact.person, fact.relation) for fact in facts}) == len(facts)
        for fact in facts:
            assert text[fact.start : fact.start + len(fact.value)] == fact.value
            assert fact.person in teller.question(fact)


def test_other_people_have_facts_of_the_same_kind() -> None:
    """In many passages a relation is told of two people, so the relation alone does not give the answer."""
    teller = Teller("test")
    passages = [[fact.relation for fact in teller.passage(3, 3)[1]] for _ in range(100)]
    assert sum(len(set(relations)) < len(relations) for relations in passages) > 50
    assert all(len(relation.full) > 1 and len(relation.questions) > 1 for relation in RELATIONS)


def test_some_answers_have_characters_that_the_corpus_lacks(tmp_path: Path) -> None:
    """One to two answers in a hundred, for which [UNK] would stand."""
    drcd.make(tmp_path, 0, "small")
    answers = [question["answer_text"] for question in read(tmp_path / drcd.FILES["train"])["questions"]]
    assert 0.005 < sum(bool(set(answer) & set(RARE)) for answer in answers) / len(answers) < 0.03


# --- faults ----------------------------------------------------------------------------------------------------------


def spoil(split: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """A change of a file's content."""

    def work(folder: Path) -> None:
        file = folder / {**drcd.FILES, "answers": drcd.ANSWERS}[split]
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
        "hw7_test.json question 3: 'answer_text' is '林文德', expected null: the answers to the test set belong "
        "elsewhere",
    ),
    "outside": (field("answer_end", 999), "lie outside of the paragraph's, 0 to"),
    "before": (
        spoil("train", lambda content: content["questions"][3].update(answer_start=5, answer_end=4)),
        "hw7_train.json question 3: the answer's characters 5 to 4 lie outside",
    ),
    "exclusive end": (
        spoil("train", lambda content: content["questions"][3].update(
            answer_end=content["questions"][3]["answer_end"] - 1)),
        "expected the answer '",
    ),
    "twice": (
        spoil("dev", lambda content: content["questions"][3].update(id=2)),
        "hw7_dev.json question 3: 'id' 2 stands twice",
    ),
    "other answers": (
        lambda d: shutil.copy(d / "hw7_dev.json", d / drcd.ANSWERS),
        "answers/hw7_test.json: expected the questions of hw7_test.json, found other ids",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_check_names_the_fault(fault: str, source: Path, tmp_path: Path) -> None:
    """One sentence per fault, with the file, the question, what was found and what was expected."""
    folder = tmp_path / "drcd"
    shutil.copytree(source, folder)
    work, message = FAULTS[fault]
    work(folder)
    faults = drcd.check(folder)
    assert len(faults) == 1
    assert message in faults[0]


# --- packed text -----------------------------------------------------------------------------------------------------


def test_null_can_be_an_answer(source: Path, tmp_path: Path) -> None:
    """The text "null" in a paragraph to train on is an answer like any other; in the test set it means that there is
    none."""
    folder, packed = tmp_path / "drcd", tmp_path / "packed"
    shutil.copytree(source, folder)
    packed.mkdir()

    def say_null(content: dict[str, Any]) -> None:
        content["paragraphs"][content["questions"][0]["paragraph_id"]] = "他說null。"
        content["questions"] = content["questions"][:1]
        content["questions"][0].update(answer_text="null", answer_start=2, answer_end=5)

    spoil("train", say_null)(folder)
    assert drcd.check(folder) == []
    drcd.prepare(folder, packed, "folder")
    assert Asked(packed, "train").answers() == ["null"]
    assert {question.start for question in Asked(packed, "test").questions} == {-1}


@pytest.mark.parametrize("split", drcd.SPLITS)
def test_packed_text_is_the_file_s(split: str, source: Path, data_dir: Path) -> None:
    """Every paragraph, question and span comes back, in order; what has no answer has -1."""
    content, packed = read(source / drcd.FILES[split]), Asked(data_dir, split)
    assert packed.paragraphs == content["paragraphs"]
    for question, row in zip(content["questions"], packed.questions, strict=True):
        span = (-1, -1) if split == "test" else (question["answer_start"], question["answer_end"])
        assert row == (question["id"], question["paragraph_id"], question["question_text"], *span)


def test_ids_need_not_count_from_zero(source: Path, tmp_path: Path) -> None:
    """Any ids, and characters beyond 16 bits, are packed as they are."""
    folder, out = tmp_path / "drcd", tmp_path / "packed"
    shutil.copytree(source, folder)
    spoil("test", lambda content: content["questions"][0].update(id=70_000, question_text="𠮷在哪？"))(folder)
    (folder / drcd.ANSWERS).unlink()
    out.mkdir()
    assert drcd.check(folder) == []
    drcd.prepare(folder, out, "folder")
    first = Asked(out, "test").questions[0]
    assert (first.id, first.text) == (70_000, "𠮷在哪？")


# --- tokens and windows ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cutter() -> Tokenizer:
    """A vocabulary without 彧."""
    return tokenizer("林文德生於年的老師是誰，。？0123456789").backend_tokenizer


def texts(cutter: Tokenizer, question: str, paragraph: str, answer: str) -> Texts:
    start = paragraph.index(answer)
    return Texts([Question(0, 0, question, start, start + len(answer) - 1)], [paragraph], cutter, 40)


@pytest.mark.parametrize("answer", ["林彧德", "1874年", "74", "。"])
def test_answers_survive_the_way_to_tokens_and_back(answer: str, cutter: Tokenizer) -> None:
    """Characters to tokens and back gives the very answer, unknown characters and parts of numbers included."""
    read = texts(cutter, "誰？", "林文德生於1874年， 林彧德的老師是誰。", answer)
    assert read.original(0, *read.answer(0)) == answer


def test_every_window_with_the_whole_answer_is_drawn_and_no_other() -> None:
    """Brute force: all starts that a draw from 0 to 1 can give."""
    for tokens, first, last, window in ((10, 4, 5, 4), (10, 0, 1, 4), (10, 8, 9, 4), (3, 1, 1, 4), (10, 2, 7, 4)):
        drawn = {window_start(tokens, first, last, window, draw / 1000) for draw in range(1001)}
        fits = [s for s in range(max(0, tokens - window) + 1) if s <= first and last < s + window]
        assert drawn == (set(fits) or {first})


def test_every_window_without_the_answer_is_drawn_and_no_other() -> None:
    """Brute force again; None where each has some of it."""
    for tokens, first, last, window in ((12, 5, 6, 4), (12, 0, 1, 4), (12, 10, 11, 4), (3, 1, 1, 4), (10, 3, 5, 4)):
        drawn = {negative_start(tokens, first, last, window, draw / 1000) for draw in range(1000)}
        lacks = [s for s in range(max(0, tokens - window) + 1) if s + window <= first or s > last]
        assert drawn == (set(lacks) or {None})


def test_the_middle_is_the_sample_s() -> None:
    """max(0, min(middle of the answer - half a window, the last window's start))."""
    for tokens, first, last in ((300, 100, 103), (300, 2, 5), (300, 298, 299), (80, 40, 41)):
        expected = max(0, min((first + last) // 2 - 150 // 2, tokens - 150))
        assert window_start(tokens, first, last, 150, None) == expected


@pytest.mark.parametrize("placement", ["centre", "anywhere"])
def test_training_windows_hold_their_answers(placement: Any, data_dir: Path, cutter: Tokenizer) -> None:
    """What the marked tokens stand for is the answer, in a window of the stated size; a seed draws other windows."""
    asked = Asked(data_dir, "train")
    cutter = tokenizer("".join(sorted({c for text in asked.paragraphs for c in text}))).backend_tokenizer
    read, layout = Texts(asked.questions, asked.paragraphs, cutter, 10), Layout(MARKS, 10, 24)
    windows = OneWindow(read, layout, placement, 0.0, seed=0)
    tokens, kinds, real, first, last = windows[torch.arange(len(windows))]
    for row, number in enumerate(windows.order.tolist()):
        question = asked.questions[number]
        answer = asked.paragraphs[question.paragraph][question.start : question.end + 1]
        assert cutter.decode(tokens[row, first[row] : last[row] + 1].tolist()).replace(" ", "") == answer
        assert kinds[row].sum() == 24 + 1
    assert torch.equal(real.sum(1), kinds.sum(1) + 2 + torch.tensor([len(read.questions[n]) for n in windows.order]))
    moved = OneWindow(read, layout, placement, 0.0, seed=1)
    starts = [dict(zip(w.order.tolist(), w[torch.arange(96)][3].tolist(), strict=True)) for w in (windows, moved)]
    assert (starts[0] != starts[1]) == (placement == "anywhere")


def test_windows_without_the_answer_are_marked_so(data_dir: Path, cutter: Tokenizer) -> None:
    """The first token stands for no answer, in a window that has none of it; about as many as asked for."""
    asked = Asked(data_dir, "train")
    cutter = tokenizer("".join(sorted({c for text in asked.paragraphs for c in text}))).backend_tokenizer
    read = Texts(asked.questions, asked.paragraphs, cutter, 10)
    windows = OneWindow(read, Layout(MARKS, 10, 16), "anywhere", 0.5, seed=0)
    tokens, kinds, _, first, last = windows[torch.arange(len(windows))]
    assert 0.3 < float((last == 0).float().mean()) < 0.7
    for row, number in enumerate(windows.order.tolist()):
        question = asked.questions[number]
        answer = asked.paragraphs[question.paragraph][question.start : question.end + 1]
        shown = cutter.decode(tokens[row][kinds[row].bool()].tolist()).replace(" ", "")
        assert (first[row] == 0) == (last[row] == 0) == (answer not in shown)


@pytest.mark.parametrize("stride", [5, 8])
def test_windows_cover_a_paragraph(stride: int, cutter: Tokenizer) -> None:
    """Every token is in some window; with a stride below the window's size every short span is in one as a whole."""
    paragraph = "林文德生於1874年，林文德的老師是誰。"
    read = texts(cutter, "誰？", paragraph, "林文德")
    tokens, kinds, real, numbers, starts = EveryWindow(read, Layout(MARKS, 40, 8), stride)[torch.tensor([0])]
    assert set(numbers.tolist()) == {0}
    spans = {
        (start + a, start + b)
        for start, count in zip(starts.tolist(), (kinds.sum(1) - 1).tolist(), strict=True)
        for a in range(count) for b in range(a, count)
    }  # fmt: skip
    n = len(read.paragraphs[0])
    assert {(i, i) for i in range(n)} <= spans
    assert ({(i, i + 3) for i in range(n - 3)} <= spans) == (stride == 5)
    for row, start in enumerate(starts.tolist()):
        window = tokens[row][(kinds[row] == 1)][:-1]
        assert torch.equal(window, read.paragraphs[0][start : start + 8])
        assert tokens[row, 0] == MARKS.cls
        assert tokens[row][real[row] == 1][-1] == MARKS.sep


def test_long_questions_are_cut(cutter: Tokenizer) -> None:
    """To the stated tokens."""
    read = Texts([Question(0, 0, "老師" * 30, 0, 0)], ["林"], cutter, 7)
    assert len(read.questions[0]) == 7


def test_the_tables_of_relations_are_of_traditional_chinese() -> None:
    """No letter of English in what is told or asked."""
    teller = Teller("test", rare=0.5)
    for _ in range(50):
        text, facts = teller.passage(2, 4)
        assert not re.search("[a-z{}]", text + teller.question(facts[0]) + teller.again_said(facts[1]))
    assert LAB.data is drcd
