"""Who speaks: `labs predict self-attention FEATURES.pt...`."""

from collections.abc import Sequence
from pathlib import Path

from labs.core import shards
from labs.core.demo import Demo, Row, Trained, class_rows, read_features


def rows(trained: Trained, inputs: Sequence[str]) -> list[Row]:
    facts, found = shards.manifest(trained.data_dir)["facts"], list[Row]()
    for file in inputs:
        features = read_features(Path(file), facts["mels"]).numpy()
        found += class_rows([file], trained.predict(features[None]), facts["speakers"])
    return found


DEMO = Demo("utterances, (frames, mels) log-mel spectrograms in .pt files", rows)
