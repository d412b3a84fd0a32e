"""Drawn faces, `labs predict gan COUNT`; with CycleGAN a person's pictures as faces, `labs predict gan PICTURE...`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from labs.core.demo import Demo, Row, Trained
from labs.core.errors import BadInput
from labs.core.pictures import centre_square, upright
from labs.gan.config import GanConfig
from labs.gan.networks import NOISE_DIM

MOST = 1000


def rows(trained: Trained, inputs: Sequence[str]) -> list[Row]:
    config = GanConfig.model_validate_json((trained.folder / "config.json").read_text())
    if config.generator == "cyclegan":
        squares = np.stack([centre_square(upright(Path(file)), config.side).transpose(2, 0, 1) for file in inputs])
        faces = trained.predict((squares / 127.5 - 1).astype(np.float32))
        return [{"input": file, "face": face} for file, face in zip(inputs, _channels_last(faces), strict=True)]
    if len(inputs) > 1 or not inputs[0].isdecimal() or not 0 < int(inputs[0]) <= MOST:
        raise BadInput(f"{' '.join(inputs)!r} is no number of pictures from 1 to {MOST}: this run draws faces of noise")
    noise = config.truncation * np.random.default_rng(0).standard_normal((int(inputs[0]), NOISE_DIM), np.float32)
    return [{"number": n, "face": face} for n, face in enumerate(_channels_last(trained.predict(noise)), 1)]


def _channels_last(pictures: np.ndarray) -> np.ndarray:
    return pictures.transpose(0, 2, 3, 1)


DEMO = Demo("a number of pictures to draw (of a run of preset cycle: pictures to turn into faces)", rows)
