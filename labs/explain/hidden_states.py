"""What a reading model makes of a text, layer by layer: for questions about attention and embeddings."""

from dataclasses import dataclass
from typing import Any

import torch

from labs.core.errors import BadInput
from labs.shared.text.reader import Reader, encode_pairs, model_inputs


@dataclass(frozen=True)
class Inside:
    """One pair of a question and a context, T tokens with the marks before, between and behind them."""

    tokens: list[str]
    spans: list[tuple[int, int]]
    """Characters of its text that each token stands for; none, (0, 0), for marks."""
    kinds: torch.Tensor
    """(T,) 0 for the question, 1 for the context."""
    hidden: torch.Tensor
    """(layers + 1, T, channels): what goes into the first layer, and what comes out of each."""
    attention: torch.Tensor
    """(layers, heads, T, T): how much each token, a row, looks at each other one."""


def look_inside(reader: Reader, question: str, context: str) -> Inside:
    """The first model of a trained reader; both texts whole, as one window."""
    parts = [reader.tokenizer.encode(text, add_special_tokens=False) for text in (question, context)]
    asked, told = (torch.tensor(part.ids, dtype=torch.int64) for part in parts)
    model: Any = reader.members[0]
    most, needed = model.config.max_position_embeddings, len(asked) + len(told) + 3
    if needed > most:
        raise BadInput(f"question {question!r} and its context are {needed} tokens with their marks, expected at most "
                       f"{most}, as many as the reader reads")  # fmt: skip
    tokens, kinds, real = encode_pairs([(asked, told)], reader.special_tokens)
    model.set_attn_implementation("eager")  # other kernels do not keep the weights
    with torch.no_grad():
        inputs = model_inputs(model, tokens, kinds, real)
        output = model(**inputs, output_hidden_states=True, output_attentions=True)
    words = [str(reader.tokenizer.id_to_token(number)) for number in tokens[0].tolist()]
    spans = [(0, 0), *parts[0].offsets, (0, 0), *parts[1].offsets, (0, 0)]
    return Inside(words, spans, kinds[0], torch.cat(output.hidden_states), torch.cat(output.attentions))
