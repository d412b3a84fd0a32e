"""The phonemes of utterances: `labs predict classification FEATURES.pt...`."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from labs.classification import data, generate
from labs.core import shards
from labs.core.demo import Demo, Row, Trained, class_names, read_features


def rows(trained: Trained, inputs: Sequence[str]) -> list[Row]:
    generated = shards.manifest(trained.data_dir)["origin"] == "generated"
    names = class_names(generate.CLASSES if generated else (), data.NUM_CLASSES)  # the course published none
    found = []
    for file in inputs:
        features = read_features(Path(file), data.FEATURES).numpy()
        (classes,) = trained.predict(features[None]).tolist()
        phonemes = " ".join(names[label] for label, _ in groupby(classes))
        found.append({"input": file, "frames": len(classes), "phonemes": phonemes})
    return found


DEMO = Demo(f"utterances, (frames, {data.FEATURES}) tensors of MFCC in .pt files", rows)
