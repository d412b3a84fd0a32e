"""Five attribution methods: how much each pixel of an image contributes to a classifier's logit.

Each method takes the classifier, one image (1, 3, H, W) float, values 0 to 255, and the class whose logit S is to be
explained, and returns an attribution map (H, W) float: the larger the value, the more important the pixel. Logits are
explained and not probabilities, because the softmax of a confident prediction is flat and its gradients vanish.
SmoothGrad and LIME draw random numbers: whoever calls them seeds the generator for each image.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

CHUNK = 32
"""Modified copies of an image in one forward pass, which bounds the memory."""
WHITE = 255.0
"""Range of an image's values."""
COMPACTNESS = 10
"""SLIC's weight of distance against colour. With the course's 1, the noise of small images makes superpixels ragged."""


def saliency(model: nn.Module, image: torch.Tensor, target: int) -> torch.Tensor:
    """The gradient of the logit by the pixels (Simonyan et al., arXiv:1312.6034): where a small change of a pixel
    changes the logit most."""
    from captum.attr import Saliency

    gradients: torch.Tensor = Saliency(model).attribute(image.detach().requires_grad_(), target=target)
    return gradients[0].amax(0)  # M_ij = max_c |dS / dx_cij|


def smoothgrad(model: nn.Module, image: torch.Tensor, target: int, sigma: float, samples: int) -> torch.Tensor:
    """The mean saliency of noisy copies of the image (Smilkov et al., arXiv:1706.03825).

    Gradients fluctuate between images that look the same; the mean keeps what they have in common.

    Args:
        sigma: standard deviation of the noise, as a fraction of the range of values.
        samples: number n of noisy copies.
    """
    from captum.attr import NoiseTunnel, Saliency

    tunnel = NoiseTunnel(Saliency(model))
    sampling = {"nt_samples": samples, "nt_samples_batch_size": CHUNK}
    # M = 1/n sum_k |dS / dx (x + e_k)|, e_k ~ N(0, sigma^2)
    gradients: torch.Tensor = tunnel.attribute(image, target=target, stdevs=sigma * WHITE, **sampling)
    return gradients[0].amax(0)


def integrated_gradients(
    model: nn.Module, image: torch.Tensor, target: int, baseline: torch.Tensor, steps: int
) -> torch.Tensor:
    """The gradients along the straight path from a baseline to the image (Sundararajan et al., arXiv:1703.01365).

    The map is complete: its sum is S(image) - S(baseline), up to the error of a finite number of steps.

    Args:
        baseline: (1, 3, H, W), the image x' where the path starts.
        steps: number m of points on the path.
    """
    from captum.attr import IntegratedGradients

    path = {"baselines": baseline, "n_steps": steps, "internal_batch_size": CHUNK, "method": "riemann_middle"}
    # IG = (x - x') * 1/m sum_k dS / dx (x' + (k - 1/2) / m (x - x')), k = 1 .. m
    contributions: torch.Tensor = IntegratedGradients(model).attribute(image, target=target, **path)
    return contributions[0].sum(0)


def gradcam(model: nn.Module, image: torch.Tensor, target: int, layers: list[nn.Module]) -> torch.Tensor:
    """A layer's feature maps, weighted by their mean gradients (Selvaraju et al., arXiv:1610.02391) and enlarged to the
    image's size; for an ensemble, the sum over its members.

    Args:
        layers: one layer of each member.
    """
    from captum.attr import LayerGradCam

    # L = ReLU(sum_k alpha_k A_k), alpha_k = 1/Z sum_ij dS / dA_kij: ReLU drops what lowers the logit.
    maps = [LayerGradCam(model, layer).attribute(image, target=target) for layer in layers]
    weighted = F.relu(torch.stack(maps).sum(0))
    return F.interpolate(weighted, image.shape[-2:], mode="bilinear")[0, 0].detach()


def last_layers(network: nn.Module, forward: Callable[[], torch.Tensor]) -> list[nn.Module]:
    """The last layer of each resolution of a network's feature maps, the finest resolution first.

    Args:
        forward: runs a forward pass of the network.
    """
    last: dict[int, nn.Module] = {}

    def record(layer: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        if output.dim() == 4:
            last[output.shape[-1]] = layer

    with ExitStack() as hooks, torch.no_grad():
        for layer in network.modules():
            hooks.enter_context(layer.register_forward_hook(record))
        forward()
    return [last[side] for side in sorted(last, reverse=True)]


def lime(
    model: nn.Module, image: torch.Tensor, target: int, baseline: torch.Tensor, superpixels: int, samples: int
) -> torch.Tensor:
    """Weights of a linear model that predicts the logit from which superpixels are visible (Ribeiro et al.,
    arXiv:1602.04938).

    Args:
        baseline: (1, 3, H, W), replaces a hidden superpixel.
        superpixels: approximate number of regions that SLIC segments the image into.
        samples: number of perturbed images that the linear model is fitted to; each superpixel of each of them is
            hidden with probability 0.5.
    """
    from sklearn.linear_model import Ridge

    regions = segments(image, superpixels)
    # Samples z: which superpixels v(z) are visible. captum's Lime has the same, but builds them one by one, which takes
    # nearly as long as the model.
    visible = torch.bernoulli(torch.full((samples, int(regions.max()) + 1), 0.5, device=image.device))
    logits, similarities = [], []
    with torch.no_grad():
        for part in visible.bool().split(CHUNK):
            images = torch.where(part[:, regions][:, None], image, baseline)
            logits.append(model(images)[:, target])
            similarities.append(F.cosine_similarity(images.flatten(1), image.flatten(1)))
    # Weighted least squares with a ridge penalty:  w = argmin sum_z pi(z) (S(z) - w . v(z) - b)^2 + |w|^2,
    # pi(z) = exp(-d(x, z)^2 / 2), d the cosine distance
    distances = 1 - torch.cat(similarities)
    columns = (visible, torch.cat(logits), torch.exp(-(distances**2) / 2))
    weights = Ridge(alpha=1.0).fit(*(column.cpu().numpy() for column in columns)).coef_
    return torch.from_numpy(weights).to(image.device)[regions]


def segments(image: torch.Tensor, count: int) -> torch.Tensor:
    """About `count` superpixels of an image (1, 3, H, W), numbered from 0: (H, W) int64 (SLIC; Achanta et al., TPAMI
    2012)."""
    from skimage.segmentation import slic

    pixels = image[0].permute(1, 2, 0).double().cpu().numpy() / WHITE
    found = slic(pixels, n_segments=count, compactness=COMPACTNESS, sigma=1, start_label=0)
    return torch.from_numpy(found).to(image.device)
