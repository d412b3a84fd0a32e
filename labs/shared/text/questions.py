"""Questions and their paragraphs as tokens, and the windows in which a reader sees a long paragraph."""

from typing import TYPE_CHECKING, NamedTuple

import torch

from labs.core.loader import BatchDataset
from labs.shared.text.reader import SpecialTokens, encode_pairs

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Question(NamedTuple):
    """A question about a paragraph; `start` and `end` are -1 where the answer is not known, as in the test set."""

    id: int
    paragraph: int
    """Index of its paragraph."""
    text: str
    start: int
    """The answer's first character in the paragraph."""
    end: int
    """The answer's last character, inclusive."""


class TokenizedQuestions:
    """Questions and paragraphs as token ids, with the characters that each token of a paragraph stands for.

    Args:
        questions: each with the index of its paragraph.
        paragraphs: the paragraphs' texts.
        tokenizer: of the reader.
        question_tokens: maximum length of a question; longer questions are truncated.
    """

    def __init__(
        self, questions: list[Question], paragraphs: list[str], tokenizer: "Tokenizer", question_tokens: int
    ) -> None:
        self.questions, self.paragraphs = questions, paragraphs
        encoded = tokenizer.encode_batch([question.text for question in questions], add_special_tokens=False)
        self.question_ids = [torch.tensor(each.ids[:question_tokens], dtype=torch.int64) for each in encoded]
        encoded = tokenizer.encode_batch(paragraphs, add_special_tokens=False)
        self.paragraph_ids = [torch.tensor(each.ids, dtype=torch.int64) for each in encoded]
        self.offsets = [torch.tensor(each.offsets, dtype=torch.int64).view(-1, 2) for each in encoded]
        """For each paragraph, (tokens, 2): first character of each token, and the character after its last one."""

    def __len__(self) -> int:
        return len(self.questions)

    def paragraph_of(self, number: int) -> torch.Tensor:
        """Token ids of a question's paragraph, (n,)."""
        return self.paragraph_ids[self.questions[number].paragraph]

    def answer_span(self, number: int) -> tuple[int, int]:
        """First and last token of the paragraph that hold a character of the question's answer."""
        question = self.questions[number]
        starts, ends = self.offsets[question.paragraph].T.contiguous()
        first = int(torch.searchsorted(ends, question.start, right=True))
        last = int(torch.searchsorted(starts, question.end, right=True)) - 1
        return first, max(first, last)

    def span_text(self, number: int, first: int, last: int) -> str:
        """The paragraph's characters from token `first` to token `last`, those of [UNK] tokens included."""
        paragraph = self.questions[number].paragraph
        offsets = self.offsets[paragraph]
        return self.paragraphs[paragraph][offsets[first][0] : offsets[last][1]]


class SlidingWindows(BatchDataset):
    """For inference: all windows of the questions' paragraphs, `stride` tokens apart.

    Indexed with (B,) questions it gives, for their W windows together, `input_ids`, `token_type_ids` and
    `attention_mask`, (W, T) each, and (W,) each window's question and the position of its first token in the paragraph.
    """

    def __init__(self, texts: TokenizedQuestions, special_tokens: SpecialTokens, window: int, stride: int) -> None:
        self.texts, self.special_tokens, self.window, self.stride = texts, special_tokens, window, stride

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        pairs, places = [], []
        for number in indices.tolist():
            question, paragraph = self.texts.question_ids[number], self.texts.paragraph_of(number)
            for start in range(0, max(1, len(paragraph) - self.window + self.stride), self.stride):
                pairs.append((question, paragraph[start : start + self.window]))
                places.append([number, start])
        numbers, starts = torch.tensor(places).T
        return *encode_pairs(pairs, self.special_tokens), numbers, starts
