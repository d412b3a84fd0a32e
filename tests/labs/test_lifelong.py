"""The life-long lab: MNIST's files, training on tasks in sequence with every method, the submission."""

import csv
import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import MNIST
from torchvision.transforms import functional as course_transforms

from labs.core import events
from labs.core.errors import BadInput
from labs.core.run import Interrupted, Run
from labs.lifelong import data
from labs.lifelong.lesson import LAB
from labs.lifelong.scenarios import rotate
from labs.lifelong.transfer import MEASURES
from pipelines.spec import SPECS, read_spec
from tests.labs.workers import train_on

FILES = [f"{prefix}-{kind}-ubyte" for prefix in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def pack(folder, out):
    data.prepare(folder, out, "generated")
    return out


def write_idx(folder: Path, train: int, test: int) -> Path:
    """Random images in MNIST's format."""
    rng = np.random.default_rng(0)
    raw = folder / "MNIST/raw"
    raw.mkdir(parents=True)
    for prefix, count in (("train", train), ("t10k", test)):
        header = np.array([0x803, count, 28, 28], ">u4").tobytes()
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(header + rng.bytes(count * 784))
        labels = bytes(int(label) for label in rng.integers(0, 10, count))
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(np.array([0x801, count], ">u4").tobytes() + labels)
    return folder


# --- data ----------------------------------------------------------------------------------------------------------


def test_torchvision_reads_what_make_wrote(source):
    """torchvision finds both splits without downloading, with equally many of each digit."""
    for train, count in ((True, 400), (False, 200)):
        mnist = MNIST(root=source, train=train, download=False)
        assert mnist.data.shape == (count, 28, 28)
        assert mnist.targets.bincount().tolist() == [count // 10] * 10


def test_no_digit_is_in_both_splits(source):
    """Training and test images are different digits."""
    seen = {image.tobytes() for image in MNIST(root=source, train=True).data.numpy()}
    assert not seen & {image.tobytes() for image in MNIST(root=source, train=False).data.numpy()}


def test_gzipped_files_are_the_same_data(source, tmp_path):
    """A folder of .gz files, as MNIST is downloaded, passes the check and packs to the same digest."""
    zipped = shutil.copytree(source, tmp_path / "zipped")
    for name in FILES:
        path = zipped / "MNIST/raw" / name
        path.with_name(f"{name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert data.check(zipped) == []
    digests = []
    for folder in (source, zipped):
        out = tmp_path / f"packed-{folder.name}"
        out.mkdir()
        digests.append(data.prepare(folder, out, "folder")["digest"])
    assert digests[0] == digests[1]


def edit(path: Path, change) -> None:
    path.write_bytes(change(path.read_bytes()))


def header(*numbers: int) -> bytes:
    return np.array(numbers, ">u4").tobytes()


BROKEN = {
    "missing": ("t10k-images-idx3", None, "t10k-images-idx3-ubyte is missing"),
    "magic": (
        "train-images-idx3",
        lambda content: header(0x801) + content[4:],
        "train-images-idx3-ubyte: the magic number must be 0x00000803 (bytes, 3 axes), found 0x00000801",
    ),
    "empty": (
        "train-labels-idx1",
        lambda content: b"",
        "train-labels-idx1-ubyte: the magic number must be 0x00000801 (bytes, 1 axes), found an empty file",
    ),
    "header": (
        "train-images-idx3",
        lambda content: content[:9],
        "train-images-idx3-ubyte: the header ends after 2 numbers, expected 4",
    ),
    "truncated": (
        "t10k-images-idx3",
        lambda content: content[:-5],
        "t10k-images-idx3-ubyte: 2347 bytes after the header, expected 2352",
    ),
    "side": (
        "train-images-idx3",
        lambda content: header(0x803, 6, 14, 56) + content[16:],
        "train-images-idx3-ubyte: images of 14x56 pixels, expected 28x28",
    ),
    "count": (
        "train-labels-idx1",
        lambda content: header(0x801, 5) + content[8:-1],
        "train-labels-idx1-ubyte: 5 labels, expected 6, as many as train-images-idx3-ubyte has",
    ),
    "label": (
        "t10k-labels-idx1",
        lambda content: content[:-1] + bytes([10]),
        "t10k-labels-idx1-ubyte: label 10 at position 2 (from 0), expected 0 to 9",
    ),
    "none": (
        "t10k-images-idx3",
        lambda content: header(0x803, 0, 28, 28),
        "t10k-images-idx3-ubyte is empty: 0 items, expected at least 1",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_check_names_each_fault(fault, tmp_path):
    """One sentence, which names the file, what was found and what was expected."""
    name, change, sentence = BROKEN[fault]
    path = write_idx(tmp_path, 6, 3) / "MNIST/raw" / f"{name}-ubyte"
    edit(path, change) if change else path.unlink()
    faults = data.check(tmp_path)
    assert len(faults) == 1
    assert faults[0].endswith(sentence)


def test_check_names_a_broken_gzip_file(tmp_path):
    raw = write_idx(tmp_path, 6, 3) / "MNIST/raw"
    path = raw / "train-images-idx3-ubyte"
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes())[:-20])
    path.unlink()
    assert data.check(tmp_path) == ["train-images-idx3-ubyte.gz is not a complete gzip file"]


def test_bytes_rotate_like_the_courses_floats(source):
    """Rotating uint8 images gives exactly what rotating each float image in [0, 1] gives."""
    images = MNIST(root=source).data[:20]
    for angle in (20.0, 40.0, 80.0):
        course = [course_transforms.rotate(image[None] / 255, angle)[0] for image in images]
        assert torch.equal(rotate(images, angle) / 255, torch.stack(course))


# --- training ------------------------------------------------------------------------------------------------------


def fit(folder, data_dir, preset, *, stop_after=None, size="tiny", test=True, **fields):
    """Train at size tiny; with `stop_after`, ask the run to end after that epoch."""

    def on_epoch(step, _):
        if step == stop_after:
            (folder / "stop").touch()

    LAB.fit(LAB.resolve(preset, size, fields), Run(folder, data_dir, on_epoch=on_epoch), test=test)
    return json.loads((folder / "result.json").read_text())["metrics"]


def without_times(metrics):
    return {name: value for name, value in metrics.items() if not name.startswith(("time/", "perf/"))}


@pytest.fixture(scope="module", params=["baseline", "rwalk"])
def undisturbed(request, data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, fit(folder, data_dir, request.param)


def test_trained_run_delivers_a_valid_submission(undisturbed):
    """Training ends with a submission that the check takes, the curve's figure, and a score above the trivial one."""
    _, folder, metrics = undisturbed
    assert LAB.check_submission(folder / "deliver" / LAB.submission) == []
    assert (folder / "deliver/acc_summary.png").read_bytes().startswith(b"\x89PNG")
    assert metrics["test/accuracy"] > 2 * metrics["test/trivial"]
    assert metrics["test/trivial"] == pytest.approx(0.1)


def test_an_epochs_accuracy_is_the_mean_over_the_tasks_seen(undisturbed):
    """Two epochs a task: epoch 5 is in task 3, so three tasks count."""
    metrics = events.read(undisturbed[1])[4]["metrics"]
    own = [value for name, value in metrics.items() if name.startswith("val/accuracy_task")]
    assert len(own) == 3
    assert metrics["val/accuracy"] == pytest.approx(np.mean(own))


def test_served_model_gives_probabilities(undisturbed, data_dir):
    images = LAB.example(data_dir)
    probabilities = LAB.predict(LAB.load(undisturbed[1]), images)
    assert (images.dtype, images.shape[1:]) == (np.uint8, (28, 28))
    assert (probabilities.dtype, probabilities.shape) == (np.float32, (len(images), 10))
    assert probabilities.sum(1) == pytest.approx(1, abs=1e-5)


def test_matrix_of_accuracies_is_delivered_and_agrees_with_the_metrics(undisturbed):
    """A row for the untrained network and one after each task; the metrics follow from the matrix."""
    _, folder, metrics = undisturbed
    with (folder / "deliver/task_matrix.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["after", "0°", "20°", "40°", "60°", "80°"]
    assert [row[0] for row in rows] == ["untrained", *header[1:]]
    matrix = [[float(value) for value in row[1:]] for row in rows]
    assert np.mean(matrix[0]) < 0.3 < matrix[1][0]
    assert metrics["val/accuracy"] == pytest.approx(np.mean(matrix[-1]), abs=1e-5)
    for name, measure in MEASURES.items():
        assert metrics[f"val/{name}"] == pytest.approx(measure(matrix), abs=1e-5)
    assert (folder / "deliver/task_matrix.png").read_bytes().startswith(b"\x89PNG")
    falls = [max(row[task] for row in matrix[task + 1 :]) - matrix[-1][task] for task in range(4)]
    most = int(np.argmax(falls))
    said = f"Task {most + 1}, {header[1 + most]}, is forgotten most: from {matrix[-1][most] + falls[most]:.3f} to "
    assert said in (folder / "deliver/report.md").read_text()


@pytest.mark.parametrize("preset", LAB.presets)
def test_interrupted_run_ends_like_an_undisturbed_one(preset, data_dir, tmp_path):
    """Stopped within the first task, right after it and within the second one: all metrics and weights are the same."""
    short = {"angles": [0, 40], "epochs_per_task": 2, "test": False}
    whole, interrupted = tmp_path / "whole", tmp_path / "interrupted"
    expected = fit(whole, data_dir, preset, **short)
    for stop in (1, 2, 3):
        with pytest.raises(Interrupted):
            fit(interrupted, data_dir, preset, stop_after=stop, **short)
        (interrupted / "stop").unlink()
    assert without_times(fit(interrupted, data_dir, preset, **short)) == without_times(expected)
    for name in ("weights.safetensors", "task_matrix.csv"):
        assert (interrupted / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize("scenario", ["permuted", "class-incremental"])
def test_further_scenarios_train_and_score_all_their_tasks(scenario, data_dir, tmp_path):
    """With replay, the final accuracy over all tasks is well above chance."""
    metrics = fit(tmp_path, data_dir, "replay", scenario=scenario, epochs_per_task=4)
    assert metrics["test/accuracy"] > 2.5 * metrics["test/trivial"]
    kind = "class-incremental" if scenario == "class-incremental" else "domain-incremental"
    assert f"\n{kind.capitalize()}: " in (tmp_path / "deliver/report.md").read_text()
    assert LAB.check_submission(tmp_path / "deliver" / LAB.submission) == []


@pytest.mark.parametrize("preset", LAB.presets)
def test_every_preset_trains_at_course_size(preset, tmp_path):
    """One real step a task, with two training images and the course's network."""
    (tmp_path / "packed").mkdir()
    packed = pack(write_idx(tmp_path / "made", 3, 2), tmp_path / "packed")
    metrics = fit(tmp_path / "run", packed, preset, size="course", test=False, epochs_per_task=1)
    assert np.isfinite(metrics["train/loss"])


def test_one_training_image_is_refused_before_training(tmp_path):
    (tmp_path / "packed").mkdir()
    packed = pack(write_idx(tmp_path / "made", 1, 1), tmp_path / "packed")
    with pytest.raises(BadInput, match="0 training samples are too few"):
        fit(tmp_path / "run", packed, "baseline")


STATEFUL = [name for name in LAB.presets if name not in ("baseline", "joint")]


def few_steps(preset):
    """Two tasks of three steps each, so that `after_task` has an effect on the second."""
    return LAB.resolve(preset, "tiny", {"angles": [0, 20], "epochs_per_task": 1, "batch_size": 128})


@pytest.mark.parametrize("preset", STATEFUL)
def test_two_workers_learn_what_one_learns(preset, data_dir, tmp_path):
    """Weights bit-equal on both; weights and the method's state are those of one worker on the global batch."""
    first, second = train_on(2, "lifelong", few_steps(preset), data_dir, tmp_path / "two")
    assert all(torch.equal(first[name], second[name]) for name in first)
    train_on(1, "lifelong", few_steps(preset), data_dir, tmp_path / "one")
    one, two = states(tmp_path / "one"), states(tmp_path / "two")
    assert any(not name.startswith("model.") for name in one)
    assert one.keys() == two.keys()
    for name, expected in one.items():
        torch.testing.assert_close(two[name], expected, atol=1e-5, rtol=1e-3)


def states(folder: Path) -> dict[str, torch.Tensor]:
    """Weights and the method's state, from a run's last checkpoint."""
    state = torch.load(folder / "checkpoints/step-000002/state.pt", weights_only=True)
    model = {f"model.{name.removeprefix('module.')}": tensor for name, tensor in state["model"].items()}
    return model | state["method"]


def test_the_reports_pipeline_trains_the_courses_six_methods() -> None:
    """One run of each, with its preset's strength, on the course's rotated digits."""
    _, nodes = read_spec(SPECS / "lifelong-report.yaml")
    assert sorted(node.config.method for node in nodes) == ["baseline", "ewc", "mas", "rwalk", "scp", "si"]
    assert all(node.config == LAB.resolve(node.preset, node.size) for node in nodes)


# --- submission ------------------------------------------------------------------------------------------------------

GOOD = ["task,angle,accuracy", *(f"{task},{angle},0.5" for task, angle in enumerate((0, 20, 40, 60, 80), 1))]


@pytest.mark.parametrize(
    ("line", "text", "sentence"),
    [
        (0, "task,accuracy", "line 1: the header must be 'task,angle,accuracy'"),
        (2, "3,20,0.5", "line 3: expected '2,<degrees>,<fraction from 0 to 1>', found '3,20,0.5'"),
        (4, "4,60,70.6", "line 5: expected '4,<degrees>,<fraction from 0 to 1>', found '4,60,70.6'"),
        (5, "5,90,0.5", "or 0 five times in other scenarios, found [0.0, 20.0, 40.0, 60.0, 90.0]"),
    ],
)
def test_check_submission_names_each_fault(line, text, sentence, tmp_path):
    lines = [*GOOD]
    assert write(tmp_path, lines) == []
    lines[line] = text
    (fault,) = write(tmp_path, lines)
    assert fault.endswith(sentence)


def write(folder, lines):
    path = folder / LAB.submission
    path.write_text("\n".join(lines) + "\n")
    return LAB.check_submission(path)
