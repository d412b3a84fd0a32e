"""Promises of the anomaly lab: its techniques, its training and its submission."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal as Gaussian
from torch.distributions import kl_divergence as reference_divergence

from labs.anomaly import data
from labs.anomaly.autoencoder import Autoencoder, Discriminator, kl_divergence, with_smooth_noise
from labs.anomaly.detector import Detector
from labs.anomaly.figures import changed_code_rows
from labs.anomaly.lesson import LAB, auc, predict
from labs.anomaly.local_score import FLOOR, LocalScore, local_differences
from labs.anomaly.pictures import network_input, synthetic_anomalies
from labs.core import shards
from labs.core.errors import BadInput
from labs.core.run import Run
from tests.labs.folders import fault_of_submission
from tests.labs.store import Store
from tests.labs.workers import in_two_processes, last_metrics, train_on


@pytest.fixture(scope="module")
def finished(store: Store) -> Path:
    return store.finished("anomaly", "boss")


# --- techniques ------------------------------------------------------------------------------------------------------


def test_the_divergence_is_that_of_two_gaussians() -> None:
    """torch's own, summed over the code."""
    mean, log_variance = torch.randn(5, 7), torch.randn(5, 7)
    own = Gaussian(mean, (0.5 * log_variance).exp())
    expected = reference_divergence(own, Gaussian(torch.zeros(5, 7), torch.ones(5, 7))).sum(1)
    torch.testing.assert_close(kl_divergence(mean, log_variance), expected)


def test_codes_of_several_encoders_are_added() -> None:
    """The code is the sum of the encoders' own, and one decoder decodes it."""
    net, pictures = Autoencoder(("fcn", "conv", "resnet"), "conv", 4, 9, False), torch.rand(2, 3, 64, 64)
    code = sum(part(pictures) for part in net.encoders)
    output = net(pictures)
    torch.testing.assert_close(output.mean, code)
    torch.testing.assert_close(output.reconstruction, net.decoder(code))


def test_a_variational_code_is_sampled_in_training_only() -> None:
    """In evaluation the mean is decoded; in training the same picture has two codes in two passes."""
    net, pictures = Autoencoder(("conv",), "conv", 4, 9, True), torch.rand(2, 3, 64, 64)
    assert not torch.equal(net(pictures).reconstruction, net(pictures).reconstruction)
    net.eval()
    output = net(pictures)
    torch.testing.assert_close(output.reconstruction, net.decoder(output.mean))


def test_random_codes_are_decoded_beside_the_pictures_own() -> None:
    """Other codes are drawn each time; only the decoder has gradients of the pictures decoded from them."""
    net, pictures = Autoencoder(("conv",), "conv", 4, 9, False), torch.rand(4, 3, 64, 64)
    first, second = net(pictures, decode_noise=True), net(pictures, decode_noise=True)
    torch.testing.assert_close(first.reconstruction, second.reconstruction)
    assert not torch.allclose(first.decoded_noise, second.decoded_noise)
    first.decoded_noise.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in net.encoders.parameters())
    assert all(bool(p.grad.any()) for p in net.decoder.parameters())


def test_the_error_is_the_samples() -> None:
    """The square root of the summed squared differences."""
    model = Detector(LAB.resolve("simple", "tiny")).eval()
    pictures = torch.rand(3, 3, 64, 64) * 2 - 1
    reconstruction = model.autoencoder(pictures).reconstruction
    expected = torch.stack([torch.linalg.vector_norm(a - b) for a, b in zip(pictures, reconstruction, strict=True)])
    torch.testing.assert_close(model.score(pictures), expected)


def test_a_local_difference_keeps_its_sign_while_it_is_averaged() -> None:
    """By hand for one window: the channels' mean of squared averages; a pattern as often above as below is no
    difference."""
    difference = torch.randn(2, 3, 64, 64)
    averages = difference[1, :, 12:20, 20:28].mean((1, 2))  # the fourth window from the top, the sixth from the left
    assert local_differences(difference)[1, 3, 5].exp().item() == pytest.approx(
        averages.square().mean().item() + FLOOR, rel=1e-4
    )
    stripes = torch.ones(1, 3, 64, 64)
    stripes[..., ::2] = -1
    assert (local_differences(stripes).exp() <= FLOOR * 1.01).all()
    assert local_differences(torch.zeros(1, 5, 32, 32)).shape == (
        1,
        15,
        15,
    )  # the features' windows cover the same places


def test_the_local_score_is_the_largest_standard_score() -> None:
    """In standard deviations of normal faces in that window; pixel values and features are added."""
    score, normal = LocalScore(2), torch.randn(50, 2, 15, 15) * 3 + 7
    score.fit(normal)
    anomalous = normal.mean(0, keepdim=True).clone()
    anomalous[0, 0, 4, 9] += 5 * normal[:, 0, 4, 9].std(correction=0)
    anomalous[0, 1, 0, 0] += 2 * normal[:, 1, 0, 0].std(correction=0)
    assert score(anomalous).item() == pytest.approx(7, rel=1e-4)


def test_the_local_score_is_fitted_to_training_faces(finished: Path, data_dir: Path) -> None:
    """The trained model's means, of pixel values and of features, are those over the faces that it has learnt from;
    the first tenth, which `val/auc` is measured on, has no part in them."""
    model = LAB.load(finished)
    (images,) = shards.ArrowDataset(data_dir, "train", ("image",)).columns
    with torch.no_grad():
        maps = model.compare(network_input(images[torch.arange(6, 60)]))[1]
    assert maps.shape == (54, 2, 15, 15)
    torch.testing.assert_close(model.local_score.mean, maps.mean(0), atol=1e-4, rtol=1e-4)


def test_smooth_noise_is_smooth_and_has_the_standard_deviation_given() -> None:
    """Neighbouring pixels get nearly the same, far ones have nothing in common."""
    noise = with_smooth_noise(torch.zeros(500, 3, 64, 64), 0.5)
    at, beside, far = noise[:, 0, 28, 28], noise[:, 0, 28, 29], noise[:, 0, 60, 60]
    assert torch.corrcoef(torch.stack([at, beside]))[0, 1] > 0.95
    assert abs(torch.corrcoef(torch.stack([at, far]))[0, 1]) < 0.2
    assert 0.3 < at.std() < 0.55


def test_the_discriminator_has_instance_noise_in_training_only() -> None:
    """The same picture has two logits in two passes in training, one afterwards."""
    net, pictures = Discriminator(4), torch.rand(2, 3, 64, 64)
    assert not torch.equal(net(pictures), net(pictures))
    net.eval()
    assert torch.equal(net(pictures), net(pictures))


def test_the_latent_score_is_the_divergence_alone() -> None:
    """A picture whose code is the prior itself scores 0, any other more."""
    model = Detector(LAB.resolve("medium", "tiny", {"variational": True, "score": "latent"})).eval()
    pictures = torch.rand(3, 3, 64, 64)
    assert (model.score(pictures) > 0).all()
    for layer in model.autoencoder.encoders[0]:
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    assert (model.score(pictures) == 0).all()


def test_a_synthetic_anomaly_depends_on_the_number_alone() -> None:
    """Whatever else is in the batch: twisted about its centre, torn between its halves, or exposed twice, in turn."""
    pictures, numbers = torch.rand(6, 3, 64, 64), torch.arange(6)
    corrupted = synthetic_anomalies(pictures, numbers)
    torch.testing.assert_close(synthetic_anomalies(pictures[3:4], numbers[3:4]), corrupted[3:4])
    assert torch.equal(corrupted[1, :, :32], pictures[1, :, :32])
    assert torch.equal(corrupted[1, :, 32:, 8:], pictures[1, :, 32:, :-8])
    torch.testing.assert_close(corrupted[2, ..., 8:], (pictures[2, ..., 8:] + pictures[2, ..., :-8]) / 2)
    row, column = np.indices((64, 64)) - 31.5
    round_blob = torch.from_numpy(np.exp(-(row**2 + column**2) / 200)).float().expand(1, 3, -1, -1)
    torch.testing.assert_close(synthetic_anomalies(round_blob, numbers[:1]), round_blob, atol=0.01, rtol=0)
    assert not torch.allclose(corrupted[0, :, 24:40, 24:40], pictures[0, :, 24:40, 24:40], atol=0.1)
    torch.testing.assert_close(corrupted[0, :, 0], pictures[0, :, 0], atol=1e-4, rtol=0)


def test_synthetic_anomalies_are_of_other_kinds_than_the_hidden_ones() -> None:
    """Mirroring or recolouring would leave a symmetric grey picture as it is or in one colour, and a pasted patch would
    leave most of any picture: these anomalies change much of both, and add no colour."""
    half = torch.rand(6, 1, 64, 32).expand(-1, 3, -1, -1)
    symmetric = torch.cat([half, half.flip(3)], 3)
    corrupted = synthetic_anomalies(symmetric, torch.arange(6))
    changed = ((corrupted - symmetric).abs() > 0.01).any(1).flatten(1).float().mean(1)
    assert (changed > 0.3).all()
    torch.testing.assert_close(corrupted, corrupted[:, :1].expand(-1, 3, -1, -1))


def test_auc_is_the_fraction_of_pairs_in_order() -> None:
    """Over all pairs of an anomaly and a normal one, ties counting half."""
    anomalous, normal = np.array([3.0, 1.0, 2.0]), np.array([0.0, 2.0])
    pairs = [(a > b) + 0.5 * (a == b) for a in anomalous for b in normal]
    assert auc(anomalous, normal) == pytest.approx(np.mean(pairs))
    assert np.isnan(auc(np.array([np.nan]), normal))


# --- training --------------------------------------------------------------------------------------------------------


def test_training_delivers_a_valid_submission(finished: Path, data_dir: Path) -> None:
    """The submission has a finite score for each test picture, and the report's figures lie beside it."""
    file = finished / "deliver/prediction.csv"
    with file.open(newline="") as handle:
        rows = list(csv.reader(handle))
    assert LAB.check_submission(file) == []
    assert [row[0] for row in rows[1:]] == [str(number) for number in range(40)]
    scores = LAB.score(finished / "deliver", data_dir)
    values, kinds = np.array([float(row[1]) for row in rows[1:]]), np.array(data.answers(data_dir))
    for kind, chosen in (("", kinds != "normal"), ("-near", kinds == "near"), ("-far", kinds == "far")):
        expected = auc(values[chosen], values[kinds == "normal"])
        assert scores[f"test/auc{kind}"] == pytest.approx(expected)
    assert scores["test/trivial"] == 0.5
    assert 0 <= scores["test/auc-subtle"] <= 1


def test_the_trained_model_loads_and_predicts(finished: Path, data_dir: Path) -> None:
    """Pictures as they are stored get the submission's scores."""
    model, examples = LAB.load(finished), LAB.example(data_dir)
    output = predict(model, examples)
    assert (examples.shape, examples.dtype, output.shape, output.dtype) == ((2, 64, 64, 3), np.uint8, (2,), np.float32)
    with (finished / "deliver/prediction.csv").open(newline="") as handle:
        delivered = [float(row[1]) for row in list(csv.reader(handle))[1:3]]
    assert output == pytest.approx(delivered, rel=1e-4)


def test_a_row_of_the_figure_changes_one_element_of_the_code(finished: Path, data_dir: Path) -> None:
    """The figure's row of the first element doubled is what the decoder makes of that code."""
    model, images = LAB.load(finished), torch.from_numpy(LAB.example(data_dir))
    rows = changed_code_rows(model.autoencoder, images)
    with torch.no_grad():
        code = model.autoencoder.encode(network_input(images))[0]
        code[:, 0] *= 2
        drawn = (model.autoencoder.decoder(code).permute(0, 2, 3, 1) + 1) / 2
    assert rows["first element\ndoubled"] == pytest.approx(drawn.numpy(), abs=1e-5)
    assert [len(row) for row in rows.values()] == [2] * 5


def test_two_workers_train_like_one(data_dir: Path, tmp_path: Path) -> None:
    """Without anything random in a step: ranks bit-equal, one worker's parameters to 1e-5, and the same validation."""
    config = LAB.resolve("strong", "tiny", {"noise": 0, "epochs": 1})
    one, two = (train_on(n, "anomaly", config, data_dir, tmp_path / str(n)) for n in (1, 2))
    for name, parameter in one[0].items():
        assert torch.equal(two[0][name], two[1][name])
        torch.testing.assert_close(two[0][name], parameter, atol=1e-5, rtol=0)
    assert last_metrics(tmp_path / "2") == pytest.approx(last_metrics(tmp_path / "1"), abs=1e-4)


class Both(Run):
    """A run that keeps references to all models that it wrapped."""

    def wrap(self, model: Any) -> Any:
        self.wrapped = [*getattr(self, "wrapped", []), super().wrap(model)]
        return self.wrapped[-1]


def train_both(rank: int, data_dir: Path, folder: Path) -> None:
    run = Both(folder / "run", data_dir, seed=3, device=torch.device("cpu"))
    LAB.train(LAB.resolve("boss", "tiny"), run)
    torch.save([[p.detach() for p in net.parameters()] for net in run.wrapped], folder / f"{rank}.pt")


def test_two_workers_train_both_networks_alike(data_dir: Path, tmp_path: Path) -> None:
    """With the adversarial loss: autoencoder and discriminator are bit-equal across the ranks after six steps."""
    in_two_processes(train_both, data_dir, tmp_path)
    zero, one = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert len(zero) == 2
    for own, other in zip(zero, one, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(own, other, strict=True))


def test_a_variational_run_with_input_noise_finishes(data_dir: Path, tmp_path: Path) -> None:
    """The VAE and its latent score go all the way to a score of the test set."""
    changes = {"variational": True, "score": "latent", "noise": 0.1, "epochs": 1}
    LAB.fit(LAB.resolve("medium", "tiny", changes), Run(tmp_path, data_dir))
    assert 0 <= LAB.score(tmp_path / "deliver", data_dir)["test/auc"] <= 1


def test_other_counts_are_accepted(source: Path, tmp_path: Path) -> None:
    """A smaller folder of the format trains all the same."""
    (tmp_path / "mine/data").mkdir(parents=True)
    for name, count in ((data.TRAIN, 21), (data.TEST, 3)):
        np.save(tmp_path / "mine" / name, np.load(source / name)[:count])
    assert data.check(tmp_path / "mine") == []
    (tmp_path / "packed").mkdir()
    assert data.prepare(tmp_path / "mine", tmp_path / "packed", "folder")["splits"] == {"train": 21, "test": 3}
    LAB.fit(LAB.resolve("simple", "tiny"), Run(tmp_path / "run", tmp_path / "packed"))
    assert len(shards.ArrowDataset(tmp_path / "packed", "test", ("image",))) == 3
    assert (tmp_path / "run/result.json").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,anomaly\n0,3\n", "line 1: the header must be 'ID,score'"),
        ("ID,score\n1,3\n", "line 2: expected '0,<score>', found '1,3'"),
        ("ID,score\n0,nan\n", "line 2: 'nan' is not a finite number"),
        ("ID,score\n0,high\n", "line 2: 'high' is not a finite number"),
        ("ID,score\n", "has no predictions"),
    ],
)
def test_a_bad_submission_is_named(text: str, message: str, tmp_path: Path) -> None:
    """Each fault of a submission file is a sentence with its line."""
    assert message in fault_of_submission(LAB, tmp_path, text)


def test_a_wrong_field_is_named() -> None:
    """The message has the field and what it needs."""
    with pytest.raises(BadInput, match="encoders"):
        LAB.resolve("simple", "tiny", {"encoders": ["vgg"]})
    with pytest.raises(BadInput, match="field 'score': latent needs variational"):
        LAB.resolve("medium", "tiny", {"score": "latent"})
