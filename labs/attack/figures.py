"""The report's figure of the attack lab: a picture on its way through an attack and a defence."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from labs.attack.data import CLASSES
from labs.attack.victims import QUALITY, jpeg


def steps_of_defence(
    benign: np.ndarray, adversarial: np.ndarray, predict: Callable[[np.ndarray], np.ndarray]
) -> Figure:
    """A picture as it was, attacked, and attacked and then compressed, with the class that is seen in each.

    Args:
        benign, adversarial: (1, 3, 32, 32) uint8.
        predict: (B, 3, 32, 32) uint8 -> (B, classes) probabilities.
    """
    images = np.concatenate([benign, adversarial, jpeg(adversarial)])
    figure = Figure(figsize=(9, 3.4))
    titles = ("benign", "FGSM", f"FGSM, then JPEG of quality {QUALITY}")
    for axes, title, image, seen in zip(figure.subplots(1, 3), titles, images, predict(images), strict=True):
        axes.imshow(image.transpose(1, 2, 0))
        axes.set_title(f"{title}\n{CLASSES[seen.argmax()]}: {seen.max():.0%}")
        axes.axis("off")
    return figure
