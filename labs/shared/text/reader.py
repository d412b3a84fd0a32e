"""The reader: an extractive question-answering model (as in Chen et al., arXiv:1704.00051), and its inputs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

Search = Literal["separate", "joint"]


class SpecialTokens(NamedTuple):
    """Ids of the special tokens, which differ from vocabulary to vocabulary."""

    pad: int
    cls: int
    sep: int


@dataclass(frozen=True)
class InferenceSettings:
    """How a reader searches a paragraph for an answer; the fields are those of the bert lab's config."""

    question_tokens: int
    paragraph_tokens: int
    doc_stride: int
    search: Search
    max_answer_tokens: int
    negative_fraction: float
    """Fraction of the training windows that had no answer."""


class Reader(nn.Module):
    """An ensemble of models that give each token a start logit and an end logit, with their common tokenizer.

    Args:
        members: transformers' models for question answering; their logits are averaged.
        tokenizer: cuts texts into tokens.
        special_tokens: the tokenizer's.
        settings: how an answer is searched for.
    """

    def __init__(
        self,
        members: list["PreTrainedModel"],
        tokenizer: "Tokenizer",
        special_tokens: SpecialTokens,
        settings: InferenceSettings,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.tokenizer, self.special_tokens, self.settings = tokenizer, special_tokens, settings

    def forward(
        self, input_ids: torch.Tensor, token_type_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        """Inputs (B, T) each, as `encode_pairs` returns them -> start and end logits (B, 2, T), the members' mean."""
        outputs = [member(**model_inputs(member, input_ids, token_type_ids, attention_mask)) for member in self.members]
        return torch.stack([torch.stack([out.start_logits, out.end_logits], 1) for out in outputs]).mean(0)


def encode_pairs(
    pairs: list[tuple[torch.Tensor, torch.Tensor]], special_tokens: SpecialTokens
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pairs of segments, such as a question and a window, as BERT's input: [CLS] first [SEP] second [SEP], padded.

    Args:
        pairs: token ids of both segments, (n,) int64 each.
        special_tokens: of the vocabulary.

    Returns:
        `input_ids`, `token_type_ids` (0 up to the first [SEP], 1 from there to the second) and `attention_mask` (0 for
        padding), (B, T) int64 each.
    """
    cls, sep = torch.tensor([special_tokens.cls]), torch.tensor([special_tokens.sep])
    rows = [torch.cat([cls, first, sep, second, sep]) for first, second in pairs]
    input_ids = pad_sequence(rows, batch_first=True, padding_value=special_tokens.pad)
    positions = torch.arange(input_ids.shape[1])
    lengths = torch.tensor([len(row) for row in rows])
    second_starts = torch.tensor([len(first) + 2 for first, _ in pairs])
    attention_mask = (positions < lengths[:, None]).long()
    token_type_ids = attention_mask * (positions >= second_starts[:, None])
    return input_ids, token_type_ids, attention_mask


def model_inputs(
    model: nn.Module, input_ids: torch.Tensor, token_type_ids: torch.Tensor, attention_mask: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Keyword arguments of transformers' models; `token_type_ids` only for a model with embeddings for them."""
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
    if getattr(model.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = token_type_ids
    return inputs
