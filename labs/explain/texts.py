"""Texts of homework 9's second half, whose hidden states in a question-answering model are analysed.

`texts.json`, in the folder of the images, is a format of this program, as the course gives no texts but a model's
hidden states: `questions` is a list of `{"question": .., "context": ..}`, `sentences` a list of `{"text": ..,
"start": .., "meaning": ..}`, where `start` is the position in the text of the ambiguous character `character`. The
course has three questions, and ten sentences in which the character of "apple" means a fruit or a company. In the
generated texts the character is 年, the year of a date or a part of the words for old age.
"""

import json
from collections import Counter
from itertools import count
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from labs.core import errors
from labs.core.listing import find, required
from labs.core.text_file import read_json
from labs.shared.text.passages import Fact, PassageGenerator

FILE = "texts.json"
QUESTIONS, SENTENCES = 3, 10
CHARACTER, MEANINGS = "年", ("date", "old age")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class QuestionAndContext(_Strict):
    question: str = Field(min_length=1)
    context: str = Field(min_length=1)


class Sentence(_Strict):
    text: str
    start: int = Field(ge=0)
    meaning: str


class Texts(_Strict):
    """Content of the file."""

    questions: list[QuestionAndContext] = Field(min_length=1)
    character: str = Field(min_length=1, max_length=1)
    sentences: list[Sentence] = Field(min_length=2)


def make(folder: Path, seed: int) -> None:
    """Write questions about generated biographies, and sentences of both meanings in turn."""
    generator = PassageGenerator(f"{seed} explain")
    questions = []
    for _ in range(QUESTIONS):
        context, facts = generator.passage(people=2, facts=3)
        questions.append({"question": generator.question(generator.rng.choice(facts)), "context": context})
    sentences: list[dict[str, object]] = []
    while len(sentences) < SENTENCES:
        meaning = MEANINGS[len(sentences) % 2]
        candidates = (fact for _ in count() for fact in generator.passage(people=4, facts=4)[1])
        fact = next(fact for fact in candidates if _meaning(fact) == meaning)
        text = generator.rng.choice(fact.relation.full).format(s=fact.person, v=fact.value)
        sentences.append({"text": text, "start": text.index(CHARACTER), "meaning": meaning})
    content = {"questions": questions, "character": CHARACTER, "sentences": sentences}
    (folder / FILE).write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


def check(folder: Path) -> list[str]:
    """One sentence per fault of the file; empty if it has none or does not exist."""
    if not find(folder, FILE):
        return []
    try:
        texts = read(folder)
    except ValidationError as error:
        return [f"{FILE}: {sentence}" for sentence in errors.sentences(error, Texts.model_fields)]
    except errors.BadInput as error:
        return [str(error)]
    if texts.character.isspace():
        return [f"{FILE}: 'character' is white space, expected a character that has a meaning"]
    counts = Counter(sentence.meaning for sentence in texts.sentences)
    if len(counts) < 2 or max(counts.values()) < 2:
        found = ", ".join(f"{meaning!r} in {n}" for meaning, n in counts.items())
        return [f"{FILE}: expected at least two meanings, one of them in at least two sentences; found {found}"]
    return [
        f"{FILE}: sentence {number} must have {texts.character!r} at start {sentence.start}: {sentence.text!r}"
        for number, sentence in enumerate(texts.sentences)
        if sentence.text[sentence.start : sentence.start + 1] != texts.character
    ]


def read(folder: Path) -> Texts:
    """The content of the file.

    Raises:
        ValidationError: it has another format.
        BadInput: it is not JSON in UTF-8.
    """
    return Texts.model_validate(read_json(required(folder, FILE)))


def _meaning(fact: Fact) -> str | None:
    """What 年 means in the clauses of a fact; None if they do not contain it."""
    if fact.relation.value == "year":
        return "date"
    return "old age" if "晚年" in fact.relation.full[0] else None
