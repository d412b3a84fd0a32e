"""Chinese paragraphs and questions answered by a span of them: the folder of homework 7, its checks, embedded data.

`hw7_train.json`, `hw7_dev.json` and `hw7_test.json` each hold an object with `paragraphs`, a list of strings, and
`questions`, a list of `{id, paragraph_id, question_text, answer_text, answer_start, answer_end}`. The offsets count
characters, and `answer_end` is inclusive. The test set's answers are null, or the string "null".
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labs.bert import packed_texts
from labs.core import shards
from labs.core.errors import BadInput
from labs.core.listing import find, required
from labs.core.text_file import read_json
from labs.shared.text.passages import PassageGenerator
from labs.shared.text.questions import Question

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
"""Values of an answer and of its offsets in the test set; the course's file has both."""


class Counts(NamedTuple):
    """Size of a generated split."""

    paragraphs: int
    questions: int

    def __str__(self) -> str:
        return f"{self.questions} questions about {self.paragraphs} paragraphs"


COUNTS = {
    "tiny": {"train": Counts(40, 96), "dev": Counts(12, 24), "test": Counts(16, 32)},
    "small": {"train": Counts(2500, 6000), "dev": Counts(200, 500), "test": Counts(300, 900)},
    "course": {"train": Counts(10524, 31690), "dev": Counts(1490, 4131), "test": Counts(1586, 4957)},
}
"""Size -> paragraphs and questions of each split; those of `course` are the course's own."""
PEOPLE, FACTS = (2, 3, 3), 3
"""Numbers of people of a paragraph, one of which is drawn at random, and facts about each person."""
RARE_FRACTION = 0.05
"""Fraction of names with a character that the corpus of `bert-pretrain` lacks."""
NULL_FRACTION = 3493 / 4957
"""Fraction of the test questions, the first ones, whose answer is null; in the others it is the string "null"."""


def make(folder: Path, seed: int, size: str) -> None:
    """Write generated passages in the course's format; the test set's answers go to `answers/`."""
    for split, (paragraphs, questions) in COUNTS[size].items():
        content = _generate(PassageGenerator(f"{seed} {split}", RARE_FRACTION), paragraphs, questions)
        if split == "test":
            _write(folder / ANSWERS, content)
            for number, question in enumerate(content["questions"]):
                no_answer = None if number < NULL_FRACTION * questions else "null"
                question |= dict.fromkeys(("answer_text", "answer_start", "answer_end"), no_answer)
        _write(folder / FILES[split], content)


def check(folder: Path) -> list[str]:
    """One sentence per fault of a folder in the course's format; empty if it can be trained on."""
    faults = [fault for split in SPLITS for fault in _check_file(folder, FILES[split], answered=split != "test")]
    if not faults and (folder / ANSWERS).exists():
        faults = [f"answers/{fault}" for fault in _check_file(folder, ANSWERS, answered=True)]
        if not faults and _ids(required(folder, FILES["test"])) != _ids(folder / ANSWERS):
            faults.append(f"{ANSWERS}: expected the questions of {FILES['test']}, found other ids")
    return faults


def prepare(folder: Path, out: Path, origin: Any) -> dict[str, Any]:
    """Pack each split: the texts `<split>_paragraphs` and `<split>_questions` (see `packed_texts.py`), and in `<split>`
    a row for each question: `id`, `paragraph`, `start` and `end` (inclusive), -1 where there is no answer."""
    splits: dict[str, Iterator[shards.Batch]] = {}
    for split in SPLITS:
        content = _read(required(folder, FILES[split]))
        rows = np.array([_row(question) for question in content["questions"]])
        splits[split] = iter([dict(zip(_COLUMNS, rows.T, strict=True))])
        splits |= packed_texts.columns(f"{split}_paragraphs", content["paragraphs"])
        question_texts = [question["question_text"] for question in content["questions"]]
        splits |= packed_texts.columns(f"{split}_questions", question_texts)
    return shards.pack(out, splits, origin=origin)


class Split:
    """A packed split in memory: its paragraphs, and its questions in the file's order."""

    def __init__(self, data_dir: Path, split: str) -> None:
        self.paragraphs = packed_texts.read(data_dir, f"{split}_paragraphs")
        columns = [column.all().tolist() for column in shards.ArrowDataset(data_dir, split, _COLUMNS).columns]
        rows = zip(*columns, packed_texts.read(data_dir, f"{split}_questions"), strict=True)
        self.questions = [Question(number, paragraph, text, start, end) for number, paragraph, start, end, text in rows]

    def answers(self) -> list[str]:
        """The reference answers."""
        return [self.paragraphs[q.paragraph][q.start : q.end + 1] for q in self.questions]


def read_answers(data_dir: Path) -> tuple[list[str], list[tuple[str, str]]] | None:
    """The test set's answers, and (question, paragraph) of each; None where the answers are not known."""
    path = data_dir / ANSWERS
    if not path.exists():
        return None
    content = _read(path)
    pairs = [(q["question_text"], content["paragraphs"][q["paragraph_id"]]) for q in content["questions"]]
    return [question["answer_text"] for question in content["questions"]], pairs


# --- files -----------------------------------------------------------------------------------------------------------

_COLUMNS = ("id", "paragraph", "start", "end")


def _row(question: dict[str, Any]) -> tuple[int, int, int, int]:
    answered = question["answer_start"] not in NO_ANSWER  # "null" can also be an answer's text
    span = (question["answer_start"], question["answer_end"]) if answered else (-1, -1)
    return question["id"], question["paragraph_id"], *span


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = read_json(path)
    return content


def _ids(path: Path) -> list[int]:
    return [question["id"] for question in _read(path)["questions"]]


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _generate(generator: PassageGenerator, paragraphs: int, questions: int) -> dict[str, Any]:
    """Content of a file: as many passages as `paragraphs`, and `questions` spread evenly over them."""
    texts, rows = list[str](), list[dict[str, Any]]()
    for number in range(paragraphs):
        text, facts = generator.passage(generator.rng.choice(PEOPLE), FACTS)
        texts.append(text)
        count = (number + 1) * questions // paragraphs - number * questions // paragraphs
        for fact in generator.rng.sample(facts, count):
            last = fact.start + len(fact.value) - 1
            values = (len(rows), number, generator.question(fact), fact.value, fact.start, last)
            rows.append(dict(zip(FIELDS, values, strict=True)))
    return {"questions": rows, "paragraphs": texts}


def _check_file(folder: Path, name: str, answered: bool) -> list[str]:
    path = find(folder, name)
    if path is None:
        return [f"{folder / name} is missing"]
    try:
        content = read_json(path)
    except BadInput as error:
        return [str(error)]
    for key in ("questions", "paragraphs"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list) or not content[key]:
            return [f"{path.name}: expected an object with {key!r}, a list that is not empty"]
    if not all(isinstance(paragraph, str) and paragraph.strip() for paragraph in content["paragraphs"]):
        return [f"{path.name}: 'paragraphs' must hold strings that are not empty"]
    faults, seen = [], set[int]()
    for number, question in enumerate(content["questions"]):
        fault = _fault(question, content["paragraphs"], answered)
        if not fault and question["id"] in seen:
            fault = f"'id' {question['id']} occurs twice"
        if fault:
            faults.append(f"{path.name} question {number}: {fault}")
        else:
            seen.add(question["id"])
    return faults


def _fault(question: Any, paragraphs: list[str], answered: bool) -> str | None:
    """The first fault of a question, None if there is none; with `answered=False` it must have no answer."""
    if not isinstance(question, dict) or set(FIELDS) - set(question):
        missing = ", ".join(sorted(set(FIELDS) - set(question))) if isinstance(question, dict) else "all"
        return f"expected the fields {', '.join(FIELDS)}, found without {missing}"
    for name, kind in FIELDS.items():
        value = question[name]
        optional = name.startswith("answer") and not answered
        if optional and value not in NO_ANSWER:
            return f"{name!r} is {value!r}, expected null: the test set's answers belong in {ANSWERS}"
        if not optional and (not isinstance(value, kind) or isinstance(value, bool)):
            return f"{name!r} is {value!r}, expected {'a string' if kind is str else 'an integer'}"
    if not 0 <= question["id"] < 2**63:
        return f"'id' is {question['id']}, expected 0 to {2**63 - 1}"
    number = question["paragraph_id"]
    if not 0 <= number < len(paragraphs):
        return f"'paragraph_id' is {number}, expected 0 to {len(paragraphs) - 1}"
    if not question["question_text"].strip():
        return "'question_text' is empty"
    return _span_fault(question, paragraphs[number]) if answered else None


def _span_fault(question: dict[str, Any], paragraph: str) -> str | None:
    start, end, answer = (question[name] for name in ("answer_start", "answer_end", "answer_text"))
    if not 0 <= start <= end < len(paragraph):
        return f"the answer's characters {start} to {end} are outside the paragraph's, 0 to {len(paragraph) - 1}"
    found = paragraph[start : end + 1]
    return None if found == answer else f"characters {start} to {end} are {found!r}, expected the answer {answer!r}"
