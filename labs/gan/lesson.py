"""Homework 6, generative adversarial networks: faces out of noise.

Task
    Learn from pictures of faces to draw new ones; hand in 1,000 of 64 x 64 pixels.
Data
    `labs.gan.data`: the course's 71,314 anime faces, or drawn avatars in the same format. At size `small` both
    networks see 32 x 32 pixels, and what is handed in is enlarged.
Metric
    Fréchet distance (FID) of generated and real pictures' features, lower is better. The course's thresholds (simple
    30000, medium 12000, strong 10000, boss 9000, and 0, 0.4, 0.5, 0.6 for the share of pictures with a face, AFD) are
    on a scale that was never published; ours is that of `labs.gan.judge`, whose extractor learnt what drawn
    faces are made of: real faces have about 4 there, the mean face over 300. `test/afd` is its own detector's.
    `test/precision` and `test/recall` tell good pictures from varied ones, `test/coverage` counts kinds of faces.
    The judge is not to be asked while training: `val/fid` is on features of a random network, beside held-out faces.
    It picks the epoch that is kept, as the last one is rarely the best and losses don't show quality.
Ladder
    simple   the sample: DCGAN, cross-entropy, batch norm, for a short time.
    medium   longer, a faster generator and critic, and averaged weights draw the pictures.
    strong   WGAN-GP: a critic's value in place of a probability, and a real penalty on its slope (the sample's `gp` is
             an empty stub). Layer norm, as a penalty on single pictures forbids statistics of a batch and the course's
             instance norm hides colours; no momentum, as the critic's aim moves.
    boss     a style-based generator; two steps of the critic for one of the generator, and rates that fall.
Beyond
    `cycle` (lecture 6) translates pictures of a second style, `other/`, into faces; no two of them belong together.
    `constraint=clip` with `optimizer=rmsprop`: the first WGAN. `norm=spectral` (arXiv:1802.05957). `constraint=r1` and
    `augment` keep a critic from learning few pictures by heart.
Papers
    Radford et al., DCGAN (arXiv:1511.06434); Arjovsky et al., WGAN (arXiv:1701.07875); Gulrajani et al., WGAN-GP
    (arXiv:1704.00028); Karras et al., StyleGAN (arXiv:1812.04948); Mescheder et al., R1 (arXiv:1801.04406); Zhao et
    al., differentiable augmentation (arXiv:2006.10738); Zhu et al., CycleGAN (arXiv:1703.10593).
"""

from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from labs import COURSE
from labs.core import shards
from labs.core.config import Config
from labs.core.errors import BadInput
from labs.core.lab import Lab
from labs.core.run import Run
from labs.core.weights import load_weights, unwrap
from labs.gan import cyclegan, data
from labs.gan import judge as face_judge
from labs.gan.collapse import watch
from labs.gan.dcgan import Norm
from labs.gan.figures import enlarged, gradient_figure, gradient_norms, grid, interpolation
from labs.gan.losses import Loss, clip_weights, critic_loss, generator_loss, gradient_penalty, real_penalty
from labs.gan.optimisation import (
    NOISE,
    build,
    every_network,
    fixed_noise,
    follow,
    optimizers,
    seen,
    set_rates,
    settle,
    step,
)
from labs.gan.pictures import Draws, Faces
from labs.gan.random_features import compare

METRIC = COURSE["gan"].metric
LAZY = 4
"""R1 is taken at every fourth step, four times as strong: it changes slowly."""
SHOWN, COMPARED = 64, 40
"""Pictures of a grid; pictures by which the report's figure measures gradients."""


class GanConfig(Config):
    generator: Literal["dcgan", "style", "translator"] = "dcgan"
    """The sample's generator, a style-based one, or CycleGAN's two translators, to which `norm`, `constraint`,
    `critic_steps`, `augment`, `truncation` and `samples` mean nothing."""
    loss: Loss = "bce"
    """Cross-entropy, a critic's estimate of the Wasserstein distance, or squared distances from 0 and 1."""
    cycle: float = Field(10.0, ge=0)
    """Weight of the difference that is left after the way there and back; no effect but with `generator=translator`."""
    norm: Norm = "batch"
    """Of the discriminator: batch, instance or layer norm, spectral norm of its weights, or none."""
    constraint: Literal["none", "clip", "gradient", "r1"] = "none"
    """Of the discriminator: clipped weights, a penalty on slopes other than 1 between real and generated pictures, or
    one on any slope at real ones."""
    clip: float = Field(0.01, gt=0)
    """Largest weight; no effect but with `constraint=clip`, and in the report's figure."""
    penalty: float = Field(10.0, ge=0)
    """Weight of the penalty; no effect but with `constraint=gradient` or `r1`, and in the report's figure."""
    critic_steps: int = Field(1, ge=1)
    """Steps of the discriminator for one of the generator."""
    augment: float = Field(0.0, ge=0, le=1)
    """Strength of the random changes through which the discriminator sees all pictures."""
    average: float = Field(0.0, ge=0, lt=1)
    """Decay a generator's step of the averaged weights that draw the pictures; 0 for the last weights."""
    optimizer: Literal["adam", "rmsprop"] = "adam"
    """Of both networks."""
    lr: float = Field(1e-4, gt=0)
    """The generator's learning rate."""
    lr_critic: float = Field(1e-4, gt=0)
    """The discriminator's learning rate."""
    fall: float = Field(0.0, ge=0, le=1)
    """Share of the epochs, at the end, over which both learning rates fall towards 0."""
    beta1: float = Field(0.5, ge=0, lt=1)
    """Adam's decay of the gradient's mean; no effect with `optimizer=rmsprop`."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Adam's decay of the gradient's square; no effect with `optimizer=rmsprop`."""
    width: int = Field(64, ge=4)
    """Channels of the discriminator's first and the generator's last layer but one."""
    side: Literal[32, 64] = 64
    """Pixels of a side that the networks see."""
    truncation: float = Field(1.0, gt=0, le=1)
    """Factor of the noise when pictures are drawn: below 1 they are more typical and less varied."""
    batch_size: int = Field(64, ge=2)
    """Pictures of a global batch."""
    epochs: int = Field(1, ge=1)
    """Passes over the training pictures."""
    validate_every: int = Field(1, ge=1)
    """Epochs from one validation, and grid of pictures, to the next; the last epoch always has one."""
    samples: int = Field(1000, ge=SHOWN)
    """Pictures drawn for a validation."""

    @model_validator(mode="after")
    def _one_picture_at_a_time(self) -> Self:
        if self.constraint in ("gradient", "r1") and self.norm == "batch":
            raise ValueError(f"constraint={self.constraint} is a penalty for single pictures, which norm=batch mixes; "
                             "take norm=instance, layer, spectral or none")  # fmt: skip
        return self


def train(config: GanConfig, run: Run) -> None:
    if config.generator == "translator":
        return cyclegan.train(config, run, METRIC)
    if config.batch_size < 2 * run.world_size:
        raise BadInput(f"batch_size is {config.batch_size}, expected at least 2 for each worker: "
                       "a picture alone has no batch statistics")  # fmt: skip
    learning, held_out = (Faces(run.data_dir, config.side, held_out=held) for held in (False, True))
    wrapped = run.wrap(every_network(config).to(memory_format=torch.channels_last))
    # Neither loss goes through the wrapper's forward (one needs both networks, the penalty a gradient of a gradient):
    # the bare networks are called, and gradients averaged by `sync_gradients`.
    networks: Any = unwrap(wrapped)
    generator, critic = networks.generator, networks.critic
    drawer = build(config).to(memory_format=torch.channels_last).to(run.device)  # what validates and is delivered
    drawer.load_state_dict(generator.state_dict())
    for_generator, for_critic = optimizers(config, networks)
    progress = {"collapsed": 0, "steps": 0}
    state = {"networks": wrapped, "drawer": drawer, "generator_optimizer": for_generator,
             "critic_optimizer": for_critic, "progress": progress}  # fmt: skip
    batches = run.loader(learning, config.batch_size, train=True)

    for epoch in run.epochs(config.epochs, state=state):
        draws, sums, count = Draws(run, epoch), torch.zeros(2, device=run.device), 0
        set_rates(config, (for_generator, for_critic), epoch)
        for (real,) in batches:
            if len(real) == 1:  # what remained of the pass: a single picture has no batch statistics
                continue
            n, progress["steps"] = len(real), progress["steps"] + 1
            with torch.no_grad():
                fake = generator(draws.normal(n, NOISE))
            real, fake = (seen(part, config, draws) for part in (real, fake))
            loss = distance = critic_loss(config.loss, critic(real), critic(fake))
            if config.constraint == "gradient":
                places = draws.uniform(n, 1)[:, 0]
                loss = loss + config.penalty * gradient_penalty(critic, real, fake, places)
            elif config.constraint == "r1" and progress["steps"] % LAZY == 0:
                loss = loss + LAZY * config.penalty / 2 * real_penalty(critic, real)
            step(for_critic, critic, loss, run)
            if config.constraint == "clip":
                clip_weights(critic, config.clip)
            sums[0] += distance.detach() * n
            count += n
            if progress["steps"] % config.critic_steps:
                continue
            fake = seen(generator(draws.normal(n, NOISE)), config, draws)
            loss = generator_loss(config.loss, critic(fake))
            step(for_generator, generator, loss, run)
            follow(drawer, generator, config.average, progress["steps"] // config.critic_steps)
            sums[1] += loss.detach() * n * config.critic_steps
        run.log({"train/critic_loss": run.mean(sums[0], count), "train/loss": run.mean(sums[1], count)})
        if (epoch + 1) % config.validate_every == 0 or epoch + 1 == config.epochs:
            settle(drawer, torch.randn(1000, NOISE, generator=torch.Generator().manual_seed(2)).to(run.device))
            found = validate(config, drawer, held_out, run)
            run.log({**found, "val/collapsed": watch(progress, found["val/variety"], (epoch + 1) / config.epochs, run)})
            run.best(METRIC, drawer)
            with run.evaluation(drawer) as net:
                shown = enlarged(net(fixed_noise(config, SHOWN, run)), config.side).cpu()
            run.figure(f"samples-{epoch + 1:04d}", grid(shown, 8))


def validate(config: GanConfig, drawer: nn.Module, held_out: Faces, run: Run) -> dict[str, float]:
    """`val/fid` on random features, and `val/variety`: how much generated pictures differ, as a share of real ones."""
    own = fixed_noise(config, config.samples, run)[run.rank :: run.world_size]
    with run.evaluation(drawer) as net:
        real = (pictures for (pictures,) in run.loader(held_out, 200))
        distance, variety = compare(real, (net(part) for part in own.split(200)), run)
    return {"val/fid": distance, "val/variety": variety}


def load(folder: Path) -> nn.Module:
    return load_weights(folder, build(LAB.read_config(folder)))


def predict(model: nn.Module, inputs: np.ndarray) -> np.ndarray:
    """(B, noise) float32, or to translate pictures (B, 3, side, side), -1 to 1 -> pictures (B, 3, 64, 64) uint8."""
    device = next(model.parameters()).device
    with torch.no_grad():
        parts = [enlarged(model(part), data.SIDE).cpu() for part in torch.from_numpy(inputs).to(device).split(200)]
    pictures: np.ndarray = torch.cat(parts).numpy()
    return pictures


def example(data_dir: Path) -> np.ndarray:
    noise: np.ndarray = np.random.default_rng(0).standard_normal((2, NOISE), np.float32)
    return noise


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `submission.tgz`, `1.jpg` to `1000.jpg`; `samples.png`; `interpolation.png`, where each row goes from one
    noise to another; and `gradients.png`, the report's figure, of critics trained beside this generator."""
    config, model = LAB.read_config(folder), load(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    out.mkdir(parents=True, exist_ok=True)
    if config.generator == "translator":
        return cyclegan.deliver(model, data_dir, config.side, out)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)  # not the noise that chose the epoch
        noise = config.truncation * torch.randn(data.SUBMITTED, NOISE)
        pictures = predict(model, noise.numpy())
        data.write_archive(out / LAB.submission, pictures)
        grid(torch.from_numpy(pictures[:SHOWN]), 8).savefig(out / "samples.png", dpi=100)
        line = interpolation(noise[:16], lambda rows: torch.from_numpy(predict(model, rows.numpy())))
        line.savefig(out / "interpolation.png", dpi=100)
        (real,) = Faces(data_dir, config.side, held_out=False)[torch.arange(COMPARED)]
        with torch.no_grad():
            fake = model(noise[:COMPARED].to(next(model.parameters()).device)).cpu()
        figure = gradient_figure(gradient_norms(real, fake, config.clip, config.penalty))
    figure.savefig(out / "gradients.png", dpi=100, bbox_inches="tight")


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    if not (judge := data_dir / data.JUDGE).exists():
        return {}
    (images,) = shards.ArrowDataset(data_dir, "train", ("image",)).columns
    mean = images[torch.arange(min(1000, len(images)))].float().mean(0).round().byte().numpy()
    return face_judge.judge(judge, data.submitted(delivered / LAB.submission), mean)


def space() -> dict[str, dict[str, object]]:
    return {
        "loss": {"type": "choice", "values": ["bce", "wasserstein"]},
        "norm": {"type": "choice", "values": ["instance", "layer", "spectral", "none"]},
        "constraint": {"type": "choice", "values": ["none", "clip", "gradient", "r1"]},
        "clip": {"type": "loguniform", "low": 0.003, "high": 0.1, "when": {"constraint": "clip"}},
        "penalty": {"type": "loguniform", "low": 0.003, "high": 30.0},
        "critic_steps": {"type": "randint", "low": 1, "high": 6},
        "augment": {"type": "uniform", "low": 0.0, "high": 1.0},
        "average": {"type": "choice", "values": [0.0, 0.98, 0.995, 0.999]},
        "lr": {"type": "loguniform", "low": 1e-4, "high": 5e-3},
        "lr_critic": {"type": "loguniform", "low": 1e-4, "high": 5e-3},
        "beta1": {"type": "choice", "values": [0.0, 0.5, 0.9]},
        "beta2": {"type": "choice", "values": [0.9, 0.99, 0.999]},
        "width": {"type": "choice", "values": [8, 16, 32, 64]},
        "epochs": {"type": "randint", "low": 10, "high": 200},
        "truncation": {"type": "uniform", "low": 0.5, "high": 1.0},
    }


LONGER = {"epochs": 40, "lr": 5e-4, "lr_critic": 5e-4, "average": 0.995}
WGAN_GP = {"loss": "wasserstein", "norm": "layer", "constraint": "gradient", "beta1": 0.0, "beta2": 0.9}
STYLE = {"generator": "style", "critic_steps": 2, "lr": 1e-3, "lr_critic": 1e-3, "fall": 0.5}
CYCLE = {"generator": "translator", "loss": "squares", "cycle": 2.0, "lr": 1e-3, "lr_critic": 2e-4, "fall": 0.5}

LAB = Lab(
    heading=COURSE["gan"],
    config=GanConfig,
    presets={
        "simple": {},
        "medium": LONGER,
        "strong": {**LONGER, **WGAN_GP},
        "boss": {**LONGER, **WGAN_GP, **STYLE},
        "cycle": {**LONGER, **CYCLE},
    },
    sizes={
        "tiny": {"width": 4, "side": 32, "batch_size": 16, "epochs": 2, "samples": SHOWN},
        "small": {"width": 16, "side": 32, "batch_size": 32, "validate_every": 5},
        "course": {},
    },
    train=train,
    load=load,
    predict=predict,
    example=example,
    deliver=deliver,
    check_submission=data.check_archive,
    score=score,
    submission="submission.tgz",
    space=space,
    network=every_network,
    data=data,
    tuned={
        **{(preset, "tiny"): {"epochs": 2} for preset in ("medium", "strong", "boss", "cycle")},
        ("simple", "small"): {"epochs": 10, "lr": 5e-4, "lr_critic": 5e-4},
        ("medium", "small"): {"epochs": 16, "average": 0.9, "batch_size": 16},
        ("strong", "small"): {"epochs": 28, "average": 0.9, "batch_size": 16},
        ("boss", "small"): {"epochs": 44, "average": 0.98, "batch_size": 16},
        ("cycle", "small"): {"epochs": 10, "average": 0.98, "batch_size": 16, "width": 8},
    },
    seconds={"tiny": 2, "small": 60, "course": 3600},
)
