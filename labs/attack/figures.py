"""The report's figure of the attack lab: a picture before and after an attack, and after a defence."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from labs.attack.data import CLASSES
from labs.attack.victims import JPEG_QUALITY, jpeg
from labs.core.plots import styled


@styled
def defence_figure(
    name: str, benign: np.ndarray, adversarial: np.ndarray, predict: Callable[[np.ndarray], np.ndarray]
) -> Figure:
    """The benign picture, the attacked one, and the attacked one after JPEG compression, with the predicted classes.

    Args:
        name: of the picture.
        benign, adversarial: (1, 3, 32, 32) uint8.
        predict: (B, 3, 32, 32) uint8 -> (B, classes) probabilities.
    """
    images = np.concatenate([benign, adversarial, jpeg(adversarial)])
    figure = Figure(figsize=(9, 3.8))
    figure.suptitle(f"{name}, and the class that the network predicts")
    titles = ("benign", "FGSM", f"FGSM, then JPEG of quality {JPEG_QUALITY}")
    for axes, title, image, probabilities in zip(figure.subplots(1, 3), titles, images, predict(images), strict=True):
        axes.imshow(image.transpose(1, 2, 0))
        axes.set_title(f"{title}\npredicted {CLASSES[probabilities.argmax()]}, {probabilities.max():.0%}")
        axes.axis("off")
    return figure
