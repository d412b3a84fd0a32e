"""The course's own teacher: torchvision's ResNet-18, whose trained weights are in its data folder."""

import sys
from pathlib import Path
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from labs.compression.student import MEAN, STD
from labs.core.weights_file import GivenWeights, fill, read_weights

GIVEN = GivenWeights(
    "resnet18_teacher.ckpt", "teacher.safetensors", "teacher", "the teacher is a run of the cnn lab"
)  # fmt: skip
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


def check(folder: Path, classes: int) -> list[str]:
    """The fault of the teacher's file in a sentence; empty if it has none or is not there.

    Args:
        folder: the data folder.
        classes: number of classes of the data.
    """
    return GIVEN.check(folder, lambda weights: fill(_empty(classes), weights, f"a ResNet-18 of {classes} classes"))


def load(file: Path, classes: int) -> CourseTeacher:
    """The teacher of packed weights, in eval mode."""
    teacher = CourseTeacher(classes)
    fill(teacher.net, read_weights(file), f"a ResNet-18 of {classes} classes")
    return teacher.eval()


def _empty(classes: int) -> nn.Module:
    """The network with shapes, but without values."""
    with torch.device("meta"):
        return cast(nn.Module, CourseTeacher(classes).net)
