"""Training of two translators between two styles of which no two pictures belong together (CycleGAN).

A critic of each style wants pictures in it; that they go on showing the same face comes from the way back, which has to
end at the picture it began with. Zhu et al., arXiv:1703.10593.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from labs.core.errors import BadInput
from labs.core.heading import Metric
from labs.core.run import Run
from labs.core.weights import unwrap
from labs.gan import data
from labs.gan.collapse import watch
from labs.gan.figures import enlarged, grid
from labs.gan.losses import critic_loss, generator_loss
from labs.gan.optimisation import build, follow, optimizers, set_rates, step
from labs.gan.pictures import Draws, Faces
from labs.gan.random_features import compare
from labs.gan.translators import Pair

if TYPE_CHECKING:
    from labs.gan.lesson import GanConfig

SHOWN = 8
"""Columns of a figure."""


def train(config: "GanConfig", run: Run, metric: Metric) -> None:
    """Every step moves both translators, then both critics; the averaged translator into the faces' style is kept."""
    learning, held_out = (Faces(run.data_dir, config.side, held_out=held) for held in (False, True))
    others, others_held = (others_of(run.data_dir, config.side, held_out=held) for held in (False, True))
    wrapped = run.wrap(Pair(config.width, config.side).to(memory_format=torch.channels_last))
    pair: Any = unwrap(wrapped)  # losses need all four networks, not the wrapper's forward
    (to_face, to_other), (is_face, is_other) = pair.generator, pair.critic
    drawer = build(config).to(memory_format=torch.channels_last).to(run.device)
    drawer.load_state_dict(to_face.state_dict())
    for_generators, for_critics = optimizers(config, pair)
    progress = {"collapsed": 0, "steps": 0}
    state = {"networks": wrapped, "drawer": drawer, "generator_optimizer": for_generators,
             "critic_optimizer": for_critics, "progress": progress}  # fmt: skip
    batches = run.loader(learning, config.batch_size, train=True)

    for epoch in run.epochs(config.epochs, state=state):
        draws, sums, count = Draws(run, epoch), torch.zeros(3, device=run.device), 0
        set_rates(config, (for_generators, for_critics), epoch)
        for (face,) in batches:
            progress["steps"] += 1
            rows = (draws.uniform(len(face), 1)[:, 0] * len(others)).long()
            other = others[rows.cpu()][0].to(run.device)
            new_face, new_other = to_face(other), to_other(face)
            back = F.l1_loss(to_face(new_other), face) + F.l1_loss(to_other(new_face), other)
            fooled = generator_loss(config.loss, is_face(new_face)) + generator_loss(config.loss, is_other(new_other))
            step(for_generators, pair.generator, fooled + config.cycle * back, run)
            told = (critic_loss(config.loss, is_face(face), is_face(new_face.detach()))
                    + critic_loss(config.loss, is_other(other), is_other(new_other.detach())))  # fmt: skip
            step(for_critics, pair.critic, told, run)
            follow(drawer, to_face, config.average, progress["steps"])
            sums += len(face) * torch.stack([told, fooled, back]).detach()
            count += len(face)
        names = ("train/critic_loss", "train/loss", "train/cycle_loss")
        run.log({name: run.mean(total, count) for name, total in zip(names, sums, strict=True)})
        if (epoch + 1) % config.validate_every == 0 or epoch + 1 == config.epochs:
            distance, variety = validate(drawer, held_out, others_held, run)
            collapsed = watch(progress, variety, (epoch + 1) / config.epochs, run)
            run.log({"val/fid": distance, "val/variety": variety, "val/collapsed": collapsed})
            run.best(metric, drawer)
            parts = (part[torch.arange(SHOWN) % len(part)] for part in (others_held, held_out))  # few may be held out
            shown = (pictures.to(run.device) for (pictures,) in parts)
            run.figure(f"samples-{epoch + 1:04d}", there_and_back(pair, *shown))


def others_of(data_dir: Path, side: int, *, held_out: bool) -> Faces:
    """Pictures in the other style; `BadInput` if the data have none."""
    name = data.OTHERS
    if not (data_dir / f"{name}.arrow").exists():
        raise BadInput(f"{name}/ is missing in the data: generator=translator (preset cycle) needs pictures in a "
                       f"second style, {name}/0.jpg, {name}/1.jpg, ...")  # fmt: skip
    return Faces(data_dir, side, held_out=held_out, split=name)


def validate(drawer: nn.Module, faces: Faces, others: Faces, run: Run) -> tuple[float, float]:
    """Distance of held-out pictures, translated, from held-out faces; and how much they differ, as a share of those."""
    with run.evaluation(drawer) as net:
        real, told = (run.loader(part, 200) for part in (faces, others))
        return compare((part for (part,) in real), (net(part) for (part,) in told), run)


def there_and_back(pair: Pair, other: torch.Tensor, face: torch.Tensor) -> Any:
    """Figure of two times three rows: pictures of one style, translated, and translated back."""
    to_face, to_other = pair.generator
    rows = []
    with torch.no_grad():
        for pictures, there, back in ((other, to_face, to_other), (face, to_other, to_face)):
            translated = there(pictures)
            rows += [pictures, translated, back(translated)]
    return grid(enlarged(torch.cat(rows), data.SIDE).cpu(), SHOWN)


def deliver(drawer: nn.Module, data_dir: Path, side: int, out: Path) -> None:
    """Write pictures in the other style, translated into the faces' and repeated as often as needed, as
    `submission.tgz`; and `translations.png`, first of all those that were held out, each below what it was made of."""
    parts = [others_of(data_dir, side, held_out=held) for held in (True, False)]
    pictures = torch.cat([part[torch.arange(min(data.SUBMITTED, len(part)))][0] for part in parts])
    device = next(drawer.parameters()).device
    with torch.no_grad():
        told = torch.cat([enlarged(drawer(part.to(device)), data.SIDE).cpu() for part in pictures.split(200)])
    rows = torch.arange(data.SUBMITTED) % len(told)
    data.write_archive(out / "submission.tgz", told[rows].numpy())
    shown = [part[: 4 * SHOWN].unflatten(0, (4, SHOWN)) for part in (enlarged(pictures, data.SIDE), told)]
    figure = grid(torch.stack(shown, 1).flatten(0, 2), SHOWN)
    figure.savefig(out / "translations.png", dpi=100)
