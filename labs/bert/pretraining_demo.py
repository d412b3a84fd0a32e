"""Masked characters: `labs predict bert-pretrain TEXT...`, with [MASK] in place of each."""

from collections.abc import Sequence

import numpy as np

from labs.bert.tiny_bert import CLS, MASK, MAX_POSITIONS, SEP, new_tokenizer
from labs.core import shards
from labs.core.demo import Demo, Row, Trained
from labs.core.errors import BadInput


def rows(trained: Trained, inputs: Sequence[str]) -> list[Row]:
    tokenizer, found = new_tokenizer(shards.manifest(trained.data_dir)["facts"]["characters"]), list[Row]()
    for text in inputs:
        tokens = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids[: MAX_POSITIONS - 2]
        if MASK not in tokens:
            raise BadInput(f"text {text[:40]!r} has no [MASK], which stands for a character to predict")
        (predicted,) = trained.predict(np.array([[CLS, *tokens, SEP]])).tolist()
        filled = text
        for token, prediction in zip(tokens, predicted[1:-1], strict=True):
            if token == MASK:
                character = tokenizer.convert_ids_to_tokens(prediction).removeprefix("##")
                filled = filled.replace("[MASK]", character, 1)
        found.append({"text": text, "filled in": filled})
    return found


DEMO = Demo("texts with [MASK] in place of characters", rows)
