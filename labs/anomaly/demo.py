"""How unusual a picture is as a face: `labs predict anomaly PICTURE...`."""

from collections.abc import Sequence

import torch

from labs.core import shards
from labs.core.demo import Demo, Row, Trained
from labs.core.pictures import squares
from labs.shared.vision.avatars import SIDE

COMPARED = 200
"""Training faces that a picture's score is compared with."""


def rows(trained: Trained, inputs: Sequence[str]) -> list[Row]:
    faces = shards.ArrowDataset(trained.data_dir, "train", ("image",))
    usual = trained.predict(faces[torch.arange(min(COMPARED, len(faces)))][0].numpy())
    scores = trained.predict(squares(inputs, SIDE).transpose(0, 2, 3, 1))
    return [
        {"input": file, "score": round(float(score), 4),
         "higher than": f"{(usual < score).mean():.0%} of {len(usual)} training faces"}
        for file, score in zip(inputs, scores, strict=True)
    ]  # fmt: skip


DEMO = Demo("pictures", rows)
