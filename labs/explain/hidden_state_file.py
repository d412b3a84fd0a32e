"""What a question-answering model makes of the texts of homework 9, as a file that figures are drawn from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from labs.explain.hidden_states import look_inside
from labs.shared.text.answering import predict_answers
from labs.shared.text.questions import Question
from labs.shared.text.reader import Reader

QUESTION, CONTEXT, ANSWER = range(3)
"""Kinds of tokens."""


@dataclass(frozen=True)
class Reading:
    """A question and its context as the model reads them, T tokens."""

    tokens: list[str]
    kinds: torch.Tensor
    """(T,): `QUESTION`, `CONTEXT`, or `ANSWER` for the part of the context that the model answers with, where that is
    found there as it was said."""
    hidden: torch.Tensor
    """(layers + 1, T, channels)."""
    attention: torch.Tensor
    """(layers, heads, T, T)."""


@dataclass(frozen=True)
class Readings:
    questions: list[Reading]
    character: torch.Tensor
    """(sentences, layers + 1, channels): what the character is in each sentence, layer by layer."""


def read_texts(reader: Reader, texts: Mapping[str, Any]) -> Readings:
    """Everything that the figures need; `texts` is the content of `labs.explain.texts`'s file."""
    questions = [_question(reader, **asked) for asked in texts["questions"]]
    character = []
    for sentence in texts["sentences"]:
        inside = look_inside(reader, sentence["text"], "")
        place = next(i for i, (start, end) in enumerate(inside.spans) if start <= sentence["start"] < end)
        character.append(inside.hidden[:, place])
    return Readings(questions, torch.stack(character))


def write(file: Path, readings: Readings) -> None:
    """Tensors, and the tokens as metadata."""
    tensors = {"character": readings.character}
    for number, reading in enumerate(readings.questions):
        tensors |= {f"{number}/{name}": getattr(reading, name) for name in ("kinds", "hidden", "attention")}
    tokens = json.dumps([reading.tokens for reading in readings.questions])
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file, metadata={"tokens": tokens})


def read(file: Path) -> Readings:
    with safe_open(file, "pt") as stored:
        tokens: Sequence[list[str]] = json.loads(stored.metadata()["tokens"])
        parts = [
            [stored.get_tensor(f"{number}/{name}") for name in ("kinds", "hidden", "attention")]
            for number in range(len(tokens))
        ]
        questions = [Reading(words, *tensors) for words, tensors in zip(tokens, parts, strict=True)]
        return Readings(questions, stored.get_tensor("character"))


def _question(reader: Reader, question: str, context: str) -> Reading:
    inside = look_inside(reader, question, context)
    answer = predict_answers(reader, [Question(0, 0, question, -1, -1)], [context])[0]
    kinds, first = inside.kinds.clone(), context.find(answer) if answer else -1
    for place, (start, end) in enumerate(inside.spans):
        if first >= 0 and kinds[place] == CONTEXT and first <= start < end <= first + len(answer):
            kinds[place] = ANSWER
    return Reading(inside.tokens, kinds, inside.hidden, inside.attention)
