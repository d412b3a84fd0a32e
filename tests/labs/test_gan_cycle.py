"""Promises of the GAN lab's preset `cycle`: CycleGAN's two generators translate between two styles, unpaired."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labs.core.errors import BadInput
from labs.core.run import Run
from labs.gan import data, losses
from labs.gan.cyclegan import other_style, validate
from labs.gan.cyclegan_networks import patch_critic
from labs.gan.lesson import LAB, predict
from labs.gan.networks import build_generator
from labs.gan.pictures import Pictures
from tests.labs.store import Store
from tests.labs.workers import last_metrics, train_on


@pytest.fixture(scope="module")
def finished(store: Store) -> Path:
    return store.finished("gan", "cycle")


def test_the_cycle_consistency_loss_keeps_the_content(data_dir: Path, tmp_path: Path) -> None:
    """A picture that is translated and translated back is nearer to what it was with the loss than without."""
    errors = []
    for weight in (0.0, 10.0):
        run = Run(tmp_path / str(weight), data_dir, seed=1)
        LAB.train(LAB.resolve("cycle", "tiny", {"cycle_weight": weight, "epochs": 2}), run)
        errors.append(last_metrics(run.folder)["train/cycle_loss"])
    assert errors[1] < 0.6 * errors[0]


def test_translations_are_delivered_and_judged(finished: Path) -> None:
    """The archive has the course's thousand pictures, though fewer were translated; both figures and the judge's
    metrics are there."""
    assert LAB.check_submission(finished / "deliver/submission.tgz") == []
    images = data.read_submission(finished / "deliver/submission.tgz")
    assert (images[0] == images[60]).all()
    assert [path.name for path in sorted((finished / "figures").iterdir())] == ["samples-0001.png", "samples-0002.png"]
    metrics = json.loads((finished / "result.json").read_text())["metrics"]
    assert {"test/fid", "test/afd", "test/coverage", "val/fid", "train/cycle_loss"} <= set(metrics)


def test_two_workers_are_one(data_dir: Path, tmp_path: Path) -> None:
    """Parameters are bit-equal across ranks and equal one worker's; validation is one process's on the same weights."""
    # Adam makes whole steps of gradients that are but rounding errors; at this rate such steps stay small.
    config = LAB.resolve("cycle", "tiny", {"epochs": 1, "lr": 2e-4})
    (alone,) = train_on(1, "gan", config, data_dir, tmp_path / "one")
    first, second = train_on(2, "gan", config, data_dir, tmp_path / "two")
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name])
        assert torch.allclose(tensor, alone[name], atol=1e-4), name
    generator = build_generator(config)
    generator.load_state_dict(
        torch.load(tmp_path / "two/checkpoints/step-000001/state.pt", weights_only=True)["ema_generator"]
    )
    held_out = Pictures(data_dir, 32, held_out=True), other_style(data_dir, 32, held_out=True)
    again = validate(generator, *held_out, Run(tmp_path / "again", data_dir))
    logged = last_metrics(tmp_path / "two")
    assert again == pytest.approx((logged["val/fid"], logged["val/variety"]), rel=1e-4)


def test_least_squares_are_the_papers() -> None:
    """Least squares with labels 1 and 0 (Mao et al.), of patches as of whole pictures."""
    real, fake = torch.randn(2, 3, 1, 4, 4)
    ones, zeros = torch.ones_like(real), torch.zeros_like(real)
    expected = (F.mse_loss(real, ones) + F.mse_loss(fake, zeros)) / 2
    assert torch.allclose(losses.critic_loss("least-squares", real, fake), expected)
    assert torch.allclose(losses.generator_loss("least-squares", fake), F.mse_loss(fake, ones))


def test_a_patch_critic_sees_patches() -> None:
    """What lies further than a patch away changes nothing, the norm aside."""
    picture = torch.zeros(1, 3, 64, 64, requires_grad=True)
    layers = [layer for layer in patch_critic(4) if not isinstance(layer, nn.GroupNorm)]
    nn.Sequential(*layers)(picture)[0, 0, 7, 7].backward()
    rows = picture.grad.abs().sum((0, 1, 3)).nonzero()
    assert rows.max() - rows.min() + 1 == 22


def test_data_without_another_style_are_refused(data_dir: Path, tmp_path: Path) -> None:
    """One sentence with the folder that is missing; the ladder's presets need none."""
    (tmp_path / "packed").mkdir()
    shutil.copy(data_dir / "train.arrow", tmp_path / "packed")
    with pytest.raises(BadInput, match=r"other/ is missing in the data: generator=cyclegan \(preset cycle\) needs"):
        LAB.train(LAB.resolve("cycle", "tiny"), Run(tmp_path / "run", tmp_path / "packed"))


def test_few_pictures_are_enough(source: Path, tmp_path: Path) -> None:
    """As few as the check accepts: of fifty faces five are held out, fewer than a figure has columns."""
    for name in ("faces", "other"):
        (tmp_path / "few" / name).mkdir(parents=True)
        for number in range(50):
            shutil.copy(source / name / f"{number}.jpg", tmp_path / "few" / name)
    assert data.check(tmp_path / "few") == []
    data.prepare(tmp_path / "few", tmp_path, "folder")
    LAB.fit(LAB.resolve("cycle", "tiny", {"epochs": 1}), Run(tmp_path / "run", tmp_path))
    assert (tmp_path / "run" / "deliver" / "translations.png").exists()


def test_another_style_is_checked_and_packed(source: Path, tmp_path: Path) -> None:
    """Its pictures are held to the same rules, and lie in a split of their own."""
    shutil.copytree(source, tmp_path / "made")
    manifest = data.prepare(tmp_path / "made", tmp_path, "folder")
    assert manifest["splits"] == {"train": 120, "other": 60}
    (tmp_path / "made/other/7.jpg").write_bytes(b"")
    (fault,) = data.check(tmp_path / "made")
    assert fault.startswith("other/7.jpg: ")


def test_a_quarter_of_the_other_style_is_held_out(data_dir: Path) -> None:
    """No held-out picture is in the training set."""
    held_out, training = (other_style(data_dir, 32, held_out=held) for held in (True, False))
    assert (len(held_out), len(training)) == (15, 45)
    assert not set(held_out.rows.tolist()) & set(training.rows.tolist())


def test_the_trained_model_translates(finished: Path, data_dir: Path) -> None:
    """Pictures in, pictures of the submission's size out."""
    model = LAB.load(finished)
    assert predict(model, model.example(data_dir)).shape == (2, 3, 64, 64)
