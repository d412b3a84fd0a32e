"""Where a classifier looks in a picture of food: `labs predict explain PICTURE...`."""

from collections.abc import Sequence

import torch

from labs.cnn.demo import pictures
from labs.core.demo import Demo, Row, Trained
from labs.explain.figures import overlay


def rows(trained: Trained, inputs: Sequence[str]) -> list[Row]:
    images = pictures(trained, inputs)
    maps = overlay(torch.from_numpy(images), torch.from_numpy(trained.predict(images)))
    shown = maps.clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return [{"input": given, "attribution": picture} for given, picture in zip(inputs, shown, strict=True)]


DEMO = Demo("pictures of food", rows)
