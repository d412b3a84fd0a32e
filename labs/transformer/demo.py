"""Translations of a person's own sentences: `labs predict transformer SENTENCE...`."""

from collections.abc import Sequence

import numpy as np

from labs.core.demo import Demo, Row, Trained
from labs.core.errors import BadInput
from labs.transformer import data
from labs.transformer.cleaning import clean_en
from labs.transformer.token_batches import EOS

MAX_TOKENS = 1000
"""Longest sentence that is translated: a beam search of more takes minutes."""


def rows(trained: Trained, inputs: Sequence[str]) -> list[Row]:
    tokenizer, found = data.load_tokenizer(trained.data_dir), list[Row]()
    for sentence in inputs:
        tokens = tokenizer.encode(clean_en(sentence))
        if not 0 < len(tokens) <= MAX_TOKENS:
            raise BadInput(f"sentence {sentence[:40]!r} has {len(tokens)} tokens, expected 1 to {MAX_TOKENS}")
        (translated,) = trained.predict(np.array([[*tokens, EOS]])).tolist()
        (text,) = data.decode(tokenizer, [translated[: translated.index(EOS)]])
        found.append({"sentence": sentence, "translation": text})
    return found


DEMO = Demo("English sentences, each in quotes", rows)
