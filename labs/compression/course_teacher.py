"""The course's own teacher: torchvision's ResNet-18, whose trained weights are in its data folder."""

import sys
from pathlib import Path
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from labs.compression.student import MEAN, STD
from labs.core.errors import BadInput
from labs.core.listing import find, roots
from labs.core.weights_file import fill, pack, read_weights

FILE, PACKED = "resnet18_teacher.ckpt", "teacher.safetensors"
"""The weights in the course's folder, and in packed data."""
RESIZED, CROPPED = 256, 224
"""Pixels of a side to which the course scales images for the teacher, and of the centre that it then takes."""


class CourseTeacher(nn.Module):
    """Images as they are stored, (B, 3, H, W), values 0 to 255 of any type, to logits (B, classes)."""

    def __init__(self, classes: int) -> None:
        from torchvision.models import resnet18  # 2 s to import

        super().__init__()
        self.net = resnet18(weights=None, num_classes=classes)
        self.mean: torch.Tensor
        self.std: torch.Tensor
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        images = images.float() / 255
        if images.shape[-1] != RESIZED:
            images = F.interpolate(images, (RESIZED, RESIZED), mode="bilinear", antialias=True)
        edge = (RESIZED - CROPPED) // 2
        centre = images[..., edge : edge + CROPPED, edge : edge + CROPPED]
        return cast(torch.Tensor, self.net((centre - self.mean) / self.std))


def block_types() -> tuple[type[nn.Module], ...]:
    """Type of a ResNet-18's residual blocks, where one was made; with another teacher torchvision is not imported."""
    module = sys.modules.get("torchvision.models.resnet")
    return (module.BasicBlock,) if module else ()


def is_in(source: Path | None) -> bool:
    """Whether a user's data folder, or the one in it, has the course's teacher."""
    return source is not None and any(find(root, FILE) for root in roots(source))


def check(folder: Path, classes: int) -> list[str]:
    """The fault of the teacher's file in a sentence; empty if it has none or is not there.

    Args:
        classes: number of classes of the data.
    """
    file = find(folder, FILE)
    if file is None:
        return []
    try:
        fill(_empty(classes), read_weights(file), f"a ResNet-18 of {classes} classes")
    except BadInput as error:
        return [f"{file.name}: {error}; without this file the teacher is a run of the cnn lab"]
    return []


def prepare(folder: Path, out: Path) -> dict[str, str]:
    """Pack the weights, if they are there; returns their digest as `teacher`, a fact of the data."""
    file = find(folder, FILE)
    return {} if file is None else {"teacher": pack(read_weights(file), out / PACKED)}


def load(file: Path, classes: int) -> CourseTeacher:
    """The teacher of packed weights, in eval mode."""
    teacher = CourseTeacher(classes)
    fill(teacher.net, read_weights(file), f"a ResNet-18 of {classes} classes")
    return teacher.eval()


def _empty(classes: int) -> nn.Module:
    """The network with shapes, but without values."""
    with torch.device("meta"):
        return cast(nn.Module, CourseTeacher(classes).net)
