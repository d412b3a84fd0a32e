"""Questions and windows of their paragraphs as a reading model takes them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from labs.core.loader import BatchDataset
from labs.shared.text.drcd import Question
from labs.shared.text.pretrained import Marks

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

Placement = Literal["centre", "anywhere"]
Search = Literal["separate", "joint"]


@dataclass(frozen=True)
class Rules:
    """How an answer is looked for; the fields are those of the lab's config."""

    question_tokens: int
    paragraph_tokens: int
    doc_stride: int
    search: Search
    longest: int
    negatives: float
    """Share of the training windows that had no answer."""


class Reader(nn.Module):
    """Models whose scores are averaged, how they cut text into tokens, and how they look for an answer."""

    def __init__(self, members: list["PreTrainedModel"], tokenizer: "Tokenizer", marks: Marks, rules: Rules) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.tokenizer, self.rules = tokenizer, rules
        self.layout = Layout(marks, rules.question_tokens, rules.paragraph_tokens)

    def forward(self, tokens: torch.Tensor, kinds: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Tokens (B, T), their kinds and which are real -> logits (B, 2, T) of an answer's first and last tokens."""
        found = [member(**model_inputs(member, tokens, kinds, real)) for member in self.members]
        return torch.stack([torch.stack([f.start_logits, f.end_logits], 1) for f in found]).mean(0)


def model_inputs(
    model: nn.Module, tokens: torch.Tensor, kinds: torch.Tensor, real: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Named as transformers wants them; kinds of tokens only for a model that knows any."""
    inputs = {"input_ids": tokens, "attention_mask": real}
    return inputs | ({"token_type_ids": kinds} if getattr(model.config, "type_vocab_size", 0) > 1 else {})


@dataclass(frozen=True)
class Layout:
    """[CLS] question [SEP] window [SEP], padded."""

    marks: Marks
    question: int
    """Most tokens of a question; what is longer is cut."""
    window: int
    """Tokens of a window of the paragraph."""

    def columns(self, pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, ...]:
        """Pairs of a question and a window -> tokens, kinds (0 question, 1 window), which are real: (B, T) each."""
        cls, sep = torch.tensor([self.marks.cls]), torch.tensor([self.marks.sep])
        rows = [torch.cat([cls, question, sep, window, sep]) for question, window in pairs]
        tokens = pad_sequence(rows, batch_first=True, padding_value=self.marks.pad)
        place = torch.arange(tokens.shape[1])
        real = (place < torch.tensor([len(row) for row in rows])[:, None]).long()
        behind = torch.tensor([len(question) + 2 for question, _ in pairs])
        return tokens, real * (place >= behind[:, None]), real


class Texts:
    """Questions and paragraphs as tokens, with the characters that each token stands for.

    Args:
        questions: with the numbers of their paragraphs.
        paragraphs: their texts.
        most: tokens of a question that are kept.
    """

    def __init__(self, questions: list[Question], paragraphs: list[str], tokenizer: "Tokenizer", most: int) -> None:
        asked = tokenizer.encode_batch([q.text for q in questions], add_special_tokens=False)
        told = tokenizer.encode_batch(paragraphs, add_special_tokens=False)
        self.asked, self.text = questions, paragraphs
        self.questions = [torch.tensor(part.ids[:most], dtype=torch.int64) for part in asked]
        self.paragraphs = [torch.tensor(part.ids, dtype=torch.int64) for part in told]
        self.spans = [torch.tensor(part.offsets, dtype=torch.int64).view(-1, 2) for part in told]

    def __len__(self) -> int:
        return len(self.questions)

    def answer(self, number: int) -> tuple[int, int]:
        """First and last token that hold a character of the question's answer."""
        question = self.asked[number]
        starts, ends = self.spans[question.paragraph].T.contiguous()
        first = int(torch.searchsorted(ends, question.start, right=True))
        last = int(torch.searchsorted(starts, question.end, right=True)) - 1
        return first, max(first, last)

    def original(self, number: int, first: int, last: int) -> str:
        """The paragraph's own characters from token `first` to token `last`: none is lost for being unknown."""
        paragraph = self.asked[number].paragraph
        return self.text[paragraph][self.spans[paragraph][first][0] : self.spans[paragraph][last][1]]


def window_start(tokens: int, first: int, last: int, window: int, draw: float | None) -> int:
    """Where a window that holds an answer begins: with the answer in the middle, as far as the paragraph allows, or
    anywhere.

    Args:
        tokens: of the paragraph.
        first: the answer's first token.
        last: its last one.
        draw: a number from 0 to 1 that chooses among all windows with the whole answer; None for the middle.
    """
    latest = max(0, tokens - window)
    if draw is None:
        return min(max(0, (first + last) // 2 - window // 2), latest)
    high = min(first, latest)
    low = min(max(0, last - window + 1), high)
    return low + min(int(draw * (high - low + 1)), high - low)


def negative_start(tokens: int, first: int, last: int, window: int, draw: float) -> int | None:
    """Where a window without any of the answer begins, the arguments being those of `window_start`; None if all of the
    paragraph's windows have some of it."""
    before = max(0, first - window + 1)
    after = max(0, tokens - window - last)
    number = int(draw * (before + after))
    return None if before + after == 0 else number if number < before else last + 1 + number - before


class OneWindow(BatchDataset):
    """For training: a window a question. Gives tokens, kinds and what is real, (B, T) each, and the answer's first and
    last tokens (B,), which in a window without the answer are both [CLS], the first token.

    Args:
        negatives: share of the questions that get a window without the answer, where there is one.
        seed: shuffles the questions and draws the windows.
    """

    def __init__(self, texts: Texts, layout: Layout, placement: Placement, negatives: float, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.texts, self.layout, self.anywhere = texts, layout, placement == "anywhere"
        self.order = torch.randperm(len(texts), generator=generator)
        self.draws = torch.rand(len(texts), generator=generator).tolist()
        self.negative = (torch.rand(len(texts), generator=generator) < negatives).tolist()

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        pairs, places = [], []
        for number in self.order[indices].tolist():
            question, window, draw = self.texts.questions[number], self.layout.window, self.draws[number]
            paragraph = self.texts.paragraphs[self.texts.asked[number].paragraph]
            first, last = self.texts.answer(number)
            span = (len(paragraph), first, last, window)
            without = negative_start(*span, draw) if self.negative[number] else None
            start = window_start(*span, draw if self.anywhere else None) if without is None else without
            pairs.append((question, paragraph[start : start + window]))
            if without is None:
                inside = len(pairs[-1][1]) - 1  # an answer longer than the window is cut
                places.append([len(question) + 2 + min(max(0, place - start), inside) for place in (first, last)])
            else:
                places.append([0, 0])
        return *self.layout.columns(pairs), *torch.tensor(places).T


class EveryWindow(BatchDataset):
    """For finding answers: all windows of the questions' paragraphs, `stride` tokens apart. Gives tokens, kinds and
    what is real, (B, T) each, and (B,) numbers of questions and how many tokens lie before a window."""

    def __init__(self, texts: Texts, layout: Layout, stride: int) -> None:
        self.texts, self.layout, self.stride = texts, layout, stride

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        window, pairs, places = self.layout.window, [], []
        for number in indices.tolist():
            paragraph = self.texts.paragraphs[self.texts.asked[number].paragraph]
            for start in range(0, max(1, len(paragraph) - window + self.stride), self.stride):
                pairs.append((self.texts.questions[number], paragraph[start : start + window]))
                places.append([number, start])
        return *self.layout.columns(pairs), *torch.tensor(places).T
