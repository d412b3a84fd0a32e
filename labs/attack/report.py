"""The report of homework 10."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labs.attack.config import EPSILON
from labs.attack.data import CLASSES
from labs.attack.figures import defence_figure
from labs.attack.surrogates import SOURCES
from labs.attack.victims import JPEG_QUALITY, jpeg
from labs.core.lab import Lab
from labs.core.report import Report

Predict = Callable[[np.ndarray], np.ndarray]


def write(
    lab: Lab,
    folder: Path,
    out: Path,
    predict: Predict,
    images: tuple[np.ndarray, np.ndarray, np.ndarray],
    dog: tuple[str, np.ndarray, np.ndarray],
    facts: Mapping[str, Any],
) -> None:
    """Write the report of a run's folder.

    Args:
        predict: (N, 3, 32, 32) uint8 -> (N, classes) probabilities, of the surrogates.
        images: the benign pictures, the submitted ones and their labels.
        dog: name, benign picture and picture after FGSM, each (1, 3, 32, 32) uint8.
        facts: of the data, which say where the surrogates come from.
    """
    config, report = lab.read_config(folder), Report(lab, folder, out)
    benign, adversarial, labels = images

    report.question("a")
    report.text(_attack(config, facts["surrogates"][:-1] or config.surrogates))
    report.text(SOURCES[facts["training"]])
    accuracies = {
        "benign": _accuracy(predict, benign, labels),
        "attacked": _accuracy(predict, adversarial, labels),
        f"attacked, then JPEG of quality {JPEG_QUALITY}": _accuracy(predict, jpeg(adversarial), labels),
    }
    report.table((f"the {len(labels)} pictures", "accuracy of the surrogates"), accuracies.items())
    report.text("""The surrogates are what the attack is computed on. What it leaves of a network that it does not know
                is `val/accuracy` above.""")

    report.question("b")
    name, picture, changed = dog
    label = name.split("/")[0]
    report.text(f"The picture is `{name}`, attacked with FGSM. {_verdict(predict(changed)[0], label)}")
    report.figure("dog2", defence_figure(name, picture, changed, predict), f"{name} before and after the attack.")

    report.question("c")
    report.text(f"""{_verdict(predict(jpeg(changed))[0], label)} JPEG stores fine detail of a block of pixels coarsely
                or not at all, and the noise is fine detail; the quality is low enough that detail of the picture is
                lost too.""")
    report.write()


def _attack(config: Any, surrogates: Sequence[str]) -> str:
    """How the noise is made, in words."""
    names = ", ".join(surrogates)
    text = f"The noise is made by {config.attack.upper()} on the surrogates {names}: "
    if config.attack == "fgsm":
        text += f"each value of a picture changes by {EPSILON} of 255 levels, up or down as the loss's gradient."
    else:
        text += (
            f"{config.steps} steps of {config.alpha:g} of 255 levels by the gradient's sign, at most {EPSILON} in all."
        )
    if config.attack == "mi-fgsm":
        text += f" The gradients are added up with momentum {config.decay:g}."
    if config.diversity and config.attack != "fgsm":
        text += f" With probability {config.diversity:g} a step sees the picture shrunk and padded at random."
    return text


def _verdict(probabilities: np.ndarray, label: str) -> str:
    found = CLASSES[probabilities.argmax()]
    rightly = "rightly" if found == label else "wrongly"
    return f"The surrogates {rightly} predict `{found}`, with probability {probabilities.max():.2f}."


def _accuracy(predict: Predict, images: np.ndarray, labels: np.ndarray) -> float:
    return float((predict(images).argmax(1) == labels).mean())
