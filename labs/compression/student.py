"""Image classifiers with few parameters: homework 13's sample, and one of depthwise-separable convolutions."""

import torch
from torch import nn
from torch.ao.nn.quantized import FloatFunctional
from torch.nn import functional as F

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's channels, as in the course's sample code."""


class Student(nn.Module):
    """A network that takes images as they are stored: (B, 3, H, W), values 0 to 255 of any type, any square size.

    Args:
        net: normalised images (B, 3, size, size) to logits (B, classes).
        size: side of its input in pixels.
    """

    def __init__(self, net: nn.Module, size: int) -> None:
        super().__init__()
        self.net, self.size = net, size
        self.mean: torch.Tensor
        self.std: torch.Tensor
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(self.normalise(images))
        return logits

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """The input of `net`: float, resized to `size`, normalised with ImageNet's mean and standard deviation."""
        images = images.float() / 255
        if images.shape[-1] != self.size:
            images = F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        return (images - self.mean) / self.std


class PlainStudent(nn.Module):
    """The network of the course's sample code: four 3x3 convolutions with 1, 1, 2 and 3.125 times `width` channels.

    Input (B, 3, H, W) float, output (B, classes) logits.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        last = round(3.125 * width)
        self.features = nn.Sequential(
            *_convolution(3, width),
            *_convolution(width, width),
            nn.MaxPool2d(2, 2),
            *_convolution(width, 2 * width),
            nn.MaxPool2d(2, 2),
            *_convolution(2 * width, last),
            nn.MaxPool2d(2, 2),
            nn.AdaptiveAvgPool2d(1),
        )
        self.head = nn.Linear(last, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.features(x).flatten(1))
        return logits


class SeparableBlock(nn.Module):
    """A depthwise 3x3 convolution, which filters each channel separately, then a pointwise 1x1 convolution, which mixes
    the channels (Howard et al., MobileNets, arXiv:1704.04861); with a shortcut if input and output have the same shape.

    (B, inputs, H, W) -> (B, outputs, H / stride, W / stride). It has 9 * inputs + inputs * outputs weights, a plain
    3x3 convolution has 9 * inputs * outputs.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )
        self.has_shortcut = stride == 1 and inputs == outputs
        self.sum = FloatFunctional()  # an addition that quantisation can observe and replace

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layers(x)
        return self.sum.add(y, x) if self.has_shortcut else y


class SeparableNet(nn.Module):
    """A convolution and max-pooling, four stages of `blocks` separable blocks, global average pooling, a linear layer.

    Each stage has twice the channels and half the resolution of the one before.

    Input (B, 3, H, W) float, output (B, classes) logits.
    """

    def __init__(self, width: int, blocks: int, classes: int) -> None:
        super().__init__()
        layers = [*_convolution(3, width), nn.MaxPool2d(2, 2)]
        inputs = width
        for stage in range(4):
            outputs = width * 2**stage
            for block in range(blocks):
                layers.append(SeparableBlock(inputs, outputs, 2 if stage and not block else 1))
                inputs = outputs
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.features(x).flatten(1))
        return logits


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU()]
