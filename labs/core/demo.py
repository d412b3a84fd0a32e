"""A trained model on what a person gives it: the contract of `labs predict`, and parts that several labs use.

A lab's `predict` takes a batch of raw arrays; its demo reads them from files or sentences, and puts the outputs into
words.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labs.core.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    import torch

Row = dict[str, Any]
"""Column -> what it shows: text, a number, or a picture, (H, W, 3) uint8, which is written to a file."""
LIKELY = 3
"""Classes that a prediction names."""


@dataclass(frozen=True)
class Trained:
    """A trained model and where it comes from."""

    predict: "Callable[[np.ndarray], np.ndarray]"
    """The lab's own `predict`, of this model."""
    folder: Path
    """Of the run."""
    data_dir: Path
    """The prepared data that it was trained on."""


@dataclass(frozen=True)
class Demo:
    """What a lab predicts for a person's own input."""

    takes: str
    """What may be given, as the end of a message: `pictures of food`."""
    rows: Callable[[Trained, Sequence[str]], list[Row]]
    """`rows(trained, inputs)`: what is shown, in the order of the inputs; `BadInput`, whose message names the input,
    for one that the model can't take."""


def class_rows(inputs: Sequence[str], probabilities: "np.ndarray", names: Sequence[str]) -> list[Row]:
    """The most probable class of each input, its probability, and the classes that come next.

    Args:
        inputs: as they were given.
        probabilities: (inputs, classes).
        names: of the classes.
    """
    rows = []
    for given, row in zip(inputs, probabilities, strict=True):
        best, *others = (-row).argsort(kind="stable")[:LIKELY]
        then = ", ".join(f"{names[label]} {row[label]:.0%}" for label in others)
        rows.append(
            {"input": given, "prediction": names[best], "probability": round(float(row[best]), 4), "then": then}
        )
    return rows


def class_names(names: Sequence[str], classes: int) -> Sequence[str]:
    """The course's names of the classes, of data with another number of them their numbers."""
    return names if len(names) == classes else [f"class {label}" for label in range(classes)]


def read_features(file: Path, width: int) -> "torch.Tensor":
    """An utterance's features, (frames, width) float32, of a file that `torch.save` wrote.

    Raises:
        BadInput: it is no such file; the message names it.
    """
    import torch

    from labs.core.tensor_file import read_tensor

    if not file.is_file():
        raise BadInput(f"feature file {file} {'is a folder' if file.is_dir() else 'does not exist'}")
    try:
        features = read_tensor(file)
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from None
    if features.ndim != 2 or features.shape[1] != width or not len(features) or not features.is_floating_point():
        kind = str(features.dtype).removeprefix("torch.")
        raise BadInput(f"{file}: expected float32 (frames, {width}), found {kind} {tuple(features.shape)}")
    if not features.isfinite().all():
        raise BadInput(f"{file}: expected finite numbers")
    return features.to(torch.float32)
