"""Homework 6, generative adversarial networks: generating faces from noise.

Task
    Train a generator on pictures of faces; submit 1,000 generated pictures of 64 x 64 pixels.
Data
    `labs.gan.data`: the course's 71,314 anime faces, or drawn avatars in the same format. At size `small` the networks
    work on 32 x 32 pixels, and the submitted pictures are enlarged.
Metric
    Fréchet distance (FID) between features of generated and of real pictures, lower is better. The course's thresholds
    (simple 30000, medium 12000, strong 10000, boss 9000; for AFD, the fraction of pictures with a face, 0, 0.4, 0.5,
    0.6) are on a scale that was never published. Ours is that of `labs.gan.judge`, whose feature extractor was trained
    to predict the factors of drawn faces: there the mean face has over 300, and `test/fid-real` is the distance of real
    faces that no generator has learnt from, which no generator can be expected to beat. `test/afd` is our own face
    detector's. `test/precision` measures the quality of single pictures, `test/recall` and `test/coverage` their
    variety. At size `tiny` the judge is hardly trained, and its numbers mean nothing.
    The judge is used for the final score only. `val/fid` is a Fréchet distance to held-out faces, on features of a
    network with random weights. It chooses the epoch whose weights are kept: the last one is rarely the best, and the
    losses of a GAN do not measure quality.
Ladder
    simple   the sample: DCGAN with cross-entropy and batch norm, trained for a short time.
    medium   trained longer, higher learning rates, and EMA weights generate the pictures.
    strong   WGAN-GP: the critic's unbounded score in place of a probability, and the gradient penalty, which in the
             sample is an empty function, `gp`. Layer norm, because a penalty on single pictures rules out batch norm
             and the course's instance norm removes colours; no momentum, because the critic's target moves.
    boss     a style-based generator, two steps of the critic for each of the generator, and learning rate decay.
Beyond
    `cycle` (lecture 6): CycleGAN translates pictures in another style, `other/`, into faces, from unpaired pictures.
    `constraint=clip` with `optimizer=rmsprop`: the first WGAN. `norm=spectral` (arXiv:1802.05957). `constraint=r1` and
    `augment` keep a critic from learning few pictures by heart.
Report
    (a)  Name two differences between GAN and WGAN.
    (b)  How large is the gradient in each layer of a critic with weight clipping, and of one with gradient penalty?
Words
    The critic is the discriminator; that is the name of a discriminator without sigmoid in the papers on WGANs.
Papers
    Goodfellow et al., GAN (arXiv:1406.2661); Radford et al., DCGAN (arXiv:1511.06434); Arjovsky et al., WGAN
    (arXiv:1701.07875); Gulrajani et al., WGAN-GP (arXiv:1704.00028); Karras et al., StyleGAN (arXiv:1812.04948);
    Mescheder et al., R1 (arXiv:1801.04406); Karras et al., lazy regularization (arXiv:1912.04958); Zhao et al.,
    differentiable augmentation (arXiv:2006.10738); Zhu et al., CycleGAN (arXiv:1703.10593).
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from labs import COURSE
from labs.core import shards
from labs.core.errors import BadInput
from labs.core.lab import Lab
from labs.core.meter import Meter
from labs.core.run import Run
from labs.core.weights import load_weights, unwrap
from labs.gan import cyclegan, data, demo, generate, report
from labs.gan.augmentation import AUGMENTATION_NUMBERS, augment
from labs.gan.collapse import detect_collapse
from labs.gan.config import GRID, METRIC, GanConfig
from labs.gan.figures import gradient_norms, grid, interpolation, submission_pictures
from labs.gan.judge import judge
from labs.gan.losses import clip_weights, critic_loss, generator_loss, gradient_penalty, r1_penalty
from labs.gan.networks import NOISE_DIM, build_generator, build_networks
from labs.gan.optimisation import (
    build_optimizers,
    optimizer_step,
    recalibrate_batch_norm,
    set_learning_rates,
    update_ema_generator,
)
from labs.gan.pictures import GlobalRandom, Pictures
from labs.gan.random_features import distance_and_variety

R1_INTERVAL = 4
"""R1 is computed in every fourth step only, with four times the weight (lazy regularization): it changes slowly."""
NUM_COMPARED = 40
"""Real and generated pictures on which the report's figure measures gradient norms."""
PENALTIES = ("gradient-penalty", "r1")
"""Constraints that differentiate the critic twice, which torch.compile can't."""


def train(config: GanConfig, run: Run) -> None:
    if config.generator == "cyclegan":
        return cyclegan.train(config, run)
    if config.batch_size < 2 * run.world_size:
        raise BadInput(f"batch_size is {config.batch_size}, expected at least 2 for each worker: "
                       "a single picture has no batch statistics")  # fmt: skip
    model = build_networks(config).to(memory_format=torch.channels_last)
    wrapped = run.wrap(model, compilable=config.constraint not in PENALTIES)
    # Bare networks: no loss goes through the wrapper's forward, so `optimizer_step` averages the workers' gradients.
    networks: Any = unwrap(wrapped)
    generator, critic = networks.generator, networks.critic
    ema_generator = build_generator(config).to(memory_format=torch.channels_last).to(run.device)
    ema_generator.load_state_dict(generator.state_dict())
    generator_optimizer, critic_optimizer = build_optimizers(config, networks)
    progress = {"collapsed": 0, "steps": 0}
    state = {"networks": wrapped, "ema_generator": ema_generator, "generator_optimizer": generator_optimizer,
             "critic_optimizer": critic_optimizer, "progress": progress}  # fmt: skip
    batches = run.loader(Pictures(run.data_dir, config.side, held_out=False), config.batch_size, train=True)

    for epoch in run.epochs(config.epochs, state=state):
        random, critic_meter, generator_meter = GlobalRandom(run, epoch), Meter(), Meter()
        set_learning_rates(config, (generator_optimizer, critic_optimizer), epoch)
        for (real,) in batches:
            n = len(real)
            if n == 1:  # the rest of the pass: a single picture has no batch statistics
                continue
            progress["steps"] += 1

            # Generate pictures G(z), z ~ N(0, I), without gradients: they are for the critic's step
            with torch.no_grad():
                fake = generator(random.normal(n, NOISE_DIM))
            real, fake = (augmented(pictures, config, random) for pictures in (real, fake))

            # Critic step: min_D L_D(D(x), D(G(z))) + penalty; D(x) rises for real pictures, falls for generated ones
            loss = adversarial = critic_loss(config.loss, critic(real), critic(fake))
            if config.constraint == "gradient-penalty":
                # lambda * E[(||grad D(x_hat)||_2 - 1)^2], x_hat between a real and a generated picture
                t = random.uniform(n, 1)[:, 0]
                loss = loss + config.penalty_weight * gradient_penalty(critic, real, fake, t)
            elif config.constraint == "r1" and progress["steps"] % R1_INTERVAL == 0:
                # gamma / 2 * E[||grad D(x)||_2^2], x a real picture
                loss = loss + R1_INTERVAL * config.penalty_weight / 2 * r1_penalty(critic, real)
            optimizer_step(critic_optimizer, critic, loss, run)
            if config.constraint == "clip":
                clip_weights(critic, config.clip)
            critic_meter.add(adversarial, n)
            if progress["steps"] % config.critic_steps:
                continue

            # Generator step, after every `critic_steps` steps of the critic: min_G L_G(D(G(z))); then the EMA weights
            fake = augmented(generator(random.normal(n, NOISE_DIM)), config, random)
            loss = generator_loss(config.loss, critic(fake))
            optimizer_step(generator_optimizer, generator, loss, run)
            generator_meter.add(loss, n)
            update_ema_generator(ema_generator, generator, config.ema_decay, progress["steps"] // config.critic_steps)

        # Log the means over all workers, and validate
        run.log({"train/critic_loss": run.mean(critic_meter.sum, critic_meter.count),
                 "train/loss": run.mean(generator_meter.sum, generator_meter.count)})  # fmt: skip
        if (epoch + 1) % config.validate_every == 0 or epoch + 1 == config.epochs:
            _validate_epoch(config, ema_generator, progress, epoch, run)


def augmented(pictures: torch.Tensor, config: GanConfig, random: GlobalRandom) -> torch.Tensor:
    """The pictures as the critic sees them."""
    if not config.augment:
        return pictures
    return augment(pictures, random.uniform(len(pictures), AUGMENTATION_NUMBERS), config.augment)


def fixed_noise(config: GanConfig, count: int, run: Run, seed: int = 0) -> torch.Tensor:
    """(count, NOISE_DIM), truncated: always the same, so that the grids of all epochs show the same faces."""
    noise = torch.randn(count, NOISE_DIM, generator=torch.Generator().manual_seed(seed))
    return (config.truncation * noise).to(run.device)


def _validate_epoch(
    config: GanConfig, ema_generator: nn.Module, progress: dict[str, int], epoch: int, run: Run
) -> None:
    """Log the validation metrics of an epoch, keep the best EMA weights, and draw a grid of samples."""
    recalibrate_batch_norm(ema_generator, fixed_noise(config, 1000, run, seed=2))
    metrics = validate(config, ema_generator, Pictures(run.data_dir, config.side, held_out=True), run)
    collapsed = detect_collapse(progress, metrics["val/variety"], (epoch + 1) / config.epochs, run)
    run.log({**metrics, "val/collapsed": collapsed})
    run.best(METRIC, ema_generator)
    with run.evaluation(ema_generator) as net:
        samples = submission_pictures(net(fixed_noise(config, GRID, run)), config.side).cpu()
    run.figure(f"samples-{epoch + 1:04d}", grid(samples, 8, f"Generated after epoch {epoch + 1}, from the same noise"))


def validate(config: GanConfig, ema_generator: nn.Module, held_out: Pictures, run: Run) -> dict[str, float]:
    """`val/fid` on random features, and `val/variety`: how much generated pictures vary, as a fraction of how much real
    ones do."""
    noise = fixed_noise(config, config.samples, run)[run.rank :: run.world_size]
    with run.evaluation(ema_generator) as net:
        real = (pictures for (pictures,) in run.loader(held_out, 200))
        distance, variety = distance_and_variety(real, (net(part) for part in noise.split(200)), run)
    return {"val/fid": distance, "val/variety": variety}


def load(folder: Path) -> nn.Module:
    return load_weights(folder, build_generator(LAB.read_config(folder)))


def predict(model: nn.Module, inputs: np.ndarray) -> np.ndarray:
    """Noise (B, NOISE_DIM) or, for CycleGAN, pictures (B, 3, side, side) from -1 to 1, float32 -> pictures
    (B, 3, 64, 64) uint8."""
    device = next(model.parameters()).device
    with torch.no_grad():
        batches = torch.from_numpy(inputs).to(device).split(200)
        pictures = torch.cat([submission_pictures(model(batch), data.SIDE).cpu() for batch in batches])
    output: np.ndarray = pictures.numpy()
    return output


def example(data_dir: Path) -> np.ndarray:
    noise: np.ndarray = np.random.default_rng(0).standard_normal((2, NOISE_DIM), np.float32)
    return noise


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `submission.tgz` with `1.jpg` to `1000.jpg`, and the report, for which two small critics are trained."""
    config, model = LAB.read_config(folder), load(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    out.mkdir(parents=True, exist_ok=True)
    if config.generator == "cyclegan":
        return report.write(LAB, folder, out, {"translations": cyclegan.deliver(model, data_dir, config.side, out)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)  # other noise than that on which the epoch was chosen
        noise = config.truncation * torch.randn(data.SUBMITTED, NOISE_DIM)
        pictures = predict(model, noise.numpy())
        data.write_archive(out / LAB.submission, pictures)
        rows = interpolation(noise[:16], lambda between: torch.from_numpy(predict(model, between.numpy())))
        (real,) = Pictures(data_dir, config.side, held_out=False)[torch.arange(NUM_COMPARED)]
        with torch.no_grad():
            fake = model(noise[:NUM_COMPARED].to(next(model.parameters()).device)).cpu()
        norms = gradient_norms(real, fake, config.clip, config.penalty_weight)
    samples = grid(torch.from_numpy(pictures[:GRID]), 8, f"The first {GRID} submitted pictures")
    report.write(LAB, folder, out, {"samples": samples, "interpolation": rows}, norms)


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    weights = data_dir / data.JUDGE
    if not weights.exists():
        return {}
    (images,) = shards.ArrowDataset(data_dir, "train", ("image",)).columns
    mean = images[torch.arange(min(1000, len(images)))].float().mean(0).round().byte().numpy()
    held_out = images[Pictures(data_dir, data.SIDE, held_out=True).rows].numpy()
    return judge(weights, data.read_submission(delivered / LAB.submission), mean, held_out)


def space() -> dict[str, dict[str, object]]:
    return {
        "loss": {"type": "choice", "values": ["bce", "wasserstein"]},
        "norm": {"type": "choice", "values": ["instance", "layer", "spectral", "none"]},
        "constraint": {"type": "choice", "values": ["none", "clip", "gradient-penalty", "r1"]},
        "clip": {"type": "loguniform", "low": 0.003, "high": 0.1, "when": {"constraint": "clip"}},
        "penalty_weight": {"type": "loguniform", "low": 0.003, "high": 30.0},
        "critic_steps": {"type": "randint", "low": 1, "high": 6},
        "augment": {"type": "uniform", "low": 0.0, "high": 1.0},
        "ema_decay": {"type": "choice", "values": [0.0, 0.98, 0.995, 0.999]},
        "lr": {"type": "loguniform", "low": 1e-4, "high": 5e-3},
        "lr_critic": {"type": "loguniform", "low": 1e-4, "high": 5e-3},
        "beta1": {"type": "choice", "values": [0.0, 0.5, 0.9]},
        "beta2": {"type": "choice", "values": [0.9, 0.99, 0.999]},
        "width": {"type": "choice", "values": [8, 16, 32, 64]},
        "epochs": {"type": "randint", "low": 10, "high": 200},
        "truncation": {"type": "uniform", "low": 0.5, "high": 1.0},
    }


LONGER = {"epochs": 40, "lr": 5e-4, "lr_critic": 5e-4, "ema_decay": 0.995}
WGAN_GP = {"loss": "wasserstein", "norm": "layer", "constraint": "gradient-penalty", "beta1": 0.0, "beta2": 0.9}
STYLE = {"generator": "style", "critic_steps": 2, "lr": 1e-3, "lr_critic": 1e-3, "lr_decay_fraction": 0.5}
CYCLE = {
    "generator": "cyclegan",
    "loss": "least-squares",
    "cycle_weight": 2.0,
    "lr": 1e-3,
    "lr_critic": 2e-4,
    "lr_decay_fraction": 0.5,
}

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
        "tiny": {"width": 4, "side": 32, "batch_size": 16, "epochs": 2, "samples": GRID},
        "small": {"width": 16, "side": 32, "batch_size": 32, "validate_every": 5},
        "course": {},
    },
    train=train,
    load=load,
    predict=predict,
    example=example,
    demo=demo.DEMO,
    deliver=deliver,
    check_submission=data.check_archive,
    score=score,
    submission="submission.tgz",
    space=space,
    network=build_networks,
    data=generate,
    tuned={
        **{(preset, "tiny"): {"epochs": 2} for preset in ("medium", "strong", "boss", "cycle")},
        ("simple", "small"): {"epochs": 10, "lr": 5e-4, "lr_critic": 5e-4},
        ("medium", "small"): {"epochs": 16, "ema_decay": 0.9, "batch_size": 16},
        ("strong", "small"): {"epochs": 28, "ema_decay": 0.9, "batch_size": 16},
        ("boss", "small"): {"epochs": 44, "ema_decay": 0.98, "batch_size": 16},
        ("cycle", "small"): {"epochs": 10, "ema_decay": 0.98, "batch_size": 16, "width": 8},
    },
    seconds={"tiny": 2, "small": 60, "course": 3600},
)
