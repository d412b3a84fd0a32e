"""From the scores of a paragraph's windows to the text of an answer."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch

from labs.shared.text.drcd import Question
from labs.shared.text.span_search import joint, separate
from labs.shared.text.windows import EveryWindow, Reader, Texts

BATCH = 64
"""Questions whose windows are read at once."""


class Found(NamedTuple):
    """An answer, and the sum of its ends' scores."""

    score: float
    text: str


def answer(reader: Reader, texts: Texts, batches: Iterable[tuple[torch.Tensor, ...]]) -> dict[int, Found]:
    """Number of a question -> its answer: the best one of all its windows.

    Args:
        batches: of an `EveryWindow`, on the reader's device.
    """
    rules, found = reader.rules, dict[int, Found]()
    for tokens, kinds, real, numbers, starts in batches:
        logits = reader(tokens, kinds, real)
        before = real.sum(1) - kinds.sum(1)  # [CLS] question [SEP]
        place = torch.arange(tokens.shape[1], device=tokens.device)
        inside = kinds.bool() & (place < real.sum(1, keepdim=True) - 1)
        if rules.negatives:  # how much likelier than that the answer is not here: so windows can be compared
            logits = (logits - logits[..., :1]).masked_fill(~inside[:, None], -math.inf)
        best = joint(logits, inside, rules.longest) if rules.search == "joint" else separate(logits)
        columns = [column.tolist() for column in (numbers, *best, starts - before)]
        for row, (number, score, first, last, shift) in enumerate(zip(*columns, strict=True)):
            if number in found and found[number].score >= score:
                continue
            if score == -math.inf:  # a paragraph without tokens has no place that is allowed
                text = ""
            elif rules.search == "joint":
                text = texts.original(number, first + shift, last + shift)
            else:
                text = reader.tokenizer.decode(tokens[row, first : last + 1].tolist(), skip_special_tokens=False)
            found[number] = Found(score, text.replace(" ", ""))
    return found


def answers(reader: Reader, questions: list[Question], paragraphs: list[str]) -> list[str]:
    """What a trained reader says, in the questions' order."""
    texts = Texts(questions, paragraphs, reader.tokenizer, reader.rules.question_tokens)
    windows = EveryWindow(texts, reader.layout, reader.rules.doc_stride)
    device = next(reader.parameters()).device
    parts = (windows[numbers] for numbers in torch.arange(len(texts)).split(BATCH))
    with torch.no_grad():
        found = answer(reader, texts, (tuple(column.to(device) for column in part) for part in parts))
    return [found[number].text for number in range(len(texts))]
