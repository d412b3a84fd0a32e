"""CycleGAN: training of two generators that translate between two styles, from unpaired pictures.

The adversarial loss of each style's critic makes translations look like that style; the cycle-consistency loss makes
them keep their content, as a picture that is translated and translated back has to be the picture that it was. Zhu et
al., arXiv:1703.10593.
"""

from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional as F

from labs.core.errors import BadInput
from labs.core.meter import Meter
from labs.core.run import Run
from labs.core.weights import unwrap
from labs.gan import data
from labs.gan.collapse import detect_collapse
from labs.gan.config import METRIC, GanConfig
from labs.gan.cyclegan_networks import CycleGan
from labs.gan.figures import grid, submission_pictures
from labs.gan.losses import critic_loss, generator_loss
from labs.gan.networks import build_generator
from labs.gan.optimisation import build_optimizers, optimizer_step, set_learning_rates, update_ema_generator
from labs.gan.pictures import GlobalRandom, Pictures
from labs.gan.random_features import distance_and_variety

COLUMNS = 8
"""Columns of a figure."""


def train(config: GanConfig, run: Run) -> None:
    """Each step updates both generators, then both critics; the EMA weights of the generator into the faces' style are
    kept.

    In the paper's letters, x is a face, y a picture in the other style, G: x -> y is `to_other`, F: y -> x `to_face`.
    """
    faces = Pictures(run.data_dir, config.side, held_out=False)
    others = other_style(run.data_dir, config.side, held_out=False)
    wrapped = run.wrap(CycleGan(config.width, config.side).to(memory_format=torch.channels_last))
    networks: Any = unwrap(wrapped)  # losses need all four networks, not the wrapper's forward
    to_face, to_other = networks.generator
    face_critic, other_critic = networks.critic
    ema_generator = build_generator(config).to(memory_format=torch.channels_last).to(run.device)
    ema_generator.load_state_dict(to_face.state_dict())
    generator_optimizer, critic_optimizer = build_optimizers(config, networks)
    progress = {"collapsed": 0, "steps": 0}
    state = {"networks": wrapped, "ema_generator": ema_generator, "generator_optimizer": generator_optimizer,
             "critic_optimizer": critic_optimizer, "progress": progress}  # fmt: skip
    batches = run.loader(faces, config.batch_size, train=True)

    for epoch in run.epochs(config.epochs, state=state):
        random = GlobalRandom(run, epoch)
        critic_meter, adversarial_meter, cycle_meter = Meter(), Meter(), Meter()
        set_learning_rates(config, (generator_optimizer, critic_optimizer), epoch)
        for (x,) in batches:
            progress["steps"] += 1
            # Draw a batch of the other style, of the same size, unpaired
            rows = (random.uniform(len(x), 1)[:, 0] * len(others)).long()
            y = others[rows.cpu()][0].to(run.device)

            # Translate, and translate back: ||F(G(x)) - x||_1 + ||G(F(y)) - y||_1   (cycle consistency)
            fake_x, fake_y = to_face(y), to_other(x)
            cycle = F.l1_loss(to_face(fake_y), x) + F.l1_loss(to_other(fake_x), y)

            # Step of the generators: L = L_GAN(F) + L_GAN(G) + lambda * L_cycle
            adversarial = (generator_loss(config.loss, face_critic(fake_x))
                           + generator_loss(config.loss, other_critic(fake_y)))  # fmt: skip
            loss = adversarial + config.cycle_weight * cycle
            optimizer_step(generator_optimizer, networks.generator, loss, run)

            # Step of the critics: each on real pictures of its style and on the translations into it
            critics = (critic_loss(config.loss, face_critic(x), face_critic(fake_x.detach()))
                       + critic_loss(config.loss, other_critic(y), other_critic(fake_y.detach())))  # fmt: skip
            optimizer_step(critic_optimizer, networks.critic, critics, run)

            # Update the EMA weights and the epoch's means
            update_ema_generator(ema_generator, to_face, config.ema_decay, progress["steps"])
            for meter, value in ((critic_meter, critics), (adversarial_meter, adversarial), (cycle_meter, cycle)):
                meter.add(value, len(x))

        # Log the means over all workers; validate
        run.log({"train/critic_loss": run.mean(critic_meter.sum, critic_meter.count),
                 "train/loss": run.mean(adversarial_meter.sum, adversarial_meter.count),
                 "train/cycle_loss": run.mean(cycle_meter.sum, cycle_meter.count)})  # fmt: skip
        if (epoch + 1) % config.validate_every == 0 or epoch + 1 == config.epochs:
            _validate_epoch(config, networks, ema_generator, progress, epoch, run)


def _validate_epoch(
    config: GanConfig, networks: CycleGan, ema_generator: nn.Module, progress: dict[str, int], epoch: int, run: Run
) -> None:
    """Log the validation metrics of an epoch, keep the best EMA weights, and draw translations of held-out pictures."""
    faces = Pictures(run.data_dir, config.side, held_out=True)
    others = other_style(run.data_dir, config.side, held_out=True)
    distance, variety = validate(ema_generator, faces, others, run)
    collapsed = detect_collapse(progress, variety, (epoch + 1) / config.epochs, run)
    run.log({"val/fid": distance, "val/variety": variety, "val/collapsed": collapsed})
    run.best(METRIC, ema_generator)
    shown = [part[torch.arange(COLUMNS) % len(part)][0].to(run.device) for part in (others, faces)]  # few are repeated
    run.figure(f"samples-{epoch + 1:04d}", cycle_figure(networks, *shown))


def other_style(data_dir: Path, side: int, *, held_out: bool) -> Pictures:
    """The training set or the held-out set of the pictures in the other style.

    Raises:
        BadInput: the data have no pictures in another style.
    """
    name = data.OTHER_STYLE
    if not (data_dir / f"{name}.arrow").exists():
        raise BadInput(f"{name}/ is missing in the data: generator=cyclegan (preset cycle) needs pictures in a "
                       f"second style, {name}/0.jpg, {name}/1.jpg, ...")  # fmt: skip
    return Pictures(data_dir, side, held_out=held_out, split=name)


def validate(ema_generator: nn.Module, faces: Pictures, others: Pictures, run: Run) -> tuple[float, float]:
    """The Fréchet distance of translated held-out pictures from held-out faces, on random features, and their variety
    as a fraction of the faces'."""
    with run.evaluation(ema_generator) as net:
        real = (batch for (batch,) in run.loader(faces, 200))
        translated = (net(batch) for (batch,) in run.loader(others, 200))
        return distance_and_variety(real, translated, run)


def cycle_figure(networks: CycleGan, other: torch.Tensor, face: torch.Tensor) -> Figure:
    """Two times three rows: pictures (COLUMNS, 3, side, side) of one style, translated, and translated back."""
    to_face, to_other = networks.generator
    with torch.no_grad():
        fake_face, fake_other = to_face(other), to_other(face)
        rows = [other, fake_face, to_other(fake_face), face, fake_other, to_face(fake_other)]
    names = ["other style", "as a face", "and back", "face", "in the other style", "and back"]
    return grid(submission_pictures(torch.cat(rows), data.SIDE).cpu(), COLUMNS, "Held-out pictures, translated", names)


def deliver(generator: nn.Module, data_dir: Path, side: int, out: Path) -> Figure:
    """Write `submission.tgz`, pictures of the other style translated into faces, repeated up to the number that is
    submitted; returns a figure of the first 32 pictures, each above its translation.

    Held-out pictures come first.
    """
    parts = [other_style(data_dir, side, held_out=held_out) for held_out in (True, False)]
    pictures = torch.cat([part[torch.arange(min(data.SUBMITTED, len(part)))][0] for part in parts])
    device = next(generator.parameters()).device
    with torch.no_grad():
        translated = torch.cat(
            [submission_pictures(generator(batch.to(device)), data.SIDE).cpu() for batch in pictures.split(200)]
        )
    rows = torch.arange(data.SUBMITTED) % len(translated)
    data.write_archive(out / "submission.tgz", translated[rows].numpy())
    # Four times a row of pictures and the row of their translations: (4, 2, COLUMNS, 3, 64, 64)
    originals = submission_pictures(pictures, data.SIDE)
    shown = [part[: 4 * COLUMNS].unflatten(0, (4, COLUMNS)) for part in (originals, translated)]
    return grid(torch.stack(shown, 1).flatten(0, 2), COLUMNS, "Translations", ["other style", "as a face"] * 4)
