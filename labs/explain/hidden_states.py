"""Hidden states and attention weights of a question-answering model for one text."""

from dataclasses import dataclass
from typing import Any

import torch

from labs.core.errors import BadInput
from labs.shared.text.reader import Reader, encode_pairs, model_inputs


@dataclass(frozen=True)
class EncoderOutput:
    """Output of the encoder for [CLS] question [SEP] context [SEP], T tokens."""

    tokens: list[str]
    offsets: list[tuple[int, int]]
    """First character of each token in its text, and the one after its last; (0, 0) for special tokens."""
    token_type_ids: torch.Tensor
    """(T,) 0 for the question, 1 for the context."""
    hidden_states: torch.Tensor
    """(layers + 1, T, channels): the embeddings, then the output of each layer."""
    attentions: torch.Tensor
    """(layers, heads, T, T): weights with which each token, a row, attends to each token."""


def encode(reader: Reader, question: str, context: str) -> EncoderOutput:
    """Encode both texts, whole and as one window, with the reader's first member.

    Raises:
        BadInput: they are longer than the model's position embeddings allow.
    """
    encodings = [reader.tokenizer.encode(text, add_special_tokens=False) for text in (question, context)]
    question_ids, context_ids = (torch.tensor(encoding.ids, dtype=torch.int64) for encoding in encodings)
    model: Any = reader.members[0]
    limit, length = model.config.max_position_embeddings, len(question_ids) + len(context_ids) + 3
    if length > limit:
        raise BadInput(f"question {question!r} and its context are {length} tokens with the special tokens, expected "
                       f"at most {limit}, the model's number of positions")  # fmt: skip
    pairs = [(question_ids, context_ids)]
    input_ids, token_type_ids, attention_mask = encode_pairs(pairs, reader.special_tokens)
    model.set_attn_implementation("eager")  # other implementations do not return the attention weights
    with torch.no_grad():
        inputs = model_inputs(model, input_ids, token_type_ids, attention_mask)
        output = model(**inputs, output_hidden_states=True, output_attentions=True)
    tokens = [str(reader.tokenizer.id_to_token(number)) for number in input_ids[0].tolist()]
    offsets = [(0, 0), *encodings[0].offsets, (0, 0), *encodings[1].offsets, (0, 0)]
    hidden_states, attentions = torch.cat(output.hidden_states), torch.cat(output.attentions)
    return EncoderOutput(tokens, offsets, token_type_ids[0], hidden_states, attentions)
