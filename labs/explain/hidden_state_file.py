"""A file with the hidden states and attention weights that the figures of homework 9's second half are drawn from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from labs.explain.hidden_states import encode
from labs.shared.text.answering import predict_answers
from labs.shared.text.questions import Question
from labs.shared.text.reader import Reader

QUESTION, CONTEXT, ANSWER = range(3)
"""Segments of the tokens."""


@dataclass(frozen=True)
class QuestionStates:
    """States of a question and its context, T tokens."""

    tokens: list[str]
    segments: torch.Tensor
    """(T,): `QUESTION`, `CONTEXT`, or `ANSWER` for the tokens of the context that are the predicted answer. No token is
    `ANSWER` if the context does not contain the prediction."""
    hidden_states: torch.Tensor
    """(layers + 1, T, channels)."""
    attentions: torch.Tensor
    """(layers, heads, T, T)."""


@dataclass(frozen=True)
class TextStates:
    """States of all texts."""

    questions: list[QuestionStates]
    character: torch.Tensor
    """(sentences, layers + 1, channels): hidden states of the character in each sentence."""


def encode_texts(reader: Reader, texts: Mapping[str, Any]) -> TextStates:
    """The states of the texts in `labs.explain.texts`'s file, of which `texts` is the content."""
    questions = [_encode_question(reader, **pair) for pair in texts["questions"]]
    character = []
    for sentence in texts["sentences"]:
        output = encode(reader, sentence["text"], "")
        token = next(i for i, (start, end) in enumerate(output.offsets) if start <= sentence["start"] < end)
        character.append(output.hidden_states[:, token])
    return TextStates(questions, torch.stack(character))


def write(file: Path, states: TextStates) -> None:
    """Write the tensors, with the tokens as metadata."""
    tensors = {"character": states.character}
    for number, question in enumerate(states.questions):
        for name in ("segments", "hidden_states", "attentions"):
            tensors[f"{number}/{name}"] = getattr(question, name)
    tokens = json.dumps([question.tokens for question in states.questions])
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file, metadata={"tokens": tokens})


def read(file: Path) -> TextStates:
    """Read what `write` wrote."""
    with safe_open(file, "pt") as stored:
        questions = []
        for number, tokens in enumerate(json.loads(stored.metadata()["tokens"])):
            names = [f"{number}/{name}" for name in ("segments", "hidden_states", "attentions")]
            questions.append(QuestionStates(tokens, *(stored.get_tensor(name) for name in names)))
        return TextStates(questions, stored.get_tensor("character"))


def _encode_question(reader: Reader, question: str, context: str) -> QuestionStates:
    output = encode(reader, question, context)
    answer = predict_answers(reader, [Question(0, 0, question, -1, -1)], [context])[0]
    segments, first = output.token_type_ids.clone(), context.find(answer) if answer else -1
    last = first + len(answer)
    for token, (start, end) in enumerate(output.offsets):
        if first >= 0 and segments[token] == CONTEXT and first <= start < end <= last:
            segments[token] = ANSWER
    return QuestionStates(output.tokens, segments, output.hidden_states, output.attentions)
