"""Promises of the CNN lab: its data format, its training and its submission."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from labs.cnn.focal import focal_loss
from labs.cnn.folds import LabelledImages, split
from labs.cnn.lesson import LAB, Classifier, CnnConfig, predict
from labs.cnn.networks import SixLayerNet, SixLayerResidualNet
from labs.core import checkpoint, shards
from labs.core.errors import BadInput
from labs.core.run import Run
from labs.core.schedule import learning_rate
from labs.shared.vision import drawing, food
from labs.shared.vision.augmentation import augment, erase, mixup
from tests.labs.folders import fault_of_submission, one_fault
from tests.labs.store import Store
from tests.labs.workers import last_metrics, train_on


@pytest.fixture(scope="module", params=["strong", "boss"])
def finished(request: pytest.FixtureRequest, store: Store) -> Path:
    return store.finished("cnn", request.param)


def test_masks_cover_part_of_each_test_image(source: Path) -> None:
    """Every test image has a mask of its own size that covers the dish but not the whole image."""
    for path in sorted((source / "test").glob("*.jpg")):
        mask = Image.open(source / food.MASKS / f"{path.stem}.png")
        assert mask.size == Image.open(path).size
        assert 0.03 < np.asarray(mask).mean() / 255 < 0.97


def test_counts_keep_the_proportions_of_the_course(source: Path) -> None:
    """There are as many images as stated, of every class, and each class has a function that draws its dish."""
    assert [len(list((source / name).iterdir())) for name in food.SPLITS.values()] == list(food.COUNTS["tiny"].values())
    assert {path.name.split("_")[0] for path in (source / "training").iterdir()} == {str(c) for c in range(11)}
    assert len(drawing.DISHES) == len(food.CLASSES)


def _truncate(folder: Path) -> None:
    path = folder / "validation/0_0.jpg"
    path.write_bytes(path.read_bytes()[:700])


def _empty(folder: Path) -> None:
    shutil.rmtree(folder / "validation")
    (folder / "validation").mkdir()


FAULTS = {
    "no folder": (lambda d: shutil.rmtree(d / "test"), "test/ is missing"),
    "empty": (_empty, "validation/ is empty: expected JPEG images"),
    "name": (
        lambda d: (d / "training/0_0.jpg").rename(d / "training/bread.jpg"),
        "training/bread.jpg: the name must be <class>_<number>.jpg, for example 3_17.jpg",
    ),
    "gap": (
        lambda d: (d / "training/0_0.jpg").rename(d / "training/57_0.jpg"),
        "training/57_0.jpg: found class 57, but no image of class 11; classes must count 0, 1, 2, ... without a gap "
        "(0 to 10 in the course)",
    ),
    "foreign class": (
        lambda d: (d / "validation/0_0.jpg").rename(d / "validation/11_0.jpg"),
        "validation/11_0.jpg: found class 11, but training has only classes 0 to 10",
    ),
    "text": (
        lambda d: (d / "training/0_0.jpg").write_text("no image"),
        "training/0_0.jpg: expected a whole JPEG image, found a broken one: not a JPEG file",
    ),
    "truncated": (
        _truncate,
        "validation/0_0.jpg: expected a whole JPEG image, found a broken one: image file is truncated",
    ),
    "void": (
        lambda d: (d / "test/0007.jpg").write_bytes(b""),
        "test/0007.jpg: expected a whole JPEG image, found a broken one",
    ),
    "missing id": (
        lambda d: (d / "test/0007.jpg").unlink(),
        "test/0008.jpg: expected 0007.jpg here, as test images count 0001.jpg, 0002.jpg, ...",
    ),
    "padding": (
        lambda d: (d / "test/0044.jpg").rename(d / "test/44.jpg"),
        "test/44.jpg: expected 0044.jpg here, as test images count 0001.jpg, 0002.jpg, ...",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_reports_the_fault(fault: str, source: Path, tmp_path: Path) -> None:
    """One sentence per fault, with the file, what was found and what was expected."""
    change, message = FAULTS[fault]
    assert message in one_fault(food.check, source, tmp_path / "food", change)


def test_fewer_classes_and_other_sizes_are_accepted(source: Path, tmp_path: Path) -> None:
    """A folder with only the first classes, and with hidden files of the operating system, can be trained on."""
    shutil.copytree(source, tmp_path / "food", ignore=shutil.ignore_patterns(*(f"{c}_*.jpg" for c in range(4, 11))))
    (tmp_path / "food/training/.DS_Store").write_bytes(b"\0")
    (tmp_path / "packed").mkdir()
    assert food.check(tmp_path / "food") == []
    manifest = food.prepare(tmp_path / "food", tmp_path / "packed", "folder")
    assert manifest["facts"]["classes"] == [f"class {label}" for label in range(4)]
    assert shards.ArrowDataset(tmp_path / "packed", "test", ("image",))[torch.arange(2)][0].shape == (2, 3, 160, 160)
    LAB.fit(LAB.resolve("simple", "tiny", {"epochs": 1}), Run(tmp_path / "run", tmp_path / "packed"))
    assert (tmp_path / "run/result.json").exists()


def test_training_delivers_a_valid_submission(finished: Path, source: Path, data_dir: Path) -> None:
    """The submission has a valid line for each test image; the report's figure is delivered as well."""
    file = finished / "deliver/submission.csv"
    with file.open(newline="") as handle:
        rows = list(csv.reader(handle))
    assert LAB.check_submission(file) == []
    assert [row[0] for row in rows[1:]] == [path.stem for path in sorted((source / "test").iterdir())]
    scores = LAB.score(finished / "deliver", data_dir)
    with (source / food.ANSWERS).open(newline="") as handle:
        truth = [row[1] for row in csv.reader(handle)][1:]
    correct = [prediction == label for (_, prediction), label in zip(rows[1:], truth, strict=True)]
    assert scores["test/accuracy"] == pytest.approx(np.mean(correct))
    assert scores["test/trivial"] == pytest.approx(np.mean([label == "2" for label in truth]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\n0001,3\n", "line 1: the header must be 'Id,Category'"),
        ("Id,Category\n1,3\n", "line 2: expected '0001,<class>', found '1,3'"),
        ("Id,Category\n0001,11\n", "line 2: '11' is not a class; classes are 0 to 10"),
        ("Id,Category\n", "has no predictions"),
    ],
)
def test_an_invalid_submission_is_reported(text: str, message: str, tmp_path: Path) -> None:
    """Each fault of a submission file is a sentence with its line."""
    assert message in fault_of_submission(LAB, tmp_path, text)


def test_the_trained_model_loads_and_predicts(finished: Path, data_dir: Path) -> None:
    """A batch of stored images gets logits and probabilities, which agree with the submission."""
    model, examples = LAB.load(finished), LAB.example(data_dir)
    assert model(torch.from_numpy(examples)).shape == (2, 11)
    output = predict(model, examples)
    assert (output.shape, output.dtype) == ((2, 11), np.float32)
    assert output.sum(1) == pytest.approx(1)
    with (finished / "deliver/submission.csv").open(newline="") as handle:
        delivered = [int(row[1]) for row in list(csv.reader(handle))[1:3]]
    assert output.argmax(1).tolist() == delivered


def test_a_prediction_does_not_depend_on_the_rest_of_the_batch(finished: Path, data_dir: Path) -> None:
    """Alone, with another image, and a second time, an image gets the same probabilities, test-time augmentation
    included."""
    model, examples = LAB.load(finished), LAB.example(data_dir)
    both = predict(model, examples)
    assert np.array_equal(predict(model, examples), both)
    np.testing.assert_allclose(predict(model, examples[1:])[0], both[1], rtol=1e-4, atol=1e-6)


# --- the ensemble ----------------------------------------------------------------------------------------------------


def test_one_fold_is_the_courses_own_split(data_dir: Path) -> None:
    """Training images are trained on, validation images are held out, each with its label and pixels."""
    train_rows, (held_out,) = split(data_dir, 1, 0)
    assert (train_rows[:, 0].tolist(), held_out.tolist()) == ([*range(110)], [*range(110, 154)])
    images, labels = LabelledImages(data_dir, held_out)[torch.tensor([5, 2])]
    expected = shards.ArrowDataset(data_dir, "validation", ("image", "label"))[torch.tensor([5, 2])]
    assert torch.equal(images, expected[0])
    assert torch.equal(labels, expected[1])


@pytest.mark.parametrize("folds", [2, 4])
def test_folds_are_stratified_and_cover_all_images(folds: int, data_dir: Path) -> None:
    """Each image is held out once, no member trains on an image held out from it, classes are spread evenly, and
    another seed gives other folds."""
    train_rows, held_out = split(data_dir, folds, 0)
    assert torch.equal(torch.cat(held_out).sort().values, torch.arange(154))
    for own, rows in zip(train_rows.T, held_out, strict=True):
        assert sorted({*own.tolist(), *rows.tolist()}) == [*range(154)]
        assert not set(own.tolist()) & set(rows.tolist())
    counts = torch.stack([LabelledImages(data_dir, rows)[torch.arange(len(rows))][1].bincount(minlength=11)
                          for rows in held_out])  # fmt: skip
    assert (counts.amax(0) - counts.amin(0)).max() <= 1
    assert not torch.equal(split(data_dir, folds, 1)[1][0], held_out[0])


def test_each_member_trains_on_its_own_images_only(data_dir: Path) -> None:
    """A batch has (B, members) images; a member's logits and gradients depend on its own column only."""
    config = CnnConfig(folds=3, width=8, image_size=32)
    images, labels = LabelledImages(data_dir, split(data_dir, 3, 0)[0])[torch.arange(6)]
    assert (images.shape, labels.shape) == ((6, 3, 3, 64, 64), (6, 3))
    model = Classifier(config, 11).eval()
    logits = model(images)
    torch.testing.assert_close(logits[:, 1], model(images[:, 1], 1))
    F.cross_entropy(logits[:, 1], labels[:, 1]).backward()
    assert [bool(member.fc[0].weight.grad.any()) for member in model.members] == [False, True, False]


def test_an_ensemble_predicts_the_mean_of_its_members(data_dir: Path) -> None:
    """Outside training the logits are the mean of the members' logits."""
    model = Classifier(CnnConfig(folds=2, width=8, image_size=32), 11).eval()
    images = torch.from_numpy(LAB.example(data_dir))
    torch.testing.assert_close(model(images), (model(images, 0) + model(images, 1)) / 2)


def test_views_are_weighted(data_dir: Path) -> None:
    """A prediction is the weighted mean of that for the image and that for its augmented copies."""
    images, predictions = torch.from_numpy(LAB.example(data_dir)), []
    for weight in (0.0, 1.0, 0.3):
        torch.manual_seed(0)
        config = CnnConfig(width=8, image_size=32, augment=1.0, views=3, view_weight=weight)
        model = Classifier(config, 11).eval()
        predictions.append(model.probabilities(images))
    torch.testing.assert_close(predictions[0], model(images).softmax(1))
    torch.testing.assert_close(predictions[2], 0.7 * predictions[0] + 0.3 * predictions[1])
    assert not torch.allclose(predictions[0], predictions[1])


def test_validation_of_several_workers_is_exact(data_dir: Path, tmp_path: Path) -> None:
    """Two workers have equal parameters, and their accuracy is that over all held-out images, each classified by the
    member from which it was held out, with the batch statistics that are saved."""
    config = LAB.resolve("boss", "tiny", {"epochs": 1, "lr": 1e-2})
    zero, one = train_on(2, "cnn", config, data_dir, tmp_path / "two")
    assert all(torch.equal(zero[name], one[name]) for name in zero)
    model = Classifier(config, 11)  # type: ignore[arg-type]
    folder = tmp_path / "two/checkpoints"
    _, kept = checkpoint.restore(folder, checkpoint.newest(folder), {})
    model.load_state_dict(kept)
    model.eval()
    correct = 0
    for member, rows in enumerate(split(data_dir, config.folds, 3)[1]):  # type: ignore[attr-defined]
        images, labels = LabelledImages(data_dir, rows)[torch.arange(len(rows))]
        correct += int((model(images, member).argmax(1) == labels).sum())
    assert last_metrics(tmp_path / "two")["val/accuracy"] == pytest.approx(correct / 154, abs=1e-9)


# --- techniques ------------------------------------------------------------------------------------------------------


def test_each_image_is_augmented_on_its_own() -> None:
    """Augmented copies of one image differ, have the requested size and range, and are equal for equal seeds."""
    copies = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8).expand(6, -1, -1, -1)
    torch.manual_seed(1)
    first = augment(copies, 40, 1.0)
    torch.manual_seed(1)
    assert torch.equal(augment(copies, 40, 1.0), first)
    assert first.shape == (6, 3, 40, 40)
    assert first.min() >= 0
    assert first.max() <= 255
    assert all(not torch.equal(first[i], first[j]) for i in range(6) for j in range(i))


def test_augmentation_alike_is_the_same_for_all_images() -> None:
    """Augmented copies of one image are equal, whatever else is in the batch."""
    image = torch.randint(0, 256, (1, 3, 64, 64))
    torch.manual_seed(1)
    out = augment(image.expand(3, -1, -1, -1), 40, 1.0, alike=True)
    torch.manual_seed(1)
    torch.testing.assert_close(augment(torch.cat([image, 255 - image]), 40, 1.0, alike=True)[0], out[2])
    torch.testing.assert_close(out[0], out[1])


def test_augmentation_of_strength_zero_only_flips() -> None:
    """At strength 0 every image is unchanged or mirrored, and nothing is erased."""
    image = torch.randint(0, 256, (1, 3, 32, 32)).float()
    for out in erase(augment(image.expand(8, -1, -1, -1), 32, 0.0), 0.0):
        assert min((out - image[0]).abs().max(), (out - image[0].flip(2)).abs().max()) < 0.01


def test_erasing_fills_one_rectangle_with_the_mean() -> None:
    """The changed pixels form a rectangle of at most 0.4 of a side, which has the image's mean in all channels."""
    torch.manual_seed(2)
    images = torch.randint(0, 256, (8, 3, 40, 40)).float()
    changed = 0
    for before, after in zip(images, erase(images, 1.0), strict=True):
        hole = (before != after).any(0)
        rows, columns = hole.any(1), hole.any(0)
        assert torch.equal(hole, rows[:, None] & columns)
        assert max(rows.sum(), columns.sum()) <= 0.4 * 40 + 1
        assert torch.allclose(after[:, hole], before.mean())
        changed += int(hole.any())
    assert changed > 4


def test_mixup_mixes_images_of_the_same_member() -> None:
    """The paper's formula: one coefficient for images and targets; an image is mixed with the one before it in the
    same member's batch."""
    images = torch.rand(5, 2, 3, 4, 4)
    targets = F.one_hot(torch.randint(0, 11, (5, 2)), 11).float()
    mixed, mixed_targets = mixup(images, targets, 0.4)
    mix = ((mixed - images.roll(1, 0)) / (images - images.roll(1, 0))).mean()
    assert 0 <= mix <= 1
    torch.testing.assert_close(mixed, mix * images + (1 - mix) * images.roll(1, 0), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(mixed_targets, mix * targets + (1 - mix) * targets.roll(1, 0), atol=1e-4, rtol=1e-3)


def test_the_focal_loss_is_the_formula() -> None:
    """-(1 - p_t)^gamma log p_t with hard targets (Lin et al., eq. 4), which weights confident examples less; the same
    sum over all classes with soft targets."""
    logits, labels = torch.randn(6, 11, dtype=torch.double), torch.arange(6)
    p_t = logits.softmax(1)[labels, labels]
    expected = (-((1 - p_t) ** 2) * p_t.log()).mean()
    hard = F.one_hot(labels, 11).double()
    torch.testing.assert_close(focal_loss(logits, hard, 2.0, 0.0), expected)
    soft, p = torch.rand(6, 11, dtype=torch.double).softmax(1), logits.softmax(1)
    terms = -(0.9 * soft + 0.1 / 11) * (1 - p) ** 1.5 * p.log()
    torch.testing.assert_close(focal_loss(logits, soft, 1.5, 0.1), terms.sum(1).mean())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_focal_loss_with_gamma_0_is_the_cross_entropy(smoothing: float) -> None:
    """Value and gradient, to the bit."""
    targets = torch.rand(32, 11).softmax(1)
    focal, plain = (torch.linspace(-9, 9, 352).view(32, 11).requires_grad_() for _ in range(2))
    loss = focal_loss(focal, targets, 0.0, smoothing)
    expected = F.cross_entropy(plain, targets, label_smoothing=smoothing)
    loss.backward()
    expected.backward()
    assert torch.equal(loss, expected)
    assert torch.equal(focal.grad, plain.grad)


def test_the_reports_residual_network_has_the_plain_ones_parameters() -> None:
    """Names and shapes of the parameters are equal; only the forward pass differs."""
    plain, residual = (SixLayerNet(8, 32, 11), SixLayerResidualNet(8, 32, 11))
    shapes = [{name: p.shape for name, p in net.named_parameters()} for net in (plain, residual)]
    assert shapes[0] == shapes[1]
    counts = [LAB.network(CnnConfig(network=name)).state_dict() for name in ("six", "six-residual")]
    assert sum(t.numel() for t in counts[0].values()) == sum(t.numel() for t in counts[1].values())


def test_the_reports_residual_network_adds_over_layers_two_four_and_six() -> None:
    """Against the formula; the output differs from that of the plain network with the same weights."""
    plain, residual = (net(4, 33, 11).eval() for net in (SixLayerNet, SixLayerResidualNet))
    residual.load_state_dict(plain.state_dict())
    x = torch.rand(2, 3, 33, 33)
    c = residual.convolutions
    x1 = F.relu(c[0](x))
    x2 = F.relu(c[1](x1) + x1)
    x3 = F.relu(c[2](x2))
    x4 = F.relu(c[3](x3) + x3)
    x5 = F.relu(c[4](x4))
    x6 = F.relu(c[5](x5) + x5)
    torch.testing.assert_close(residual(x), residual.fc(x6.flatten(1)))
    assert not torch.allclose(residual(x), plain(x))


def test_cosine_rate_rises_then_falls() -> None:
    """The learning rate peaks after a tenth of the training and ends at 0."""
    config = CnnConfig(lr=1.0, schedule="cosine")
    rates = [learning_rate(config.lr, config.schedule, step / 100) for step in range(101)]
    assert max(range(101), key=rates.__getitem__) == 10
    assert rates[10] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.0)
    assert rates[0] == pytest.approx(0.05)


def test_an_invalid_field_is_reported() -> None:
    """The message names the field and the choices."""
    with pytest.raises(BadInput, match=r"'network'.*'plain'"):
        LAB.resolve("simple", "tiny", {"network": "vgg"})
