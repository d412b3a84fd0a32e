"""A BERT small enough to be pre-trained in a minute, and its tokenizer, as transformers has them."""

from typing import TYPE_CHECKING

from labs.shared.text.pretrained import Marks

if TYPE_CHECKING:
    from transformers import BertTokenizer, RoFormerConfig, RoFormerForMaskedLM

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(5)
MARKS = Marks(PAD, CLS, SEP)
LONGEST = 512
"""Tokens that the model reads at most, as BERT does."""


def tokenizer(characters: str) -> "BertTokenizer":
    """BERT's, for a vocabulary of single characters: its marks, then each character alone, and
    ASCII ones inside of a word."""
    from transformers import BertTokenizer

    inside = [f"##{character}" for character in characters if character.isascii() and character.isalnum()]
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *characters, *inside])}
    return BertTokenizer(vocab=vocabulary, do_lower_case=False)


def shape(tokens: int, layers: int, hidden: int, heads: int, ff: int, dropout: float) -> "RoFormerConfig":
    """A BERT with rotary positions.

    Args:
        tokens: size of the vocabulary.
        ff: channels inside a feed-forward part.
    """
    from transformers import RoFormerConfig

    return RoFormerConfig(
        vocab_size=tokens,
        num_hidden_layers=layers,
        hidden_size=hidden,
        embedding_size=hidden,
        num_attention_heads=heads,
        intermediate_size=ff,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        # BERT's 0.02 suits its 768 channels; with few, attention would begin as a plain mean, and long stay one.
        initializer_range=hidden**-0.5,
        max_position_embeddings=LONGEST,
    )


def blank(config: "RoFormerConfig") -> "RoFormerForMaskedLM":
    """The model before it has seen text, its attention drawn so that a token looks at equal ones and passes on what
    they are: the products of query and key, and of value and output, are positive (mimetic initialisation)."""
    from transformers import RoFormerForMaskedLM

    model = RoFormerForMaskedLM(config)
    for layer in model.roformer.encoder.layer:
        look, out = layer.attention.self, layer.attention.output.dense
        look.key.weight.data.copy_(look.query.weight.data)
        out.weight.data.copy_(look.value.weight.data.T)
    return model
