"""A BERT that is small enough to be pre-trained in a minute, and its tokenizer, as classes of transformers."""

from typing import TYPE_CHECKING

from labs.shared.text.reader import SpecialTokens

if TYPE_CHECKING:
    from transformers import BertTokenizer, RoFormerConfig, RoFormerForMaskedLM

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(5)
SPECIAL_TOKENS = SpecialTokens(PAD, CLS, SEP)
MAX_POSITIONS = 512
"""Maximum length of an input in tokens, as in BERT."""


def new_tokenizer(characters: str) -> "BertTokenizer":
    """BERT's tokenizer with a vocabulary of single characters: the special tokens, each character at the beginning of a
    word, and ASCII letters and digits once more as continuations of a word, `##a`."""
    from transformers import BertTokenizer

    continuations = [f"##{character}" for character in characters if character.isascii() and character.isalnum()]
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *characters, *continuations])}
    return BertTokenizer(vocab=vocabulary, do_lower_case=False)


def model_config(
    vocabulary_size: int, layers: int, hidden_size: int, heads: int, intermediate_size: int, dropout: float
) -> "RoFormerConfig":
    """Config of a BERT with rotary position embeddings (Su et al., arXiv:2104.09864).

    Args:
        hidden_size: channels of a token's hidden state.
        intermediate_size: channels between the two linear layers of a feed-forward network.
        dropout: of hidden states and of attention weights.
    """
    from transformers import RoFormerConfig

    return RoFormerConfig(
        vocab_size=vocabulary_size,
        num_hidden_layers=layers,
        hidden_size=hidden_size,
        embedding_size=hidden_size,
        num_attention_heads=heads,
        intermediate_size=intermediate_size,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        # BERT's 0.02 suits 768 channels. With few channels the attention logits would be near 0: every token would
        # attend to all others equally, and training would take long to change that.
        initializer_range=hidden_size**-0.5,
        max_position_embeddings=MAX_POSITIONS,
    )


def new_model(config: "RoFormerConfig") -> "RoFormerForMaskedLM":
    """A masked language model with random weights and mimetic initialisation (arXiv:2305.09828): at the start a token
    attends to equal tokens and passes on what they are, as W_q^T W_k and W_o W_v are positive semi-definite."""
    from transformers import RoFormerForMaskedLM

    model = RoFormerForMaskedLM(config)
    for layer in model.roformer.encoder.layer:
        attention, output = layer.attention.self, layer.attention.output.dense
        attention.key.weight.data.copy_(attention.query.weight.data)  # W_k = W_q
        output.weight.data.copy_(attention.value.weight.data.T)  # W_o = W_v^T
    return model
