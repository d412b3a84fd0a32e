"""Feature distillation (Romero et al., FitNets, arXiv:1412.6550): the student's features shall tell the teacher's."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from labs.compression.student import SeparableBlock
from labs.shared.vision.residual import Block

MAPS = (Block, SeparableBlock, nn.MaxPool2d)
"""Kinds of layers whose output is a feature map."""


class Hint(nn.Module):
    """What the student's last feature map lacks of the teacher's, of the newest forward of both.

    A 1x1 convolution translates between their channels. It belongs to the training: no part of it is kept.

    Args:
        student: the student.
        teacher: the teacher, in eval mode.
        image: any picture, (1, 3, H, W), to find out how many channels the maps have.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, image: torch.Tensor) -> None:
        super().__init__()
        self.maps: dict[str, torch.Tensor] = {}
        for name, model in (("student", student), ("teacher", teacher)):
            last = [module for module in model.modules() if isinstance(module, MAPS)][-1]
            last.register_forward_hook(self._keep(name))
        was_training = student.training
        with torch.no_grad():
            student.eval()(image)
            teacher(image)
        student.train(was_training)
        own, wanted = (self.maps[name].shape[1] for name in ("student", "teacher"))
        self.translate = nn.Conv2d(own, wanted, 1, device=image.device)

    def loss(self) -> torch.Tensor:
        """Mean squared error over the variance of the teacher's map: 1 for a constant guess, 0 for all of it."""
        told = self.translate(self.maps["student"])
        wanted = F.interpolate(self.maps["teacher"], told.shape[-2:], mode="area")
        return F.mse_loss(told, wanted) / wanted.var()

    def _keep(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            self.maps[name] = output.float()

        return hook
