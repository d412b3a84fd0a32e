"""Promises of the adaptation lab: its data format, its techniques, its training and its submission."""

import csv
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.ndimage import rotate
from torch import nn
from torch.nn import functional as F

from labs.adaptation import data, outlines
from labs.adaptation.domains import as_input, drawings, evenly_spaced, random_indices
from labs.adaptation.figures import STAGES
from labs.adaptation.lesson import LAB, lambda_schedule, predict, predict_pseudo_labels
from labs.adaptation.mcd import discrepancy, label_loss, update
from labs.adaptation.networks import AdversarialNet, DiscrepancyNet, ReverseGradient
from labs.adaptation.pseudo_labels import IGNORE, balanced_agreement, pseudo_labels, sinkhorn
from labs.adaptation.validation import view_agreement
from labs.adaptation.views import affine_view, fixed_view, random_view
from labs.core import shards
from labs.core.ema import update_ema
from labs.core.errors import BadInput
from labs.core.run import Run
from tests.labs.folders import fault_of_submission, one_fault
from tests.labs.store import Store
from tests.labs.workers import in_two_processes, train_on

ROOT = data.ROOT


@pytest.fixture(scope="module")
def finished(store: Store) -> Path:
    return store.finished("adaptation", "boss")


# --- data ------------------------------------------------------------------------------------------------------------


def test_the_folder_itself_is_taken_as_well_as_its_parent(source: Path) -> None:
    """The archive's own top folder may be left out."""
    assert data.check(source / ROOT) == []


def test_the_layout_is_the_courses(source: Path) -> None:
    """RGB photographs, numbered over all classes, equally many of each; grey drawings, equally many of each class."""
    for label in range(10):
        names = {path.name for path in (source / ROOT / "train_data" / str(label)).iterdir()}
        assert names == {f"{number}.bmp" for number in range(20 * label, 20 * label + 20)}
    photograph, drawing = (
        Image.open(source / ROOT / name) for name in ("train_data/3/60.bmp", "test_data/0/00199.bmp")
    )
    assert (photograph.mode, photograph.size, drawing.mode, drawing.size) == ("RGB", (32, 32), "L", (28, 28))
    assert sorted(data.answers(source)) == sorted(str(label) for label in range(10) for _ in range(20))
    assert len(outlines.OBJECTS) == len(data.CLASSES)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


FAULTS = {
    "no folder": (lambda d: shutil.rmtree(d / "test_data"), "test_data/0 is missing"),
    "no images": (lambda d: _empty(d / "test_data/0"), "test_data/0 is empty: expected BMP images"),
    "empty class": (lambda d: _empty(d / "train_data/4"), "train_data/4 is empty: expected BMP images"),
    "class": (
        lambda d: (d / "train_data/9").rename(d / "train_data/spider"),
        "train_data/spider: expected train_data/9 here, as classes count 0, 1, 2, ... without a gap (0 to 9 in the "
        "course)",
    ),
    "one class": (
        lambda d: [shutil.rmtree(d / f"train_data/{label}") for label in range(1, 10)],
        "train_data: expected a folder for each of at least 2 classes",
    ),
    "name": (
        lambda d: (d / "train_data/0/0.bmp").rename(d / "train_data/0/horse.gif"),
        "train_data/0/horse.gif: expected a BMP image, <any name>.bmp",
    ),
    "missing id": (
        lambda d: (d / "test_data/0/00007.bmp").unlink(),
        "test_data/0/00008.bmp: expected 00007.bmp here, as drawings count 00000.bmp, 00001.bmp, ...",
    ),
    "padding": (
        lambda d: (d / "test_data/0/00199.bmp").rename(d / "test_data/0/199.bmp"),
        "test_data/0/199.bmp: expected 00000.bmp here, as drawings count 00000.bmp, 00001.bmp, ...",
    ),
    "text": (
        lambda d: (d / "train_data/2/41.bmp").write_text("no image"),
        "train_data/2/41.bmp: expected a whole BMP image, found a broken one: not a BMP file",
    ),
    "truncated": (
        lambda d: (d / "test_data/0/00003.bmp").write_bytes((d / "test_data/0/00003.bmp").read_bytes()[:1200]),
        "test_data/0/00003.bmp: expected a whole BMP image, found a broken one: image file is truncated",
    ),
    "size": (
        lambda d: Image.new("RGB", (28, 28)).save(d / "train_data/2/41.bmp"),
        "train_data/2/41.bmp: expected 32 x 32 pixels, found 28 x 28",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_names_the_fault(fault: str, source: Path, tmp_path: Path) -> None:
    """One sentence per fault, with the file, what was found and what was expected."""
    change, message = FAULTS[fault]
    assert message in one_fault(data.check, source / ROOT, tmp_path / ROOT, change)


def test_other_counts_are_accepted(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer classes, classes of unequal size and hidden files: the folder packs, record by record, and trains."""
    monkeypatch.setattr(data, "RECORD", 7)
    dropped = shutil.ignore_patterns("[4-9]", "00*[5-9].bmp", "001*.bmp", "1.bmp", "0009*.bmp", "000[1-9]*.bmp")
    shutil.copytree(source / ROOT, tmp_path / "mine", ignore=dropped)
    (tmp_path / "mine/train_data/.DS_Store").write_bytes(b"\0")
    (tmp_path / "packed").mkdir()
    assert data.check(tmp_path / "mine") == []
    manifest = data.prepare(tmp_path / "mine", tmp_path / "packed", "folder")
    assert manifest["facts"] == {"classes": 4}
    assert manifest["splits"] == {"source": 79, "target": 5}
    photos = shards.ArrowDataset(tmp_path / "packed", "source", ("image", "label"))
    image, label = (column[0] for column in photos[torch.tensor([78])])
    stored = np.asarray(Image.open(source / ROOT / "train_data/3/79.bmp"))
    assert (label, np.array_equal(image, stored)) == (3, True)
    LAB.fit(LAB.resolve("strong", "tiny", {"epochs": 2, "batch_size": 4}), Run(tmp_path / "run", tmp_path / "packed"))
    assert (tmp_path / "run/result.json").exists()


# --- techniques ------------------------------------------------------------------------------------------------------


def test_the_gradient_is_reversed() -> None:
    """The forward pass is the identity, the backward pass multiplies the gradient by minus the weight."""
    x = torch.randn(3, 4, requires_grad=True)
    y = ReverseGradient.apply(x, 0.3)
    assert torch.equal(y, x)
    (y**2).sum().backward()
    torch.testing.assert_close(x.grad, -0.3 * 2 * x.detach())


def test_features_get_the_reversed_gradient_of_the_domain_classifier() -> None:
    """One backward pass gives the domain classifier the gradient of the domain loss, the features -weight times it."""
    net, images, truth = AdversarialNet(4, 3, True), torch.randn(6, 1, 32, 32), (torch.arange(6) < 3).float()
    gradients = {}
    for weight in (-1.0, 0.5):  # weight -1: the gradient is not reversed
        net.zero_grad()
        F.binary_cross_entropy_with_logits(net(images, weight)[1], truth).backward()
        gradients[weight] = [p.grad.clone() for part in (net.domain, net.features) for p in part.parameters()]
    own = len(list(net.domain.parameters()))
    for plain, reversed_ in zip(gradients[-1.0][:own], gradients[0.5][:own], strict=True):
        torch.testing.assert_close(reversed_, plain)
    for plain, reversed_ in zip(gradients[-1.0][own:], gradients[0.5][own:], strict=True):
        torch.testing.assert_close(reversed_, -0.5 * plain)


def test_lambda_rises_as_in_the_paper() -> None:
    """2 / (1 + exp(-gamma p)) - 1, which is tanh(gamma p / 2): 0 at first, near 1 at the end."""
    for progress in (0.0, 0.1, 0.5, 1.0):
        assert lambda_schedule(progress, 10.0) == pytest.approx(math.tanh(5 * progress))
    assert lambda_schedule(0.0, 10.0) == 0


def test_sinkhorn_gives_every_class_equal_mass() -> None:
    """Rows sum to 1, columns to N / C, and the result differs from the input by a factor per row and one per class."""
    before = torch.rand(60, 4, dtype=torch.float64) * torch.tensor([8.0, 1.0, 1.0, 0.2])
    after = sinkhorn(before / before.sum(1, keepdim=True), rounds=200)
    torch.testing.assert_close(after.sum(1), torch.ones(60, dtype=torch.float64))
    torch.testing.assert_close(after.sum(0), torch.full((4,), 15.0, dtype=torch.float64))
    factors = (after / before).log()
    torch.testing.assert_close(factors - factors[:1] - factors[:, :1] + factors[0, 0], torch.zeros_like(factors))


@pytest.mark.parametrize("fraction", [0.3, 0.75, 1.0])
def test_pseudo_labels_are_the_most_confident_of_each_class(fraction: float) -> None:
    """At most fraction * N / C of each class; no prediction of the class that is more confident is left out."""
    probabilities = torch.randn(50, 5).softmax(1)
    labels = pseudo_labels(probabilities, fraction)
    for label in range(5):
        predicted = [k for k in range(50) if int(probabilities[k].argmax()) == label]
        most_confident = sorted(predicted, key=lambda k: -float(probabilities[k].max()))[: int(fraction * 10)]
        assert sorted(most_confident) == (labels == label).nonzero()[:, 0].tolist()
    assert set(labels.tolist()) <= {IGNORE, *range(5)}


def test_agreement_is_high_only_for_balanced_predictions() -> None:
    """1 for equal, balanced predictions, 1 / C for a single class throughout, and 0 where all predictions differ."""
    balanced = torch.arange(40) % 4
    assert balanced_agreement(balanced, balanced, 4) == 1
    assert balanced_agreement(torch.zeros(40).long(), torch.zeros(40).long(), 4) == 0.25
    assert balanced_agreement(balanced, (balanced + 1) % 4, 4) == 0


def test_the_teacher_has_ema_weights() -> None:
    """decay * mean + (1 - decay) * weights after each step; batch statistics are the student's."""
    mean, model = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    expected = mean.weight.detach().clone()
    for step in range(4):
        nn.init.constant_(model.weight, step)
        model(torch.randn(5, 3))
        update_ema(mean, model, 0.9)
        expected = 0.9 * expected + 0.1 * step
    torch.testing.assert_close(mean.weight.detach(), expected)
    assert torch.equal(mean.running_var, model.running_var)


def test_the_discrepancy_is_the_formula() -> None:
    """The mean absolute difference of both predictors' probabilities (Saito et al., eq. 2): 0 for equal ones, 2 / K for
    two that are sure of different classes."""
    logits = torch.randn(2, 5, 10, dtype=torch.double)
    p_1, p_2 = logits.softmax(2)
    expected = sum(float(abs(p_1[i, k] - p_2[i, k])) for i in range(5) for k in range(10)) / 10 / 5
    assert discrepancy(logits).item() == pytest.approx(expected)
    assert discrepancy(logits[[0, 0]]) == 0
    assert discrepancy(100 * F.one_hot(torch.tensor([[3], [7]]), 10).double()) == pytest.approx(2 / 10)


def test_steps_b_and_c_train_one_part_in_opposite_directions(data_dir: Path, tmp_path: Path) -> None:
    """Step B moves the label predictors alone, and they disagree more; step C the feature extractor alone, and they
    disagree less."""
    torch.manual_seed(0)
    run, net, images = Run(tmp_path, data_dir), DiscrepancyNet(4, 10), torch.rand(16, 1, 32, 32)
    parts = {"predictors": net.predictors, "extractor": net.extractor}
    for name, sign in (("predictors", -1), ("extractor", 1)):
        before, start = {key: value.clone() for key, value in net.named_parameters()}, discrepancy(net(images)).item()
        for _ in range(3):
            update(sign * discrepancy(net(images)), parts[name], [torch.optim.Adam(parts[name].parameters())], run)
        moved = {key.split(".")[0] for key, value in net.named_parameters() if not torch.equal(before[key], value)}
        assert moved == {name}
        assert sign * (discrepancy(net(images)).item() - start) < 0


def test_mcd_predicts_the_mean_of_both_predictors(data_dir: Path) -> None:
    """They begin with other weights."""
    net, inputs = DiscrepancyNet(4, 10).eval(), LAB.example(data_dir)
    first, second = net(as_input(torch.from_numpy(inputs))).softmax(2)
    assert not torch.allclose(first, second)
    torch.testing.assert_close(torch.from_numpy(predict(net, inputs)), (first + second) / 2)


def test_the_label_loss_is_the_sum_over_both_predictors() -> None:
    logits, labels = torch.randn(2, 6, 10), torch.arange(6)
    expected = -sum(logits[i].log_softmax(1)[torch.arange(6), labels].mean() for i in range(2))
    torch.testing.assert_close(label_loss(logits, labels), expected)


def test_views_rotate_and_mirror_as_scipy_does() -> None:
    """A smooth image rotated by 30 degrees, and one mirrored."""
    y, x = np.mgrid[-1:1:33j, -1:1:33j]
    smooth = np.exp(-6 * (x - 0.2) ** 2 - 9 * (y + 0.1) ** 2)
    images, one = torch.from_numpy(smooth)[None, None].float(), torch.ones(1)
    rotated = affine_view(images, 30 * one, one, one, torch.zeros(1, 2))[0, 0].numpy()
    assert np.abs(rotated - rotate(smooth, 30, reshape=False, order=1)).max() < 0.03
    mirrored = affine_view(images, 0 * one, -one, one, torch.zeros(1, 2))
    torch.testing.assert_close(mirrored, images.flip(3), atol=1e-4, rtol=0)


def test_random_views_differ_and_follow_the_seed() -> None:
    """Each copy of an image gets parameters of its own; the fixed view of validation is always the same."""
    copies = torch.rand(1, 1, 32, 32).expand(6, -1, -1, -1)
    torch.manual_seed(1)
    first = random_view(copies, 15.0, 1.0)
    torch.manual_seed(1)
    assert torch.equal(random_view(copies, 15.0, 1.0), first)
    assert all(not torch.equal(first[i], first[j]) for i in range(6) for j in range(i))
    fixed = fixed_view(copies)
    torch.testing.assert_close(fixed, fixed[:1].expand(6, -1, -1, -1))


# --- training --------------------------------------------------------------------------------------------------------


def test_training_delivers_a_valid_submission(finished: Path, source: Path, data_dir: Path) -> None:
    """The submission has a valid line for each drawing, and the report's figure lies beside it."""
    file = finished / "deliver/DaNN_submission.csv"
    with file.open(newline="") as handle:
        rows = list(csv.reader(handle))
    assert LAB.check_submission(file) == []
    assert [row[0] for row in rows[1:]] == [str(number) for number in range(200)]
    scores = LAB.score(finished / "deliver", data_dir)
    truth = data.answers(source)
    assert scores["test/accuracy"] == pytest.approx(
        np.mean([row[1] == t for row, t in zip(rows[1:], truth, strict=True)])
    )
    assert scores["test/trivial"] == pytest.approx(0.1)


def test_features_are_kept_at_three_stages(finished: Path) -> None:
    """The features of the same photographs, of all classes, differ between the stages."""
    stages = [load_file(finished / f"features/{stage}.safetensors") for stage in STAGES]
    assert all(saved["source"].shape == saved["target"].shape == (200, 32) for saved in stages)
    assert all(torch.equal(saved["label"], stages[0]["label"]) for saved in stages)
    assert stages[0]["label"].unique().tolist() == list(range(10))
    assert not torch.equal(stages[0]["source"], stages[1]["source"])
    assert not torch.equal(stages[1]["source"], stages[2]["source"])


def test_the_report_shows_as_many_images_as_the_config_says(store: Store, tmp_path: Path) -> None:
    """Of each domain, photographs of all classes; a training of one epoch is early, middle and final at once."""
    config = LAB.resolve("source-only", "tiny", {"plotted": 20, "epochs": 1})
    LAB.fit(config, store.runs("adaptation")(tmp_path))
    saved = load_file(tmp_path / "features/middle.safetensors")
    assert {name: len(tensor) for name, tensor in saved.items()} == {"source": 20, "target": 20, "label": 20}
    assert saved["label"].unique().tolist() == list(range(10))
    assert "20 photographs and 20 random drawings" in (tmp_path / "deliver/report.md").read_text()


def test_the_courses_figure_has_5000_images_of_each_domain(data_dir: Path) -> None:
    """All where there are fewer; the same random drawings at every stage."""
    assert LAB.resolve("simple", "course").model_dump()["plotted"] == 5000
    target = drawings(data_dir)
    assert random_indices(target, 5000).sort().values.tolist() == list(range(len(target)))
    some = random_indices(target, 50)
    assert len(some.unique()) == 50
    assert torch.equal(some, random_indices(target, 50))
    assert not torch.equal(some.sort().values, evenly_spaced(target, 50))


def test_the_trained_model_loads_and_predicts(finished: Path, data_dir: Path) -> None:
    """Stored drawings give class probabilities, equal in every call: the mean of the members' probabilities."""
    model, examples = LAB.load(finished), LAB.example(data_dir)
    output = predict(model, examples)
    assert (examples.shape, examples.dtype, output.shape, output.dtype) == ((2, 28, 28), np.uint8, (2, 10), np.float32)
    assert output.sum(1) == pytest.approx(1)
    assert np.array_equal(output, predict(model, examples))
    alone = [member(as_input(torch.from_numpy(examples)), 0.0)[0].softmax(1) for member in model.members]
    torch.testing.assert_close(torch.from_numpy(output), torch.stack(alone).mean(0))


def test_the_networks_at_course_size_are_the_samples() -> None:
    """Feature extractor, label predictor and domain classifier have as many parameters as the course's."""
    (net,) = LAB.network(LAB.resolve("medium", "course")).members
    counts = [sum(p.numel() for p in part.parameters()) for part in (net.features, net.labels, net.domain)]
    assert counts == [2_142_336, 530_442, 1_055_233]


def test_two_workers_end_with_the_same_model(data_dir: Path, tmp_path: Path) -> None:
    """The ranks' weights, the teacher's too, are bit-identical after training with pseudo-labels of both. They begin as
    a single worker's, and then differ by the steps of this rate, as batch statistics are each worker's own."""
    config = LAB.resolve("strong", "tiny", {"epochs": 1, "pseudo_start": 0.0, "ema_decay": 0.9, "lr": 1e-5})
    zero, one = train_on(2, "adaptation", config, data_dir, tmp_path / "two")
    (alone,) = train_on(1, "adaptation", config, data_dir, tmp_path / "one")
    assert any(name.startswith("teacher.") for name in alone)
    assert all(torch.equal(zero[name], one[name]) for name in alone)
    torch.testing.assert_close(zero, alone, atol=5e-4, rtol=0)


def pseudo_labels_and_agreement(rank: int, data_dir: Path, folder: Path) -> tuple[list[int], float]:
    config = LAB.resolve("strong", "tiny")
    run = Run(folder, data_dir, device=torch.device("cpu"))
    torch.manual_seed(0)
    model, target = LAB.network(config), drawings(data_dir)
    labels = predict_pseudo_labels(model, target, 0.9, config, run)
    return labels.tolist(), view_agreement(model, target, 10, run)


def test_two_workers_predict_the_pseudo_labels_of_one(data_dir: Path, tmp_path: Path) -> None:
    """Each worker classifies its part of the drawings; both end with exactly a single worker's labels and agreement."""
    alone = pseudo_labels_and_agreement(0, data_dir, tmp_path)
    assert sum(label != IGNORE for label in alone[0]) > 50
    assert in_two_processes(pseudo_labels_and_agreement, data_dir, tmp_path) == [alone, alone]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Id,Category\n0,3\n", "line 1: the header must be 'id,label'"),
        ("id,label\n00000,3\n", "line 2: expected '0,<class>', found '00000,3'"),
        ("id,label\n0,10\n", "line 2: '10' is not a class; classes are 0 to 9"),
        ("id,label\n", "has no predictions"),
    ],
)
def test_a_bad_submission_is_named(text: str, message: str, tmp_path: Path) -> None:
    """Each fault of a submission file is a sentence with its line."""
    assert message in fault_of_submission(LAB, tmp_path, text)


def test_a_wrong_field_is_named() -> None:
    """The message has the field and the limit."""
    with pytest.raises(BadInput, match="pseudo_fraction"):
        LAB.resolve("strong", "tiny", {"pseudo_fraction": 1.5})
    with pytest.raises(BadInput, match="field 'canny_high': 100 is below canny_low, 170"):
        LAB.resolve("simple", "course", {"canny_high": 100})
