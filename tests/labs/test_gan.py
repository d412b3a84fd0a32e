"""Promises of the GAN lab: losses and penalties beside references, both generators, training, resume, workers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from labs.core.errors import BadInput
from labs.core.run import Run
from labs.gan import losses
from labs.gan.augmentation import AUGMENTATION_NUMBERS, augment
from labs.gan.collapse import PATIENCE, detect_collapse
from labs.gan.dcgan import Discriminator, Norm
from labs.gan.figures import gradient_norms, submission_pictures
from labs.gan.lesson import LAB, predict, validate
from labs.gan.networks import NOISE_DIM, Gan, build_generator
from labs.gan.optimisation import build_optimizers, recalibrate_batch_norm, set_learning_rates
from labs.gan.pictures import GlobalRandom, Pictures
from labs.gan.random_features import RandomFeatures
from labs.gan.style_generator import StyledNorm, StyleGenerator
from tests.labs.store import Store
from tests.labs.workers import last_metrics, train_on


@pytest.fixture(scope="module")
def finished(store: Store) -> Path:
    return store.finished("gan", "boss")


@pytest.fixture(scope="module")
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    real, fake = (torch.rand(4, 3, 32, 32, generator=generator) * 2 - 1 for _ in range(2))
    return real, fake


# --- losses ----------------------------------------------------------------------------------------------------------


def test_losses_are_the_papers() -> None:
    """Cross-entropy with labels 1 and 0, as in the sample; the critic's values without a logarithm; squared distances
    to the labels, by hand."""
    real, fake = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.3, 2.0, -1.0])
    entropy = F.binary_cross_entropy
    ones, zeros = torch.ones(3), torch.zeros(3)
    expected = (entropy(real.sigmoid(), ones) + entropy(fake.sigmoid(), zeros)) / 2
    assert losses.critic_loss("bce", real, fake) == pytest.approx(expected.item())
    assert losses.generator_loss("bce", fake) == pytest.approx(entropy(fake.sigmoid(), ones).item())
    assert losses.critic_loss("wasserstein", real, fake) == pytest.approx((fake.mean() - real.mean()).item())
    assert losses.generator_loss("wasserstein", fake) == pytest.approx(-fake.mean().item())
    squares = (0 + 9 + 0.25) / 3 + (0.09 + 4 + 1) / 3
    assert losses.critic_loss("least-squares", real, fake) == pytest.approx(squares / 2)
    assert losses.generator_loss("least-squares", fake) == pytest.approx((0.49 + 1 + 4) / 3)


def test_the_penalty_of_a_linear_critic_is_known(pictures: tuple[torch.Tensor, torch.Tensor]) -> None:
    """The gradient of w·x is w everywhere: (||w|| - 1)^2, and R1 is ||w||^2."""
    weight = torch.full((3, 32, 32), 0.05)

    def critic(x: torch.Tensor) -> torch.Tensor:
        return (x * weight).sum((1, 2, 3))

    length = weight.norm().item()
    penalty = losses.gradient_penalty(critic, *pictures, torch.rand(4))
    assert penalty.item() == pytest.approx((length - 1) ** 2, rel=1e-5)
    assert losses.r1_penalty(critic, pictures[0]).item() == pytest.approx(length**2, rel=1e-5)


def test_the_penalty_is_taken_between_the_pictures_and_has_gradients(
    pictures: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """The gradient of ||x||^2/2 is x, so the penalty shows where it was taken; its own gradient reaches the weights."""
    real, fake = pictures
    weights = torch.tensor([0.0, 1.0, 0.5, 0.25])
    x_hat = torch.stack([t * x + (1 - t) * y for t, x, y in zip(weights, real, fake, strict=True)])
    expected = (x_hat.flatten(1).norm(dim=1) - 1).square().mean()
    penalty = losses.gradient_penalty(lambda x: x.square().sum((1, 2, 3)) / 2, real, fake, weights)
    assert penalty.item() == pytest.approx(expected.item(), rel=1e-5)
    critic = Discriminator(4, 32, "instance")
    losses.gradient_penalty(critic, real, fake, weights).backward()
    assert critic.layers[0].weight.grad.abs().sum() > 0


def test_clipped_weights_stay_within_the_limit() -> None:
    """Every parameter, biases too."""
    critic = Discriminator(4, 32, "none")
    losses.clip_weights(critic, 0.01)
    assert max(weight.abs().max() for weight in critic.parameters()) <= 0.01


def test_augmentation_changes_pictures_and_passes_gradients(pictures: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Strength 0 changes nothing; random numbers of 0.5 cut out a square in the middle, half as wide, and do nothing
    else."""
    real = pictures[0].clone().requires_grad_()
    numbers = torch.full((4, AUGMENTATION_NUMBERS), 0.5)
    assert torch.equal(augment(real, numbers, 0.0), real)
    augmented = augment(real, numbers, 1.0)
    kept = torch.ones(32, 32, dtype=torch.bool)
    kept[9:24, 9:24] = False
    assert torch.allclose(augmented[:, :, kept], real[:, :, kept], atol=1e-6)
    assert (augmented[:, :, 10:23, 10:23] == 0).all()
    augmented.sum().backward()
    assert torch.equal(real.grad[0, 0] != 0, (augmented[0] != 0).any(0))


def test_augmentation_translates(pictures: tuple[torch.Tensor, torch.Tensor]) -> None:
    """At strength 1 the largest translation is an eighth of the side; pixels from outside are 0."""
    numbers = torch.full((4, AUGMENTATION_NUMBERS), 0.5)
    numbers[:, 3], numbers[:, 5:] = 1.0, 0.0  # furthest, with the cutout's centre in a corner
    augmented = augment(pictures[0], numbers, 1.0)
    assert torch.allclose(augmented[:, :, 10:, 10:28], pictures[0][:, :, 10:, 14:], atol=1e-6)
    assert (augmented[:, :, :, 28:] == 0).all()


# --- networks --------------------------------------------------------------------------------------------------------


def test_a_style_sets_scale_and_bias() -> None:
    """Whatever mean and variance channels come with, they leave with the scale and bias of the picture's own style."""
    torch.manual_seed(0)
    layer, x, style = StyledNorm(6, 4), torch.randn(3, 4, 8, 8), torch.randn(3, 6)
    assert torch.allclose(layer(x, style), layer(5 * x + 2, style), atol=1e-4)
    normed, styles = layer.norm(x), style.unflatten(1, (1, -1))
    for number in range(3):
        scale = (layer.scale.weight * styles[number]).sum(1) + layer.scale.bias
        bias = (layer.bias.weight * styles[number]).sum(1) + layer.bias.bias
        expected = normed[number] * scale[:, None, None] + bias[:, None, None]
        assert torch.allclose(layer(x, style)[number], expected, atol=1e-5)


@pytest.mark.parametrize("side", [32, 64])
def test_a_style_generator_generates_pictures(side: int) -> None:
    """Pictures of the side, different for different noise, the same for the same."""
    torch.manual_seed(0)
    generator = StyleGenerator(20, 4, side).eval()
    noise = torch.randn(3, 20)
    assert generator(noise).shape == (3, 3, side, side)
    assert torch.allclose(generator(noise)[1], generator(noise[1:2])[0], atol=1e-5)
    assert not torch.allclose(generator(noise)[0], generator(noise)[1], atol=1e-2)


def test_spectral_norm_bounds_each_layer() -> None:
    """The largest singular value of each convolution's weights comes to 1."""
    torch.manual_seed(0)
    critic = Discriminator(4, 32, "spectral")
    for _ in range(30):
        critic(torch.randn(2, 3, 32, 32))
    for layer in critic.modules():
        if isinstance(layer, nn.Conv2d):
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.1)


# --- training --------------------------------------------------------------------------------------------------------


def test_training_delivers_a_valid_submission(finished: Path) -> None:
    """The archive, the grids of the same noise and the report's figures are there, with every metric."""
    assert LAB.check_submission(finished / "deliver/submission.tgz") == []
    assert [path.name for path in sorted((finished / "figures").iterdir())] == ["samples-0001.png", "samples-0002.png"]
    metrics = json.loads((finished / "result.json").read_text())["metrics"]
    assert {
        "test/fid",
        "test/afd",
        "test/precision",
        "test/recall",
        "test/coverage",
        "test/trivial",
        "test/fid-real",
    } <= set(metrics)
    assert 0 < metrics["test/fid-real"] < metrics["test/trivial"]


def test_two_workers_go_together(data_dir: Path, tmp_path: Path) -> None:
    """Parameters are bit-equal across ranks, penalty and augmentation included (they are not one worker's, as batch
    statistics are local); and validation is that of one process on the same weights."""
    config = LAB.resolve("boss", "tiny", {"augment": 0.5, "critic_steps": 1, "epochs": 1})
    first, second = train_on(2, "gan", config, data_dir, tmp_path / "two")
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name])
    generator = build_generator(config)
    generator.load_state_dict(
        torch.load(tmp_path / "two/checkpoints/step-000001/state.pt", weights_only=True)["ema_generator"]
    )
    held_out = Pictures(data_dir, 32, held_out=True)
    again = validate(config, generator, held_out, Run(tmp_path / "again", data_dir))
    logged = last_metrics(tmp_path / "two")
    assert again == {name: pytest.approx(logged[name], rel=1e-4) for name in again}


def test_random_numbers_of_workers_are_rows_of_one(data_dir: Path, tmp_path: Path) -> None:
    """The noise of the global batch is the same however many workers split it."""
    run = Run(tmp_path, data_dir, seed=5)
    whole = GlobalRandom(run, 2).normal(6, 3)
    run.world_size = 2
    parts = []
    for run.rank in (0, 1):
        parts.append(GlobalRandom(run, 2).normal(3, 3))
    assert torch.equal(torch.cat(parts), whole)


def test_a_single_picture_at_the_end_of_a_pass_is_left_out(data_dir: Path, tmp_path: Path) -> None:
    """108 pictures in batches of 107: batch norm would fail on the last one."""
    run = Run(tmp_path, data_dir, seed=1)
    LAB.train(LAB.resolve("simple", "tiny", {"batch_size": 107, "epochs": 1}), run)
    assert np.isfinite(last_metrics(tmp_path)["val/fid"])


def test_the_first_wgan_trains(data_dir: Path, tmp_path: Path) -> None:
    """Clipped weights and RMSprop: the critic's weights end within the limit."""
    config = LAB.resolve("simple", "tiny", {"loss": "wasserstein", "constraint": "clip", "optimizer": "rmsprop"})
    (weights,) = train_on(1, "gan", config, data_dir, tmp_path / "run")
    assert max(tensor.abs().max() for name, tensor in weights.items() if name.startswith("critic.")) <= config.clip


def test_the_generators_loss_is_logged_over_its_own_steps(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two critic steps for each of the generator's, a loss that is always 1 is logged as 1."""
    monkeypatch.setattr("labs.gan.lesson.generator_loss", lambda kind, logits: logits.sum() * 0 + 1)
    config = LAB.resolve("boss", "tiny", {"epochs": 1})
    LAB.train(config, Run(tmp_path, data_dir))
    assert last_metrics(tmp_path)["train/loss"] == pytest.approx(1)


def test_collapse_is_reported_and_ends_the_training(data_dir: Path, tmp_path: Path) -> None:
    """Pictures that stay alike are found at every validation after the first third; after some the run ends, and the
    result has the reason."""
    run = Run(tmp_path, data_dir, seed=1)
    config = LAB.resolve("simple", "tiny", {"lr": 1e-9, "lr_critic": 1e-9, "epochs": 12})
    LAB.fit(config, run, test=False)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["stopped"] == "collapsed: generated pictures vary by less than 25% of what real ones do"
    assert result["steps"] == 4 + PATIENCE
    progress = {"collapsed": PATIENCE - 1}
    assert detect_collapse(progress, 0.9, 1.0, run) == 0.0
    assert progress["collapsed"] == 0


def test_validation_prefers_real_pictures(data_dir: Path) -> None:
    """On random features other real faces are nearer to held-out ones than blurred or noisy ones are."""
    from labs.gan.frechet import frechet_distance

    (real,), (others,) = (
        Pictures(data_dir, 32, held_out=held)[torch.arange(count)] for held, count in ((True, 12), (False, 100))
    )
    extractor = RandomFeatures()
    blurred = F.avg_pool2d(others, 5, 1, 2)
    noisy = others + 0.3 * torch.randn(others.shape, generator=torch.Generator().manual_seed(0))
    near, *far = (frechet_distance(extractor(real), extractor(part)) for part in (others, blurred, noisy))
    assert all(distance > 1.2 * near for distance in far)


def test_gradient_norms_are_of_each_layer(pictures: tuple[torch.Tensor, torch.Tensor]) -> None:
    """The report's two critics have four layers each, and what constrains them changes every layer's gradient."""
    norms = gradient_norms(*pictures, 0.01, 10.0)
    assert [len(values) for values in norms.values()] == [4, 4]
    assert all(clipped < penalised for clipped, penalised in zip(*norms.values(), strict=True))


def test_the_critics_of_the_report_differ_in_nothing_but_the_constraint(
    pictures: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """Without a limit and without a penalty they are the same critic."""
    clipped, penalised = gradient_norms(*pictures, 1e9, 0.0).values()
    assert clipped == penalised


def test_the_trained_model_loads_and_predicts(finished: Path, data_dir: Path) -> None:
    """Noise to pictures of the submission's size, whatever side the networks have."""
    output = predict(LAB.load(finished), LAB.example(data_dir))
    assert (output.shape, output.dtype) == ((2, 3, 64, 64), np.uint8)
    drawn = submission_pictures(torch.tensor([-1.2, 0.0, 1.0]).view(3, 1, 1, 1).expand(3, 3, 32, 32), 64)
    assert torch.equal(drawn[:, 0, 0, 0], torch.tensor([0, 128, 255], dtype=torch.uint8))


def test_the_kept_weights_are_the_ema_generator_s(finished: Path) -> None:
    """What is delivered is the generator alone."""
    names = set(load_file(finished / "weights.safetensors"))
    assert names == set(build_generator(LAB.resolve("boss", "tiny")).state_dict())


def test_a_penalty_beside_batch_norm_is_refused() -> None:
    """The sentence has the field and what to take instead."""
    with pytest.raises(
        BadInput,
        match=r"constraint=gradient-penalty needs .* norm=batch mixes; take norm=instance, layer, spectral or none",
    ):
        LAB.resolve("simple", "tiny", {"constraint": "gradient-penalty"})


def test_recalibrated_statistics_are_those_of_the_weights() -> None:
    """Whatever statistics were copied beside the EMA weights: training mode and eval mode generate nearly the same
    pictures afterwards."""
    torch.manual_seed(0)
    generator, noise = build_generator(LAB.resolve("medium", "tiny")), torch.randn(400, NOISE_DIM)
    for name, statistic in generator.named_buffers():
        if name.endswith("running_var"):
            statistic.fill_(9.0)
    with torch.no_grad():
        expected = generator(noise)
        recalibrate_batch_norm(generator, noise)
        assert torch.allclose(generator.eval()(noise), expected, atol=0.05)


def test_batch_statistics_are_those_of_the_noise_that_pictures_are_generated_from(
    data_dir: Path, tmp_path: Path
) -> None:
    """They were those of noise that is not truncated."""
    config = LAB.resolve("medium", "tiny", {"truncation": 0.5, "epochs": 1})
    LAB.fit(config, Run(tmp_path, data_dir), test=False)
    noise = 0.5 * torch.randn(400, NOISE_DIM, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(LAB.load(tmp_path)(noise), LAB.load(tmp_path).train()(noise), atol=0.1)


def test_a_batch_of_single_pictures_is_refused(data_dir: Path, tmp_path: Path) -> None:
    """A single picture has no batch statistics: reported before anything is trained."""
    run = Run(tmp_path, data_dir)
    run.world_size = 2
    with pytest.raises(BadInput, match="batch_size is 2, expected at least 2 for each worker"):
        LAB.train(LAB.resolve("simple", "tiny", {"batch_size": 2}), run)


def test_layer_norm_sees_colours_and_instance_norm_does_not() -> None:
    """Channels brighter by one number each: instance norm takes that away again."""
    torch.manual_seed(0)
    picture = torch.rand(1, 8, 16, 16)
    brighter = picture + torch.linspace(0, 1, 8)[:, None, None]
    kinds: tuple[Norm, Norm] = ("instance", "layer")
    norms = [Discriminator(4, 32, kind).layers[3] for kind in kinds]
    changed = [not torch.allclose(norm(picture), norm(brighter), atol=1e-4) for norm in norms]
    assert changed == [False, True]


def test_learning_rates_decay_towards_the_end() -> None:
    """The config's until the last half of eight epochs, then a linear decay that does not reach 0."""
    config = LAB.resolve("simple", "tiny", {"epochs": 8, "lr_decay_fraction": 0.5, "lr": 0.4, "lr_critic": 0.8})
    pair = build_optimizers(config, Gan(config))
    rates = []
    for epoch in range(8):
        set_learning_rates(config, pair, epoch)
        rates.append([optimizer.param_groups[0]["lr"] for optimizer in pair])
    assert [rate for rate, _ in rates] == pytest.approx([0.4] * 5 + [0.3, 0.2, 0.1])
    assert [rate for _, rate in rates] == pytest.approx([0.8] * 5 + [0.6, 0.4, 0.2])
