"""The report of homework 10."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labs.attack.config import EPSILON
from labs.attack.data import CLASSES
from labs.attack.figures import defence_figure
from labs.attack.surrogates import SOURCES, most_residual, surrogate_names
from labs.attack.victims import JPEG_QUALITY, jpeg
from labs.core.lab import Lab
from labs.core.report import Report

Predict = Callable[[np.ndarray], np.ndarray]


class Dog(NamedTuple):
    """The picture of questions (b) and (c), attacked with FGSM on one network."""

    name: str
    benign: np.ndarray
    """(1, 3, 32, 32) uint8, as are the changed pictures."""
    changed: np.ndarray
    predict: Predict
    """The network's class probabilities."""


def write(
    lab: Lab,
    folder: Path,
    out: Path,
    predict: Predict,
    images: tuple[np.ndarray, np.ndarray, np.ndarray],
    dog: Dog,
    facts: Mapping[str, Any],
) -> None:
    """Write the report of a run's folder.

    Args:
        predict: (N, 3, 32, 32) uint8 -> (N, classes) probabilities, of the surrogates.
        images: the benign pictures, the submitted ones and their labels.
        facts: of the data, which say where the surrogates come from.
    """
    config, report = lab.read_config(folder), Report(lab, folder, out)
    benign, adversarial, labels = images

    report.question("a")
    surrogates = surrogate_names(config, facts)
    report.text(_attack(config, surrogates))
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
    label, epsilon = dog.name.split("/")[0], 0 if facts["surrogates"] else config.training_epsilon
    report.text(f"""The picture is `{dog.name}`, attacked with FGSM on one network:
                {_network(surrogates, epsilon)} On the benign picture the network
                {_verdict(dog.predict(dog.benign)[0], label)}; after FGSM it
                {_verdict(dog.predict(dog.changed)[0], label)}.""")
    figure = defence_figure(dog.name, dog.benign, dog.changed, dog.predict)
    report.figure("dog2", figure, f"{dog.name} before and after the attack.")

    report.question("c")
    report.text(f"""After FGSM and JPEG compression of quality {JPEG_QUALITY} (the homework's rate of 70) the network
                {_verdict(dog.predict(jpeg(dog.changed))[0], label)}. JPEG stores fine detail of a block of pixels
                coarsely or not at all, and the noise is fine detail; the quality is low enough that detail of the
                picture is lost too.""")
    report.write()


def _attack(config: Any, surrogates: Sequence[str]) -> str:
    """How the noise is made, in words."""
    names = ", ".join(name if count == 1 else f"{count} {name}" for name, count in Counter(surrogates).items())
    text = f"The noise is made by {config.attack.upper()} on the surrogates {names}: "
    if config.attack == "fgsm":
        text += f"each value of a picture changes by {EPSILON} of 255 levels, by the sign of the loss's gradient."
    else:
        text += (
            f"{config.steps} steps of {config.alpha:g} of 255 levels by the gradient's sign, at most {EPSILON} in all."
        )
    if config.attack == "mi-fgsm":
        text += f" The gradients are added up with momentum {config.decay:g}."
    if config.diversity and config.attack != "fgsm":
        text += f" With probability {config.diversity:g} a step sees the picture shrunk and padded at random."
    return text


def _network(surrogates: Sequence[str], epsilon: float) -> str:
    """The network of questions (b) and (c), in words; that of the homework is resnet110 of CIFAR-10."""
    name = surrogates[most_residual(surrogates)]
    text = f"`{name}`, of the surrogates the nearest in kind to the homework's resnet110."
    if epsilon:
        text += f" It was trained adversarially, with an epsilon of {epsilon:g}, as they all were."
    return text


def _verdict(probabilities: np.ndarray, label: str) -> str:
    found = CLASSES[probabilities.argmax()]
    rightly = "rightly" if found == label else "wrongly"
    return f"{rightly} predicts `{found}`, with probability {probabilities.max():.2f}"


def _accuracy(predict: Predict, images: np.ndarray, labels: np.ndarray) -> float:
    return float((predict(images).argmax(1) == labels).mean())
