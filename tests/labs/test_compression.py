"""Promises of the compression lab: its data format, its training with a teacher, its submission and its report."""

import csv
import json
import shutil
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

from labs.cnn import lesson as cnn
from labs.compression import data
from labs.compression.config import LIMIT, build
from labs.compression.hints import HintLoss
from labs.compression.lesson import LAB, distillation_loss, divergence
from labs.compression.pruning import prune_channels, prune_weights
from labs.compression.quantization import quantize
from labs.compression.relations import angles, distances, relational_loss
from labs.compression.student import SeparableBlock, Student
from labs.compression.teacher import TEACHER, load_copy, load_teacher
from labs.core import checkpoint, cost, shards
from labs.core.errors import BadInput
from labs.core.run import Run
from labs.shared.vision import food
from tests.labs.folders import contents, fault_of_submission, made, one_fault, packed
from tests.labs.store import Store
from tests.labs.workers import last_metrics, train_on


@pytest.fixture(scope="module")
def teacher(upstream: Mapping[str, Path]) -> Path:
    return upstream[TEACHER]


@pytest.fixture(scope="module")
def finished(store: Store) -> Path:
    return store.finished("compression", "boss")


# --- data ----------------------------------------------------------------------------------------------------------


def test_the_images_are_those_of_homework_3(source: Path, tmp_path: Path) -> None:
    """Training and validation files are identical, the test images the same but counted from 0000, so a teacher
    that was trained on the same seed has seen no test image."""
    theirs, ours = contents(made(food, tmp_path / "food11")), contents(source)
    renamed = {
        f"evaluation/{int(name[5:9]) - 1:04d}.jpg": content for name, content in theirs.items() if "test/" in name
    }
    images = {name: content for name, content in ours.items() if not name.startswith("answers")}
    kept = {name: content for name, content in theirs.items() if name.startswith(("training", "validation"))}
    assert images == {**kept, **renamed}
    training = {content for name, content in theirs.items() if name.startswith("training")}
    assert not training & {content for name, content in ours.items() if name.startswith(("validation", "evaluation"))}


def test_fewer_classes_are_accepted(source: Path, tmp_path: Path) -> None:
    """A folder with the first four classes only is packed as such."""
    shutil.copytree(source, tmp_path / "food", ignore=shutil.ignore_patterns(*(f"{c}_*.jpg" for c in range(4, 11))))
    (tmp_path / "packed").mkdir()
    assert data.check(tmp_path / "food") == []
    manifest = data.prepare(tmp_path / "food", tmp_path / "packed", "folder")
    assert manifest["facts"]["classes"] == [f"class {label}" for label in range(4)]
    assert manifest["facts"]["test_ids"][0] == "0000"


FAULTS = {
    "no folder": (lambda d: (d / "evaluation").rename(d / "test"), "evaluation/ is missing"),
    "name": (
        lambda d: (d / "validation/0_0.jpg").rename(d / "validation/bread.jpg"),
        "validation/bread.jpg: the name must be <class>_<number>.jpg, for example 3_17.jpg",
    ),
    "gap": (
        lambda d: (d / "training/0_0.jpg").rename(d / "training/57_0.jpg"),
        "training/57_0.jpg: found class 57, but no image of class 11; classes must count 0, 1, 2, ... without a gap",
    ),
    "void": (
        lambda d: (d / "evaluation/0007.jpg").write_bytes(b""),
        "evaluation/0007.jpg: expected a whole JPEG image, found a broken one",
    ),
    "counts from 1": (
        lambda d: (d / "evaluation/0000.jpg").unlink(),
        "evaluation/0001.jpg: expected 0000.jpg here, as test images count 0000.jpg, 0001.jpg, ...",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_names_the_fault(fault: str, source: Path, tmp_path: Path) -> None:
    """One sentence per fault, with the file, what was found and what was expected."""
    spoil, message = FAULTS[fault]
    assert message in one_fault(data.check, source, tmp_path / "food", spoil)


# --- training ------------------------------------------------------------------------------------------------------


def test_training_delivers_a_valid_submission(finished: Path, source: Path, data_dir: Path) -> None:
    """The submission has a valid line for each test image, from 0000 on; its score is the fraction of correct ones."""
    file = finished / "deliver/submission.csv"
    with file.open(newline="") as handle:
        rows = list(csv.reader(handle))
    assert LAB.check_submission(file) == []
    assert [row[0] for row in rows[1:]] == [path.stem for path in sorted((source / "evaluation").iterdir())]
    assert rows[1][0] == "0000"
    with (source / data.ANSWERS).open(newline="") as handle:
        truth = list(csv.reader(handle))
    correct = [prediction == label for prediction, label in zip(rows[1:], truth[1:], strict=True)]
    scores = LAB.score(finished / "deliver", data_dir)
    assert scores["test/accuracy"] == pytest.approx(np.mean(correct))
    assert scores["test/trivial"] == pytest.approx(np.mean([label[1] == "2" for label in truth[1:]]))


def test_the_report_is_consistent(finished: Path, data_dir: Path) -> None:
    """The layers add up to the total, which equals `val/parameters` and is at most the limit; with ratio 0 the pruned
    teacher is the teacher; int8 is smaller than fp32; masked weights do not change the size, removed channels do."""
    tables = {}
    for name in ("parameters", "pruning", "costs"):
        with (finished / f"deliver/{name}.csv").open(newline="") as handle:
            tables[name] = list(csv.DictReader(handle))
    *layers, total = tables["parameters"]
    assert sum(int(layer["parameters"]) for layer in layers) == int(total["parameters"]) <= LIMIT
    assert int(total["parameters"]) == json.loads((finished / "result.json").read_text())["metrics"]["val/parameters"]
    teacher, fp32, int8 = tables["costs"]
    assert float(int8["megabytes"]) < 0.7 * float(fp32["megabytes"])
    masked = [row for row in tables["pruning"] if "masked" in row["pruned"]]
    removed = [row for row in tables["pruning"] if "removed" in row["pruned"]]
    assert masked[0]["val_accuracy"] == removed[0]["val_accuracy"] == teacher["val_accuracy"]
    assert len({row["parameters"] for row in masked}) == len({row["megabytes"] for row in masked}) == 1
    assert [float(row["megabytes"]) for row in removed] == sorted(
        {float(row["megabytes"]) for row in removed}, reverse=True
    )


def test_the_report_needs_only_the_runs_own_folder(finished: Path, data_dir: Path, tmp_path: Path) -> None:
    """Delivered again without the teacher's run, the submission is the same; the student's weights do not contain the
    teacher."""
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("deliver"))
    LAB.deliver(tmp_path / "run", data_dir, tmp_path / "out")
    first = (finished / "deliver/submission.csv").read_bytes()
    assert (tmp_path / "out/submission.csv").read_bytes() == first
    student = sum(p.numel() for p in LAB.load(finished).parameters())
    assert (finished / "weights.safetensors").stat().st_size < 4 * student * 1.5


def test_two_workers_agree(data_dir: Path, teacher: Path, tmp_path: Path) -> None:
    """Two workers: parameters are bit-identical, and the accuracy is that of one count over all validation images with
    the batch statistics that are kept."""
    config = LAB.resolve("boss", "tiny", {"epochs": 1, "lr": 1e-2})
    zero, one = train_on(2, "compression", config, data_dir, tmp_path / "two", {TEACHER: teacher})
    assert all(torch.equal(zero[name], one[name]) for name in zero)
    model = LAB.network(config)
    folder = tmp_path / "two/checkpoints"
    _, kept = checkpoint.restore(folder, checkpoint.newest(folder), {})
    model.load_state_dict(kept)
    images, labels = (c.all() for c in shards.ArrowDataset(data_dir, "validation", ("image", "label")).columns)
    correct = (model.eval()(images).argmax(1) == labels).sum().item()
    assert last_metrics(tmp_path / "two")["val/accuracy"] == pytest.approx(correct / len(labels), abs=1e-9)


def test_two_workers_train_like_one(source: Path, teacher: Path, tmp_path: Path) -> None:
    """Student, regressor and second student of two workers are one worker's: they begin alike and have the same loss.

    All training images are one picture whose rows are uniform, with the labels of the others: flips do not change it,
    and its batch statistics are the same on every worker. Adam makes whole steps of gradients that are but rounding
    errors; at this rate they stay below the tolerance.
    """
    shutil.copytree(source, tmp_path / "food")
    rows = np.random.default_rng(0).integers(0, 256, (64, 1, 3), np.uint8)
    for file in (tmp_path / "food/training").iterdir():
        Image.fromarray(rows.repeat(64, 1)).save(file)
    (tmp_path / "packed").mkdir()
    uniform = packed(data, tmp_path / "food", tmp_path / "packed")
    config = LAB.resolve("boss", "tiny", {"epochs": 1, "augment": 0.0, "lr": 1e-4, "mutual": 1.0})
    (alone,) = train_on(1, "compression", config, uniform, tmp_path / "one", {TEACHER: teacher})
    zero, one = train_on(2, "compression", config, uniform, tmp_path / "two", {TEACHER: teacher})
    assert {"hint.regressor.weight", "peer.net.head.weight"} <= alone.keys()
    assert all(torch.equal(zero[name], one[name]) for name in alone)
    torch.testing.assert_close(zero, alone, atol=3e-4, rtol=0)
    assert last_metrics(tmp_path / "two") == pytest.approx(last_metrics(tmp_path / "one"), rel=1e-4)


def test_a_student_can_be_the_teacher(finished: Path, data_dir: Path, tmp_path: Path) -> None:
    """A run of this lab teaches, as a teaching assistant does, with all methods at once. The run's folder has its copy;
    it hands in the student alone, with a report in which the teacher is the assistant."""
    config = LAB.resolve("boss", "tiny", {"epochs": 1, "relation": 25.0, "mutual": 1.0})
    LAB.fit(config, Run(tmp_path, data_dir, upstream={TEACHER: finished}))
    assistant, copy = LAB.load(finished).state_dict(), load_copy(tmp_path)
    assert isinstance(copy, Student)
    assert all(torch.equal(assistant[name], tensor) for name, tensor in copy.state_dict().items())
    assert LAB.check_submission(tmp_path / "deliver/submission.csv") == []
    metrics = json.loads((tmp_path / "result.json").read_text())["metrics"]
    assert cost.count_parameters(LAB.load(tmp_path)) == metrics["val/parameters"] <= LIMIT
    with (tmp_path / "deliver/costs.csv").open(newline="") as handle:
        assert float(next(csv.DictReader(handle))["parameters"]) == cost.count_parameters(copy)


def test_a_teacher_of_other_classes_is_refused(data_dir: Path, teacher: Path, tmp_path: Path) -> None:
    """A teacher with another number of classes than the data is refused before the training."""
    with pytest.raises(BadInput, match="has 11 classes, but the data have 4"):
        load_teacher(Run(tmp_path, data_dir, upstream={TEACHER: teacher}), 4)


def test_the_teacher_does_not_change(data_dir: Path, teacher: Path, finished: Path) -> None:
    """In eval mode not even its batch statistics change, so the files of its copy are the originals."""
    for name in ("weights.safetensors", "config.json"):
        assert (finished / TEACHER / name).read_bytes() == (teacher / name).read_bytes()


# --- techniques ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", LAB.presets)
def test_no_student_has_more_parameters_than_the_course_allows(preset: str) -> None:
    """At the course's size."""
    assert LAB.scale(preset, "course")["parameters"] <= LIMIT


@pytest.mark.parametrize("size", LAB.sizes)
def test_more_parameters_than_the_course_allows_are_refused(size: str) -> None:
    """At every size, before anything starts, by a sentence with the number and the limit."""
    with pytest.raises(BadInput, match="the student has 346,299 parameters where the course allows 100,000"):
        LAB.resolve("simple", size, {"width": 64})


def test_a_teaching_assistant_may_have_more_parameters() -> None:
    """It isn't handed in."""
    config = LAB.resolve("simple", "small", {"width": 64, "assistant": True})
    assert cost.count_parameters(LAB.network(config)) == 346_299


def test_the_relational_loss_is_the_formula() -> None:
    """Huber losses of the normalised distances and of the cosines of the angles (Park et al., eq. 3 to 8), by loops;
    0 for embeddings that are turned, scaled and shifted; finite gradients where two embeddings are equal."""
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 3, dtype=torch.double), torch.randn(5, 7, dtype=torch.double)
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    for x in (student, teacher):
        mean = sum(torch.dist(x[i], x[j]) for i, j in pairs) / len(pairs)
        for i, j in pairs:
            torch.testing.assert_close(distances(x)[i, j], torch.dist(x[i], x[j]) / mean)
            for k in range(5):
                if k != j:
                    expected = F.cosine_similarity(x[i] - x[j], x[k] - x[j], 0)
                    torch.testing.assert_close(angles(x)[j, i, k], expected)
    apart = (distances(student) - distances(teacher)).abs()
    turned = (angles(student) - angles(teacher)).abs()
    huber = [torch.where(d <= 1, d**2 / 2, d - 0.5).mean() for d in (apart, turned)]
    torch.testing.assert_close(relational_loss(student, teacher), huber[0] + 2 * huber[1])
    rotation = torch.linalg.qr(torch.randn(7, 7, dtype=torch.double)).Q
    assert relational_loss(3 * teacher @ rotation + 1, teacher) == pytest.approx(0, abs=1e-12)
    twins = student[[0, 0, 1, 2, 3]].requires_grad_()
    relational_loss(twins, teacher).backward()
    assert twins.grad.isfinite().all()


def test_mutual_learning_is_the_formula() -> None:
    """sum p_2 log(p_2 / p_1) / B (Zhang et al., eq. 6); its gradient teaches the first student only."""
    first, second = (torch.randn(6, 11, dtype=torch.double).requires_grad_() for _ in range(2))
    p_1, p_2 = first.softmax(1), second.softmax(1)
    loss = divergence(first, second)
    assert loss.item() == pytest.approx((p_2 * (p_2 / p_1).log()).sum().item() / 6)
    loss.backward()
    torch.testing.assert_close(first.grad, (p_1 - p_2).detach() / 6)
    assert second.grad is None


def test_distillation_is_the_formula() -> None:
    """alpha t^2 sum p log(p / q) / B + (1 - alpha) cross-entropy, with the softened p of the teacher and q of the
    student; at high temperature its gradient matches centred logits (Hinton et al., section 2.1)."""
    student, teacher, labels = torch.randn(6, 11, dtype=torch.double), torch.randn(6, 11).double(), torch.arange(6)
    t, alpha = 3.0, 0.7
    p, q = (teacher / t).softmax(1), (student / t).softmax(1)
    plain = -student.softmax(1)[torch.arange(6), labels].log().mean()
    expected = alpha * t**2 * (p * (p / q).log()).sum() / 6 + (1 - alpha) * plain
    assert distillation_loss(student, teacher, labels, alpha, t) == pytest.approx(expected.item())
    student.requires_grad_()
    distillation_loss(student, teacher, labels, 1.0, 1e4).backward()
    centred = [logits - logits.mean(1, keepdim=True) for logits in (student.detach(), teacher)]
    torch.testing.assert_close(student.grad, (centred[0] - centred[1]) / (6 * 11), rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("preset", ["simple", "strong"])
@pytest.mark.parametrize("network", ["plain", "residual"])
def test_the_hint_loss_is_the_formula(preset: str, network: str) -> None:
    """For each kind of student and teacher: the mean squared error between the teacher's last feature map, averaged to
    the student's resolution, and a linear map of the student's at each position, over the teacher's variance; 1 for a
    regressor that predicts the mean. Finding the shapes changes no batch statistics."""
    student = build(LAB.resolve(preset, "tiny"), 11)
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    teacher = cnn.LAB.network(cnn.LAB.resolve("simple", "tiny", {"network": network})).eval()
    hint = HintLoss(student, teacher, torch.zeros(1, 3, 64, 64))
    assert student.training
    assert all(torch.equal(before[name], tensor) for name, tensor in student.state_dict().items())
    images = torch.randint(0, 256, (4, 3, 64, 64))
    logits = student(images)
    with torch.no_grad():
        teacher(images)
    own, theirs = hint.feature_maps["student"], hint.feature_maps["teacher"]
    torch.testing.assert_close(student.net.head(own.mean((2, 3))), logits, atol=1e-5, rtol=1e-5)
    target = F.adaptive_avg_pool2d(theirs, own.shape[-2:])
    predicted = (
        torch.einsum("oi,bihw->bohw", hint.regressor.weight[:, :, 0, 0], own) + hint.regressor.bias[:, None, None]
    )
    assert hint.loss().item() == pytest.approx((((predicted - target) ** 2).mean() / target.var()).item(), rel=1e-4)
    with torch.no_grad():
        hint.regressor.weight.zero_()
        hint.regressor.bias.fill_(target.mean())
    assert hint.loss().item() == pytest.approx(1, rel=0.01)


def test_a_separable_block_is_a_factorised_convolution() -> None:
    """Without ReLU and batch norm it is a 3x3 convolution with the product of both kernels, of fewer weights."""
    block = SeparableBlock(4, 6, 1).eval()
    depthwise, pointwise = block.layers[0], block.layers[3]
    whole = pointwise.weight * depthwise.weight[:, 0][None]
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(pointwise(depthwise(x)), F.conv2d(x, whole, padding=1))
    assert depthwise.weight.numel() + pointwise.weight.numel() == 9 * 4 + 4 * 6 < whole.numel()


def test_masked_weights_are_the_smallest(teacher: Path) -> None:
    """The given fraction of the convolutions' weights is 0, and no weight that is left has a smaller magnitude."""
    model = cnn.load(teacher)
    pruned = prune_weights(model, 0.4)
    before, after = (
        torch.cat([layer.weight.flatten() for layer in m.modules() if isinstance(layer, nn.Conv2d)])
        for m in (model, pruned)
    )
    assert (after == 0).float().mean() == pytest.approx(0.4, abs=1e-4)
    assert before[after == 0].abs().max() <= before[after != 0].abs().min()


@pytest.mark.parametrize("network", ["plain", "residual"])
def test_removing_channels_is_setting_them_to_zero(network: str) -> None:
    """The smaller network computes the same as the whole one with these channels set to 0."""
    model = cnn.LAB.network(cnn.LAB.resolve("simple", "tiny", {"network": network})).eval()
    small, images = prune_channels(model, 0.5), torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert cost.count_parameters(small) < 0.8 * cost.count_parameters(model)
    zeroed = 0
    for layer, kept in zip(
        [m for m in model.modules() if isinstance(m, nn.Conv2d)],
        [m for m in small.modules() if isinstance(m, nn.Conv2d)],
        strict=True,
    ):
        if layer.out_channels > kept.out_channels:
            prune.ln_structured(layer, "weight", layer.out_channels - kept.out_channels, n=1, dim=0)
            zeroed += 1
    assert zeroed
    for module in model.modules():  # the batch norm of a zeroed channel adds no bias
        children = list(module.children())
        for layer, norm in pairwise(children):
            if isinstance(layer, nn.Conv2d) and hasattr(layer, "weight_mask"):
                zero = ~layer.weight_mask.flatten(1).any(1)
                with torch.no_grad():
                    norm.weight[zero], norm.bias[zero] = 0, 0
    torch.testing.assert_close(small(images), model(images))


def test_int8_logits_are_close_to_fp32(finished: Path, data_dir: Path) -> None:
    """Quantised logits differ by a few steps of 1/256 of their range."""
    student = LAB.load(finished)
    images = shards.ArrowDataset(data_dir, "train", ("image",))[torch.arange(64)][0]
    inputs = student.normalise(images)
    with torch.no_grad():
        exact, quantized = student.net(inputs), quantize(student.net, inputs)(inputs)
    assert (exact - quantized).abs().mean() < 0.05 * (exact.max() - exact.min())
    assert cost.file_megabytes(quantize(student.net, inputs)) < cost.file_megabytes(student.net)


def test_latency_is_measured_on_one_thread() -> None:
    """Whatever the number of threads, as those that wait for a core would count as busy; it is restored afterwards."""
    threads: list[int] = []
    model = nn.Linear(4, 4)
    model.register_forward_hook(lambda *_: threads.append(torch.get_num_threads()))
    torch.set_num_threads(2)
    cost.latency_ms(model, torch.randn(1, 4))
    assert set(threads) == {1}
    assert torch.get_num_threads() == 2


def test_latency_grows_with_work() -> None:
    """A network of 64 times the work takes longer."""
    x = torch.randn(64, 64)
    small, large = nn.Linear(64, 64), nn.Sequential(*[nn.Linear(64, 64) for _ in range(64)])
    assert cost.latency_ms(small, x) < cost.latency_ms(large, x)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\n0000,3\n", "line 1: the header must be 'Id,Category'"),
        ("Id,Category\n0001,3\n", "line 2: expected '0000,<class>', found '0001,3'"),
        ("Id,Category\n0000,11\n", "line 2: '11' is not a class; classes are 0 to 10"),
        ("Id,Category\n", "has no predictions"),
    ],
)
def test_a_bad_submission_is_named(text: str, message: str, tmp_path: Path) -> None:
    """Each fault of a submission file is a sentence with its line."""
    assert message in fault_of_submission(LAB, tmp_path, text)
