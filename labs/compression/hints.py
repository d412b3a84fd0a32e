"""Feature distillation: the student learns to predict a feature map of the teacher, the hint (FitNets, Romero et al.,
arXiv:1412.6550)."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from labs.compression.course_teacher import block_types
from labs.compression.student import SeparableBlock
from labs.shared.vision.residual import Block

FEATURE_MAP_LAYERS = (Block, SeparableBlock, nn.MaxPool2d)
"""Types of layers whose output is a feature map, beside the blocks of the course's teacher."""


class HintLoss(nn.Module):
    """The error of a regressor that predicts the teacher's last feature map from the student's.

    Forward hooks keep the last feature map of each network; `loss` compares those of the latest forward passes. The
    regressor, a 1x1 convolution from the student's channels to the teacher's, is trained with the student and discarded
    afterwards.

    Args:
        student: the student.
        teacher: the teacher, in eval mode.
        image: any image, (1, 3, H, W); a forward pass finds the number of channels of each feature map.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, image: torch.Tensor) -> None:
        super().__init__()
        self.feature_maps: dict[str, torch.Tensor] = {}
        for name, model in (("student", student), ("teacher", teacher)):
            types = (*FEATURE_MAP_LAYERS, *block_types())
            last = [module for module in model.modules() if isinstance(module, types)][-1]
            last.register_forward_hook(self._keep_output(name))
        was_training = student.training
        with torch.no_grad():
            student.eval()(image)
            teacher(image)
        student.train(was_training)
        inputs, outputs = (self.feature_maps[name].shape[1] for name in ("student", "teacher"))
        self.regressor = nn.Conv2d(inputs, outputs, 1, device=image.device)

    def loss(self) -> torch.Tensor:
        """Mean squared error divided by the variance of the hint: 1 if the regressor predicts the hint's mean, 0 if it
        predicts the hint exactly."""
        predicted = self.regressor(self.feature_maps["student"])
        hint = F.interpolate(self.feature_maps["teacher"], predicted.shape[-2:], mode="area")
        # L_HT = ||u_h(x) - r(v_g(x))||^2 / Var[u_h]   (FitNets, eq. 3, normalised)
        return F.mse_loss(predicted, hint) / hint.var()

    def embeddings(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The feature maps of student and teacher, each a mean over all positions: (B, channels)."""
        return self.feature_maps["student"].mean((2, 3)), self.feature_maps["teacher"].mean((2, 3))

    def _keep_output(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            self.feature_maps[name] = output.float()

        return hook
