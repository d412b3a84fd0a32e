"""Questions about Chinese paragraphs, answered by a span of them: the folder of homework 7, its checks, and invented
lives in it.

`hw7_train.json`, `hw7_dev.json` and `hw7_test.json` each hold an object with `paragraphs`, a list of strings, and
`questions`, a list of `{id, paragraph_id, question_text, answer_text, answer_start, answer_end}`. Offsets count
characters and `answer_end` is the answer's last one. The test set's answers are null, or the string "null".
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labs.core import shards
from labs.shared.text import texts
from labs.shared.text.passages import Teller

SPLITS = ("train", "dev", "test")
FILES = {split: f"hw7_{split}.json" for split in SPLITS}
ANSWERS = "answers/hw7_test.json"
FIELDS = {
    "id": int,
    "paragraph_id": int,
    "question_text": str,
    "answer_text": str,
    "answer_start": int,
    "answer_end": int,
}
NO_ANSWER = (None, "null")
"""What stands in the test set in place of an answer and of its offsets; the course has both."""
COUNTS = {
    "tiny": {"train": (40, 96), "dev": (12, 24), "test": (16, 32)},
    "small": {"train": (2500, 6000), "dev": (200, 500), "test": (300, 900)},
    "course": {"train": (10524, 31690), "dev": (1490, 4131), "test": (1586, 4957)},
}
"""Paragraphs and questions of each split; the course's own are the last ones."""
PEOPLE, FACTS = (2, 3, 3), 3
"""How many people a paragraph has, drawn at random, and facts of each."""
RARE = 0.05
"""Share of names with a character that the corpus of `bert-pretrain` lacks."""
NULLS = 3493 / 4957
"""Share of test questions, the first ones, whose missing answer is null; in the rest it is the string."""


class Question(NamedTuple):
    """A question as it is packed; the test set's answers are missing: start and end are -1."""

    id: int
    paragraph: int
    text: str
    start: int
    end: int
    """The answer's last character, inclusive."""


def make(folder: Path, seed: int, size: str) -> None:
    """Write invented lives of `passages.py` in the course's format; the test set's answers go to `answers/`."""
    for split, (paragraphs, questions) in COUNTS[size].items():
        made = _invented(Teller(f"{seed} {split}", RARE), paragraphs, questions)
        if split == "test":
            _write(folder / ANSWERS, made)
            for number, question in enumerate(made["questions"]):
                nothing = NO_ANSWER[number >= NULLS * questions]
                question |= dict.fromkeys(("answer_text", "answer_start", "answer_end"), nothing)
        _write(folder / FILES[split], made)


def check(folder: Path) -> list[str]:
    """One sentence per fault of a folder in the course's format; empty if it can be trained on."""
    faults = [fault for split in SPLITS for fault in _check_file(folder / FILES[split], answered=split != "test")]
    if not faults and (folder / ANSWERS).exists():
        faults = [f"answers/{fault}" for fault in _check_file(folder / ANSWERS, answered=True)]
        if not faults and _ids(folder / FILES["test"]) != _ids(folder / ANSWERS):
            faults.append(f"{ANSWERS}: expected the questions of {FILES['test']}, found other ids")
    return faults


def prepare(folder: Path, out: Path, origin: Any) -> dict[str, Any]:
    """Pack each split: the texts `<split>_paragraphs` and `<split>_questions` (see `texts.py`), and in `<split>`
    a row a question: `id`, `paragraph`, `start` and `end` (inclusive), -1 where there is no answer."""
    splits: dict[str, Iterator[shards.Batch]] = {}
    for split in SPLITS:
        content = _read(folder / FILES[split])
        rows = np.array([_row(question) for question in content["questions"]])
        splits[split] = iter([dict(zip(_ROW, rows.T, strict=True))])
        splits |= texts.columns(f"{split}_paragraphs", content["paragraphs"])
        splits |= texts.columns(f"{split}_questions", [question["question_text"] for question in content["questions"]])
    return shards.pack(out, splits, origin=origin)


class Asked:
    """A packed split in memory: its paragraphs, and its questions in the file's order."""

    def __init__(self, data_dir: Path, split: str) -> None:
        self.paragraphs = texts.read(data_dir, f"{split}_paragraphs")
        rows = [column.all().tolist() for column in shards.ArrowDataset(data_dir, split, _ROW).columns]
        asked = zip(*rows, texts.read(data_dir, f"{split}_questions"), strict=True)
        self.questions = [Question(i, paragraph, text, start, end) for i, paragraph, start, end, text in asked]

    def answers(self) -> list[str]:
        """The right answers."""
        return [self.paragraphs[q.paragraph][q.start : q.end + 1] for q in self.questions]


def read_answers(data_dir: Path) -> tuple[list[str], list[tuple[str, str]]] | None:
    """The test set's answers, and each one's question and paragraph; None where they are not known."""
    path = data_dir / ANSWERS
    if not path.exists():
        return None
    content = _read(path)
    asked = [(q["question_text"], content["paragraphs"][q["paragraph_id"]]) for q in content["questions"]]
    return [question["answer_text"] for question in content["questions"]], asked


# --- files -----------------------------------------------------------------------------------------------------------

_ROW = ("id", "paragraph", "start", "end")


def _row(question: dict[str, Any]) -> tuple[int, int, int, int]:
    answered = question["answer_start"] not in NO_ANSWER  # "null" is also a text that can be an answer
    span = (question["answer_start"], question["answer_end"]) if answered else (-1, -1)
    return question["id"], question["paragraph_id"], *span


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _ids(path: Path) -> list[int]:
    return [question["id"] for question in _read(path)["questions"]]


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _invented(teller: Teller, paragraphs: int, questions: int) -> dict[str, Any]:
    """So many paragraphs, with equally many questions each, as far as that goes."""
    lives, asked = list[str](), list[dict[str, Any]]()
    for number in range(paragraphs):
        text, facts = teller.passage(teller.rng.choice(PEOPLE), FACTS)
        lives.append(text)
        share = (number + 1) * questions // paragraphs - number * questions // paragraphs
        for fact in teller.rng.sample(facts, share):
            last = fact.start + len(fact.value) - 1
            values = (len(asked), number, teller.question(fact), fact.value, fact.start, last)
            asked.append(dict(zip(FIELDS, values, strict=True)))
    return {"questions": asked, "paragraphs": lives}


def _check_file(path: Path, answered: bool) -> list[str]:
    try:
        content = _read(path)
        json.dumps(content, ensure_ascii=False).encode()  # JSON can say half a character, which no text can hold
    except FileNotFoundError:
        return [f"{path} is missing"]
    except (UnicodeError, json.JSONDecodeError) as error:
        return [f"{path.name}: expected JSON in UTF-8, found a fault: {error}"]
    for key in ("questions", "paragraphs"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list) or not content[key]:
            return [f"{path.name}: expected an object with {key!r}, a list that is not empty"]
    if not all(isinstance(paragraph, str) and paragraph.strip() for paragraph in content["paragraphs"]):
        return [f"{path.name}: 'paragraphs' must hold strings that are not empty"]
    faults, seen = [], set[int]()
    for number, question in enumerate(content["questions"]):
        fault = _fault(question, content["paragraphs"], answered)
        if not fault and question["id"] in seen:
            fault = f"'id' {question['id']} stands twice"
        if fault:
            faults.append(f"{path.name} question {number}: {fault}")
        else:
            seen.add(question["id"])
    return faults


def _fault(question: Any, paragraphs: list[str], answered: bool) -> str | None:
    """What is wrong with a question; where answers are not wanted, none may stand."""
    if not isinstance(question, dict) or set(FIELDS) - set(question):
        missing = ", ".join(sorted(set(FIELDS) - set(question))) if isinstance(question, dict) else "all"
        return f"expected the fields {', '.join(FIELDS)}, found without {missing}"
    for name, kind in FIELDS.items():
        value = question[name]
        optional = name.startswith("answer") and not answered
        if optional and value not in NO_ANSWER:
            return f"{name!r} is {value!r}, expected null: the answers to the test set belong elsewhere"
        if not optional and (not isinstance(value, kind) or isinstance(value, bool)):
            return f"{name!r} is {value!r}, expected {'a string' if kind is str else 'an integer'}"
    if not 0 <= question["id"] < 2**63:
        return f"'id' is {question['id']}, expected 0 to {2**63 - 1}"
    number = question["paragraph_id"]
    if not 0 <= number < len(paragraphs):
        return f"'paragraph_id' is {number}, expected 0 to {len(paragraphs) - 1}"
    if not question["question_text"].strip():
        return "'question_text' is empty"
    return _wrong_span(question, paragraphs[number]) if answered else None


def _wrong_span(question: dict[str, Any], paragraph: str) -> str | None:
    start, end, answer = (question[name] for name in ("answer_start", "answer_end", "answer_text"))
    if not 0 <= start <= end < len(paragraph):
        return f"the answer's characters {start} to {end} lie outside of the paragraph's, 0 to {len(paragraph) - 1}"
    found = paragraph[start : end + 1]
    return None if found == answer else f"characters {start} to {end} are {found!r}, expected the answer {answer!r}"
