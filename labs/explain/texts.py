"""Texts of homework 9's second half: what a question-answering model is looked into with.

`texts.json`, beside the pictures, is of our own format, as the course gave no texts but a model's finished states:
`questions`, a list of `{"question": .., "context": ..}`, and `sentences`, a list of `{"text": .., "start": ..,
"meaning": ..}`, where `start` is the place of the character `character`, which means one thing or another. The course
has three questions, and ten sentences in which the character of "apple" is a fruit or a company; here, 年 is the year
of a date, or a part of the words for old age.
"""

import json
from collections import Counter
from itertools import count
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from labs.core.errors import sentences
from labs.shared.text.passages import Fact, PassageGenerator

FILE = "texts.json"
QUESTIONS, SENTENCES = 3, 10
CHARACTER, MEANINGS = "年", ("date", "old age")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Asked(_Strict):
    question: str = Field(min_length=1)
    context: str = Field(min_length=1)


class Sentence(_Strict):
    text: str
    start: int = Field(ge=0)
    meaning: str


class Texts(_Strict):
    """Content of the file."""

    questions: list[Asked] = Field(min_length=1)
    character: str = Field(min_length=1, max_length=1)
    sentences: list[Sentence] = Field(min_length=2)


def make(folder: Path, seed: int) -> None:
    """Write questions about invented lives, and sentences of both meanings in turn."""
    teller = PassageGenerator(f"{seed} explain")
    asked = []
    for _ in range(QUESTIONS):
        context, facts = teller.passage(people=2, facts=3)
        asked.append({"question": teller.question(teller.rng.choice(facts)), "context": context})
    told: list[dict[str, object]] = []
    while len(told) < SENTENCES:
        meaning = MEANINGS[len(told) % 2]
        drawn = (fact for _ in count() for fact in teller.passage(people=4, facts=4)[1])
        fact = next(fact for fact in drawn if _meaning(fact) == meaning)
        text = teller.rng.choice(fact.relation.full).format(s=fact.person, v=fact.value)
        told.append({"text": text, "start": text.index(CHARACTER), "meaning": meaning})
    content = {"questions": asked, "character": CHARACTER, "sentences": told}
    (folder / FILE).write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


def check(folder: Path) -> list[str]:
    """One sentence per fault of the file; empty if it can be used, or is not there."""
    if not (folder / FILE).exists():
        return []
    try:
        texts = read(folder)
    except ValidationError as error:
        return [f"{FILE}: {sentence}" for sentence in sentences(error, Texts.model_fields)]
    except UnicodeDecodeError:
        return [f"{FILE} is not UTF-8"]
    if texts.character.isspace():
        return [f"{FILE}: 'character' is white space, which has no meaning"]
    counts = Counter(sentence.meaning for sentence in texts.sentences)
    if len(counts) < 2 or max(counts.values()) < 2:
        found = ", ".join(f"{meaning!r} in {n}" for meaning, n in counts.items())
        return [f"{FILE}: expected two meanings or more, one of them in two sentences, to compare; found {found}"]
    return [
        f"{FILE}: sentence {number} must have {texts.character!r} at start {sentence.start}: {sentence.text!r}"
        for number, sentence in enumerate(texts.sentences)
        if sentence.text[sentence.start : sentence.start + 1] != texts.character
    ]


def read(folder: Path) -> Texts:
    return Texts.model_validate_json((folder / FILE).read_text(encoding="utf-8"))


def _meaning(fact: Fact) -> str | None:
    """What 年 means in the clauses of a fact."""
    if fact.relation.value == "year":
        return "date"
    return "old age" if "晚年" in fact.relation.full[0] else None
