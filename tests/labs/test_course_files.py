"""Files that the course gives beside its data, in their real form: the teacher, the classifier, trained surrogates."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model
from torchvision.transforms.v2 import functional as transforms

import labs
from labs.attack import trained_surrogates
from labs.attack.surrogates import most_residual
from labs.cnn.networks import DeepNet
from labs.compression.pruning import prune_channels
from labs.compression.teacher import load_copy, load_teacher
from labs.core import shards
from labs.core.archives import read_archive
from labs.core.cost import count_parameters
from labs.core.errors import BadInput
from labs.core.lab import Lab
from labs.core.run import Run
from labs.core.weights_file import read_weights
from pipelines import datasets
from pipelines.spec import Node, default_needs
from tests.fuzz import pickles
from tests.labs.store import Store

COMPRESSION, EXPLAIN, ATTACK = (labs.get(name) for name in ("compression", "explain", "attack"))


def resnet18(classes: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return get_model("resnet18", weights=None, num_classes=classes)


def fit(
    lab: Lab, source: Path, place: Path, preset: str, *, test: bool = True, **overrides: Any
) -> tuple[Path, dict[str, float]]:
    """Check, pack and train on a folder without any other run, with `test` deliver as well; the run's folder and its
    metrics."""
    packed, folder = place / "packed", place / "run"
    packed.mkdir()
    lab.data.prepare(datasets.check(lab, source), packed, "folder")  # type: ignore[union-attr]
    lab.fit(lab.resolve(preset, "tiny", overrides), Run(folder, packed), test=test)
    metrics: dict[str, float] = json.loads((folder / "result.json").read_text())["metrics"]
    return folder, metrics


def needed(lab: str, source: Path | None, **overrides: Any) -> list[str]:
    """Nodes that run before the lab."""
    config = labs.get(lab).resolve(labs.heading(lab).presets[0], "tiny", overrides)
    return [node.name for node in default_needs(Node(lab, lab, "", "tiny", config, data=source))[:-1]]


@pytest.fixture
def food13(store: Store, tmp_path: Path) -> Path:
    """The course's folder of homework 13, with few images of two classes, inside the folder that is named."""
    folder = tmp_path / "hw13/food11-hw13"
    others = shutil.ignore_patterns("answers", "*_[1-9]*.jpg", "[2-9]_*.jpg", "10_*.jpg")
    shutil.copytree(store.source("compression"), folder, ignore=others)
    for path in sorted((folder / "evaluation").iterdir())[2:]:
        path.unlink()
    return folder


@pytest.fixture
def food9(store: Store, tmp_path: Path) -> Path:
    """The course's folder of homework 9: images to explain, without masks and texts."""
    folder = tmp_path / "hw9"
    shutil.copytree(store.source("explain") / "food", folder / "food", ignore=shutil.ignore_patterns("[3-9]_*", "10_*"))
    return folder


@pytest.fixture
def to_attack(store: Store, tmp_path: Path) -> Path:
    """The course's `data/` alone, with fewer pictures, and without its folder's name being asked for."""
    folder = tmp_path / "hw10"
    others = shutil.ignore_patterns("*[3-9].png", "*1?.png", "*20.png")
    shutil.copytree(store.source("attack") / "data", folder / "data", ignore=others)
    return folder


def test_the_courses_teacher_is_used_and_none_is_trained(food13: Path, tmp_path: Path) -> None:
    """A plain state dict of torchvision's ResNet-18, as the course gives it. What the report says of it is computed
    from the copy in the run's folder: here the teacher without half of the channels inside its blocks."""
    assert needed("compression", food13.parent) == ["cnn"]
    torch.save(resnet18().state_dict(), food13 / "resnet18_teacher.ckpt")
    assert needed("compression", food13.parent) == []
    folder, metrics = fit(COMPRESSION, food13.parent, tmp_path, "boss", test=False, epochs=1)
    assert 0 <= metrics["val/accuracy"] <= 1
    teacher = load_copy(folder)
    assert all(
        torch.equal(value, teacher.state_dict()[f"net.{name}"]) for name, value in resnet18().state_dict().items()
    )
    pruned = prune_channels(teacher, 0.5)
    assert count_parameters(pruned) < 0.6 * count_parameters(teacher)
    assert pruned(torch.zeros(1, 3, 64, 64)).isfinite().all()


def test_the_courses_teacher_sees_images_as_the_course_shows_them(food13: Path, tmp_path: Path) -> None:
    """Scaled to 256 pixels, of which the centre's 224, normalised with ImageNet's mean and standard deviation."""
    torch.save(resnet18().state_dict(), food13 / "resnet18_teacher.ckpt")
    COMPRESSION.data.prepare(food13, tmp_path, "folder")  # type: ignore[union-attr]
    images = shards.ArrowDataset(tmp_path, "validation", ("image",))[torch.arange(2)][0]
    assert images.shape[1:] == (3, 256, 256)
    centre = transforms.center_crop(images, [224, 224]).float() / 255
    seen = transforms.normalize(centre, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = resnet18().eval()(seen)
        found = load_teacher(Run(tmp_path / "run", tmp_path), 2)(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_courses_checkpoint_is_explained_and_no_other_run_needed(food9: Path, tmp_path: Path) -> None:
    """A training's checkpoint: the weights beside the optimizer's state. A folder without texts needs no reader."""
    assert needed("explain", None) == ["cnn", "bert-pretrain", "bert"]
    assert needed("explain", food9) == ["cnn"]
    torch.manual_seed(0)
    net = DeepNet(4, 128, 11)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.zeros(2, 3, 128, 128)).sum().backward()
    optimizer.step()
    state = {"epoch": 79, "model_state_dict": net.state_dict(), "optimizer_state_dict": optimizer.state_dict()}
    torch.save({**state, "loss": 0.5}, food9 / "checkpoint.pth")
    assert needed("explain", food9) == []
    folder, metrics = fit(EXPLAIN, food9, tmp_path, "saliency", layer=0)
    assert {"val/deletion", "val/insertion", "val/sanity"} <= metrics.keys()
    image = torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        torch.testing.assert_close(EXPLAIN.load(folder).classifier(image * 255), net.eval()(image))


def test_the_course_s_classifier_has_its_parameters() -> None:
    """14,162,827, as measured on the course's network."""
    with torch.device("meta"):
        assert sum(weight.numel() for weight in DeepNet(64, 128, 11).parameters()) == 14_162_827


def test_pictures_alone_are_attacked_with_surrogates_of_drawn_ones(to_attack: Path, tmp_path: Path) -> None:
    """The report says that they were trained on drawings; `data/` itself may be named as well."""
    assert datasets.check(ATTACK, to_attack / "data") == to_attack / "data"
    folder, metrics = fit(ATTACK, to_attack, tmp_path, "simple", epochs=1)
    assert 0 <= metrics["val/accuracy"] <= metrics["val/benign"] + 0.5
    assert len(read_archive(folder / "deliver/submission.tgz", 10**7)) == 20
    assert "trained on drawn pictures" in " ".join((folder / "deliver/report.md").read_text().split())


def test_pictures_are_attacked_with_trained_networks(to_attack: Path, tmp_path: Path) -> None:
    """Weights of torchvision's architectures in a folder: all but the last are surrogates, none is trained."""
    (to_attack / "surrogates").mkdir()
    first, last = resnet18(10), get_model("shufflenet_v2_x0_5", weights=None, num_classes=10)
    torch.save(first.state_dict(), to_attack / "surrogates/resnet18-mine.pth")
    save_file(last.state_dict(), to_attack / "surrogates/shufflenet_v2_x0_5.safetensors")
    folder, metrics = fit(ATTACK, to_attack, tmp_path, "medium")
    assert "train/loss" not in metrics
    networks = ATTACK.load(folder)
    kept = networks.surrogates.networks[0].state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in first.state_dict().items())
    assert len(networks.surrogates.networks) == len(networks.validation_network.networks) == 1
    report = (folder / "deliver/report.md").read_text()
    assert "on the surrogates resnet18-mine:" in report
    assert "attacked with FGSM on one network: `resnet18-mine`, of the surrogates the" in report
    assert most_residual(["densenet121", "resnet34", "resnet18"]) == 1


def test_one_trained_network_is_not_enough(to_attack: Path) -> None:
    (to_attack / "surrogates").mkdir()
    torch.save(resnet18(10).state_dict(), to_attack / "surrogates/resnet18.pth")
    with pytest.raises(BadInput, match="surrogates/: found 1 networks, expected at least 2"):
        datasets.check(ATTACK, to_attack)


def test_a_network_of_an_unknown_name_or_with_other_outputs_is_named(to_attack: Path) -> None:
    (to_attack / "surrogates").mkdir()
    torch.save(resnet18(10).state_dict(), to_attack / "surrogates/resnet17.pth")
    torch.save(resnet18(1000).state_dict(), to_attack / "surrogates/resnet18.pth")
    with pytest.raises(BadInput) as raised:
        datasets.check(ATTACK, to_attack)
    assert "resnet17.pth: expected a name that begins with one of torchvision's architectures" in str(raised.value)
    assert "resnet18.pth: expected the weights of torchvision's resnet18 with 10 outputs, found 'fc.weight' of shape "
    assert "(1000, 512) in place of (10, 512)" in str(raised.value)


def _broken(path: Path) -> None:
    torch.save(resnet18().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-1000])


def _not_finite(path: Path) -> None:
    state = resnet18().state_dict()
    state["conv1.weight"][0] = torch.nan
    torch.save(state, path)


def _changed(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    """A function that writes a teacher with other weights of one name."""
    state = resnet18().state_dict()
    return lambda path: torch.save({**state, name: change(state[name])}, path)


TEACHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a whole network": (lambda path: torch.save(resnet18(), path), "which need pickle and so can run any code"),
    "text": (lambda path: path.write_text("weights"), "expected tensors alone"),
    "broken": (_broken, "resnet18_teacher.ckpt: expected"),
    "other classes": (
        lambda path: torch.save(resnet18(10).state_dict(), path),
        "expected the weights of a ResNet-18 of 2 classes, found 'fc.weight' of shape (10, 512) in place of (2, 512)",
    ),
    "other network": (lambda path: torch.save(DeepNet(4, 32, 11).state_dict(), path), "found none for 'conv1.weight'"),
    "a tensor": (lambda path: torch.save(torch.eye(3), path), "a state dict of tensors, found a Tensor"),
    "numbers": (lambda path: torch.save({"a": 1}, path), "a state dict of tensors, found a int as 'a'"),
    "empty": (lambda path: torch.save({}, path), "a state dict of tensors, found an empty one"),
    "not finite": (_not_finite, "expected finite numbers, found others in 'conv1.weight'"),
    "whole numbers": (_changed("conv1.weight", lambda weight: weight.long()), "'conv1.weight' of type torch.float32"),
    "complex numbers": (_changed("conv1.weight", lambda weight: weight + 1j), "plain numbers as weights"),
    "variances": (_changed("bn1.running_var", lambda weight: weight - 2), "variances of 0 or more"),
    "one value for many": (
        lambda path: torch.save({"conv1.weight": torch.zeros(1).expand(10**12)}, path),
        "expected all values of the weights",
    ),
}


@pytest.mark.parametrize("fault", TEACHERS)
def test_a_file_that_is_no_teacher_is_named(fault: str, food13: Path) -> None:
    """In one sentence, before anything is trained."""
    write, message = TEACHERS[fault]
    write(food13 / "resnet18_teacher.ckpt")
    with pytest.raises(BadInput) as raised:
        datasets.check(COMPRESSION, food13)
    assert message in str(raised.value)
    assert str(raised.value).endswith("without this file the teacher is a run of the cnn lab")


def test_a_checkpoint_of_another_network_is_named(food9: Path) -> None:
    torch.save({"model_state_dict": resnet18().state_dict()}, food9 / "checkpoint.pth")
    with pytest.raises(BadInput, match=r"checkpoint.pth: expected the weights of the course's classifier, found none "):
        datasets.check(EXPLAIN, food9)


def test_a_checkpoint_of_other_classes_is_named(food9: Path) -> None:
    """One of ImageNet's thousand was taken."""
    torch.save({"model_state_dict": DeepNet(4, 128, 1000).state_dict()}, food9 / "checkpoint.pth")
    with pytest.raises(BadInput, match="expected a classifier of 11 classes, found one of 1000"):
        datasets.check(EXPLAIN, food9)


def test_two_surrogates_of_one_name_are_refused(tmp_path: Path) -> None:
    """The second one's weights took the place of the first one's."""
    (tmp_path / "surrogates").mkdir()
    for name in ("resnet18.pth", "resnet18.safetensors"):
        (tmp_path / "surrogates" / name).touch()
    (fault,) = trained_surrogates.check(tmp_path)
    assert fault.endswith("found resnet18.pth and resnet18.safetensors")


def test_no_code_in_weights_is_run(tmp_path: Path) -> None:
    for number, content in enumerate(pickles(tmp_path / "marker")):
        file = tmp_path / f"{number}.pth"
        file.write_bytes(content)
        with pytest.raises(BadInput):
            read_weights(file)
    assert not (tmp_path / "marker").exists()


def test_weights_that_several_gpus_trained_are_read(tmp_path: Path) -> None:
    """`DataParallel` puts `module.` before each name."""
    net = nn.Linear(2, 2)
    torch.save({"state_dict": nn.DataParallel(net).state_dict()}, tmp_path / "a.pth")
    torch.testing.assert_close(read_weights(tmp_path / "a.pth"), dict(net.state_dict()))
