"""What made a classifier say what it said: five ways to a map of a picture with a number for each pixel.

Each method takes the classifier, one picture (1, 3, H, W) float, values 0 to 255, and the class whose logit is to be
explained, and returns a map (H, W) float: the larger, the more important. Logits, not probabilities: where the
classifier is sure, softmax is flat and its gradients vanish. A map depends on the picture alone, not on its company:
whoever calls seeds the draws of SmoothGrad and LIME.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

CHUNK = 32
"""Changed copies of a picture that go through the classifier together, which bounds memory."""
WHITE = 255.0
"""Range of a picture's values."""
COMPACTNESS = 10
"""How much SLIC weighs nearness against colour; at the course's 1 the noise of small pictures frays the superpixels."""


def saliency(model: nn.Module, image: torch.Tensor, target: int) -> torch.Tensor:
    """|gradient|, the largest of the channels (Simonyan et al., arXiv:1312.6034): where the least change of a pixel
    changes the logit most."""
    from captum.attr import Saliency

    slopes: torch.Tensor = Saliency(model).attribute(image.detach().requires_grad_(), target=target)
    return slopes[0].amax(0)


def smoothgrad(model: nn.Module, image: torch.Tensor, target: int, sigma: float, copies: int) -> torch.Tensor:
    """The mean saliency of noisy copies (Smilkov et al., arXiv:1706.03825): gradients flicker between pictures that
    look the same, what stays in the mean is what they agree on.

    Args:
        sigma: standard deviation of the noise, as a share of the range of values.
        copies: how many.
    """
    from captum.attr import NoiseTunnel, Saliency

    tunnel = NoiseTunnel(Saliency(model))
    copied = {"nt_samples": copies, "nt_samples_batch_size": CHUNK}
    slopes: torch.Tensor = tunnel.attribute(image, target=target, stdevs=sigma * WHITE, **copied)
    return slopes[0].amax(0)


def integrated_gradients(
    model: nn.Module, image: torch.Tensor, target: int, nothing: torch.Tensor, steps: int
) -> torch.Tensor:
    """Gradient times what a value differs by from a picture of nothing, averaged along the way from there and summed
    over the channels (Sundararajan et al., arXiv:1703.01365). The map's sum is how much the logit rises on that way, up
    to the error of so many steps.

    Args:
        nothing: (1, 3, H, W), where the way begins.
    """
    from captum.attr import IntegratedGradients

    path = {"baselines": nothing, "n_steps": steps, "internal_batch_size": CHUNK, "method": "riemann_middle"}
    parts: torch.Tensor = IntegratedGradients(model).attribute(image, target=target, **path)
    return parts[0].sum(0)


def gradcam(model: nn.Module, image: torch.Tensor, target: int, layers: list[nn.Module]) -> torch.Tensor:
    """A layer's maps weighted by their mean gradients, what speaks against the class left out (Selvaraju et al.,
    arXiv:1610.02391), enlarged to the picture; of several networks that guess together, the sum.

    Args:
        layers: the layer to look at, of each network.
    """
    from captum.attr import LayerGradCam

    maps = [LayerGradCam(model, layer).attribute(image, target=target) for layer in layers]
    weighted = F.relu(torch.stack(maps).sum(0))
    return F.interpolate(weighted, image.shape[-2:], mode="bilinear")[0, 0].detach()


def resolutions(network: nn.Module, forward: Callable[[], torch.Tensor]) -> list[nn.Module]:
    """The layers that give a network's last maps of each resolution, the finest first; `forward` makes a forward."""
    last: dict[int, nn.Module] = {}

    def note(layer: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        if output.dim() == 4:
            last[output.shape[-1]] = layer

    with ExitStack() as hooks, torch.no_grad():
        for layer in network.modules():
            hooks.enter_context(layer.register_forward_hook(note))
        forward()
    return [last[side] for side in sorted(last, reverse=True)]


def lime(
    model: nn.Module, image: torch.Tensor, target: int, nothing: torch.Tensor, superpixels: int, samples: int
) -> torch.Tensor:
    """Weights of a linear model of the logit on which superpixels are there (Ribeiro et al., arXiv:1602.04938).

    Args:
        nothing: (1, 3, H, W), seen in place of a hidden superpixel.
        superpixels: about how many regions of like colour SLIC cuts the picture into.
        samples: pictures, each with about half of the superpixels hidden at random, that the linear model learns from.
    """
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import Lime

    regions = segments(image, superpixels)[None, None]
    settings = {"n_samples": samples, "perturbations_per_eval": CHUNK, "feature_mask": regions, "baselines": nothing}
    weights: torch.Tensor = Lime(model, SkLearnRidge(alpha=1.0)).attribute(image, target=target, **settings)
    return weights[0, 0]


def segments(image: torch.Tensor, count: int) -> torch.Tensor:
    """About `count` superpixels of a picture (1, 3, H, W), numbered from 0: (H, W) int64 (SLIC; Achanta et al., TPAMI
    2012)."""
    from skimage.segmentation import slic

    pixels = image[0].permute(1, 2, 0).double().cpu().numpy() / WHITE
    found = slic(pixels, n_segments=count, compactness=COMPACTNESS, sigma=1, start_label=0)
    return torch.from_numpy(found).to(image.device)
