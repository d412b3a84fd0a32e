"""From the logits of a paragraph's windows to the text of an answer."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch

from labs.shared.text.questions import Question, SlidingWindows, TokenizedQuestions
from labs.shared.text.reader import Reader
from labs.shared.text.span_search import joint_search, separate_search

BATCH = 64
"""Questions whose windows go through the reader at once."""


class Answer(NamedTuple):
    """An answer and its score, the sum of its start and end logit."""

    score: float
    text: str


def best_answers(
    reader: Reader, texts: TokenizedQuestions, batches: Iterable[tuple[torch.Tensor, ...]]
) -> dict[int, Answer]:
    """Index of a question -> its answer, the one with the highest score among all its windows.

    Args:
        batches: of `SlidingWindows` over `texts`, on the reader's device.
    """
    settings, best = reader.settings, dict[int, Answer]()
    for input_ids, token_type_ids, attention_mask, numbers, starts in batches:
        logits = reader(input_ids, token_type_ids, attention_mask)

        # 1. An answer lies in the window: behind [CLS] question [SEP] and before the last [SEP].
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        lengths = attention_mask.sum(1)
        window_offsets = lengths - token_type_ids.sum(1)
        in_window = token_type_ids.bool() & (positions < lengths[:, None] - 1)

        # 2. A reader that was trained with negative windows compares each span with [CLS], the answer "not in this
        # window", which makes windows comparable; without a threshold, so that every question gets an answer.
        if settings.negative_fraction:
            # score = (start logit + end logit) - (start logit + end logit of [CLS])   (arXiv:1810.04805, section 4.3)
            logits = (logits - logits[..., :1]).masked_fill(~in_window[:, None], -math.inf)

        # 3. The best span of each window: score = start logit + end logit.
        if settings.search == "joint":
            scores, first, last = joint_search(logits, in_window, settings.max_answer_tokens)
        else:
            scores, first, last = separate_search(logits)

        # 4. The best window of each question, and the text of its span.
        columns = (numbers, scores, first, last, starts - window_offsets)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for row, (number, score, first_token, last_token, to_paragraph) in enumerate(rows):
            if number in best and best[number].score >= score:
                continue
            if score == -math.inf:  # a paragraph without tokens has no span that is allowed
                text = ""
            elif settings.search == "joint":
                text = texts.span_text(number, first_token + to_paragraph, last_token + to_paragraph)
            else:
                span = input_ids[row, first_token : last_token + 1].tolist()
                text = reader.tokenizer.decode(span, skip_special_tokens=False)
            best[number] = Answer(score, text.replace(" ", ""))
    return best


def predict_answers(reader: Reader, questions: list[Question], paragraphs: list[str]) -> list[str]:
    """A trained reader's answers, in the order of the questions."""
    settings = reader.settings
    texts = TokenizedQuestions(questions, paragraphs, reader.tokenizer, settings.question_tokens)
    windows = SlidingWindows(texts, reader.special_tokens, settings.paragraph_tokens, settings.doc_stride)
    device = next(reader.parameters()).device
    batches = (windows[numbers] for numbers in torch.arange(len(texts)).split(BATCH))
    with torch.no_grad():
        answers = best_answers(reader, texts, (tuple(column.to(device) for column in batch) for batch in batches))
    return [answers[number].text for number in range(len(texts))]
