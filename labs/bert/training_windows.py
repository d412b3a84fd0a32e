"""Training windows: for each question one window of its paragraph, with the answer in it or, as a negative, without."""

from typing import Literal

import torch

from labs.core.loader import BatchDataset
from labs.shared.text.questions import TokenizedQuestions
from labs.shared.text.reader import SpecialTokens, encode_pairs

AnswerPosition = Literal["centre", "random"]


def centred_start(tokens: int, first: int, last: int, window: int) -> int:
    """First token of the window with the answer in its middle, as far as the paragraph's ends allow.

    Args:
        tokens: length of the paragraph.
        first: the answer's first token.
        last: the answer's last token.
        window: length of the window.
    """
    latest = max(0, tokens - window)
    return min(max(0, (first + last) // 2 - window // 2), latest)


def random_start(tokens: int, first: int, last: int, window: int, draw: float) -> int:
    """First token of a random window with the whole answer; where the answer is longer, of one that begins with it.

    Args:
        tokens, first, last, window: as in `centred_start`.
        draw: a random number from 0 to 1, which chooses among all such windows.
    """
    latest = max(0, tokens - window)
    high = min(first, latest)
    low = min(max(0, last - window + 1), high)
    return low + min(int(draw * (high - low + 1)), high - low)


def negative_start(tokens: int, first: int, last: int, window: int, draw: float) -> int | None:
    """First token of a random window without any token of the answer, or None where the paragraph has none; the
    arguments are those of `random_start`."""
    starts_before = max(0, first - window + 1)
    starts_after = max(0, tokens - window - last)
    if starts_before + starts_after == 0:
        return None
    choice = int(draw * (starts_before + starts_after))
    if choice < starts_before:
        return choice
    return last + 1 + choice - starts_before


class TrainingWindows(BatchDataset):
    """A window for each question, in random order.

    Indexed with (B,) numbers it gives `input_ids`, `token_type_ids` and `attention_mask`, (B, T) each, and the
    positions of the answer's first and last token (B,); in a window without the answer both are 0, the position of
    [CLS] (Devlin et al., arXiv:1810.04805, section 4.3).

    Args:
        window: maximum tokens of a window.
        position: where in its window the answer lies: in the middle or anywhere.
        negative_fraction: fraction of the questions that get a window without the answer, where there is one.
        seed: of the order and of the windows.
    """

    def __init__(
        self,
        texts: TokenizedQuestions,
        special_tokens: SpecialTokens,
        window: int,
        position: AnswerPosition,
        negative_fraction: float,
        seed: int,
    ) -> None:
        self.texts, self.special_tokens, self.window, self.position = texts, special_tokens, window, position
        generator = torch.Generator().manual_seed(seed)
        # The loader shuffles, too, but alike for all members of an ensemble: with this each sees an order of its own.
        self.order = torch.randperm(len(texts), generator=generator)
        self.draws = torch.rand(len(texts), generator=generator).tolist()
        self.negative = (torch.rand(len(texts), generator=generator) < negative_fraction).tolist()

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        pairs, spans = [], []
        for number in self.order[indices].tolist():
            window, span = self._window(number)
            pairs.append((self.texts.question_ids[number], window))
            spans.append(span)
        first, last = torch.tensor(spans).T
        return *encode_pairs(pairs, self.special_tokens), first, last

    def _window(self, number: int) -> tuple[torch.Tensor, tuple[int, int]]:
        """Token ids of a question's window, and the positions in the input of its answer's first and last token."""
        paragraph, draw = self.texts.paragraph_of(number), self.draws[number]
        first, last = self.texts.answer_span(number)
        if self.negative[number]:
            start = negative_start(len(paragraph), first, last, self.window, draw)
            if start is not None:
                return paragraph[start : start + self.window], (0, 0)
        if self.position == "random":
            start = random_start(len(paragraph), first, last, self.window, draw)
        else:
            start = centred_start(len(paragraph), first, last, self.window)
        window = paragraph[start : start + self.window]
        offset = len(self.texts.question_ids[number]) + 2  # [CLS] question [SEP]
        latest = len(window) - 1  # an answer that is longer than the window is truncated
        return window, (offset + min(max(0, first - start), latest), offset + min(max(0, last - start), latest))
