"""Drawn faces: `labs predict gan COUNT`. A run of preset `cycle` turns pictures into faces, a person's own as well:
`labs predict gan PICTURE...`."""

from collections.abc import Sequence

import numpy as np
import torch

from labs.core.demo import Demo, Row, Trained
from labs.core.errors import BadInput
from labs.core.pictures import squares
from labs.gan.config import GanConfig
from labs.gan.cyclegan import other_style
from labs.gan.networks import NOISE_DIM

MOST = 1000
"""Pictures that are drawn at once."""


def rows(trained: Trained, inputs: Sequence[str]) -> list[Row]:
    config = GanConfig.model_validate_json((trained.folder / "config.json").read_text())
    counted = len(inputs) == 1 and inputs[0].isdecimal()
    if config.generator == "cyclegan" and not counted:
        return _shown(trained, inputs, (squares(inputs, config.side) / 127.5 - 1).astype(np.float32))
    if not counted or not 0 < int(inputs[0]) <= MOST:
        raise BadInput(f"{' '.join(inputs)!r}: expected how many pictures to draw, from 1 to {MOST}")
    count = int(inputs[0])
    if config.generator == "cyclegan":
        others = other_style(trained.data_dir, config.side, held_out=True)
        given = others[torch.arange(count) % len(others)][0].numpy()
    else:
        given = config.truncation * np.random.default_rng(0).standard_normal((count, NOISE_DIM), np.float32)
    return _shown(trained, [str(number + 1) for number in range(count)], given)


def _shown(trained: Trained, labels: Sequence[str], given: np.ndarray) -> list[Row]:
    faces = trained.predict(given).transpose(0, 2, 3, 1)
    return [{"input": label, "face": face} for label, face in zip(labels, faces, strict=True)]


DEMO = Demo("how many pictures to draw (of a run of preset cycle also pictures to turn into faces)", rows)
