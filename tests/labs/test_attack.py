"""Promises of the attack lab: its data formats, its attacks beside references, its victims and its submission."""

import csv
import io
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from labs.attack import data, objects, victims
from labs.attack.adversarial_training import random_start_fgsm
from labs.attack.config import EPSILON, Family
from labs.attack.lesson import LAB, InputDiversity, Networks, attack, validate
from labs.attack.networks import FAMILIES, MEAN, Ensemble, Network
from labs.attack.surrogates import VALIDATION_FAMILY
from labs.core import shards
from labs.core.archives import read_archive
from labs.core.errors import BadInput
from labs.core.run import Run
from tests.labs.folders import one_fault
from tests.labs.store import Store
from tests.labs.workers import last_metrics, train_on


@pytest.fixture(scope="module")
def finished(store: Store) -> Path:
    return store.finished("attack", "boss")


@pytest.fixture(scope="module")
def surrogates() -> Ensemble:
    torch.manual_seed(0)
    return Ensemble(("nin", "residual"), 8, 1, 2).eval()


@pytest.fixture(scope="module")
def pictures(data_dir: Path) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = shards.ArrowDataset(data_dir, "attack", ("image", "label"))[torch.arange(0, 200, 8)]
    return images, labels


# --- data ------------------------------------------------------------------------------------------------------------


def test_made_pictures_are_as_many_as_in_the_course(data_dir: Path) -> None:
    """20 pictures of each of ten classes; each class has a function that draws its object."""
    assert shards.manifest(data_dir)["splits"]["attack"] == 200
    assert [draw.__name__ for draw in objects.DRAW_FUNCTIONS] == list(data.CLASSES)


def _saved(folder: Path, name: str, image: Image.Image) -> None:
    image.save(folder / name, "PNG")


def _truncate(folder: Path) -> None:
    path = folder / "train/ship/ship3.png"
    path.write_bytes(path.read_bytes()[:700])


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing to attack": (lambda d: shutil.rmtree(d / "data"), "data/ is missing: expected a folder for each class"),
    "no class": (
        lambda d: shutil.rmtree(d / "train/frog"),
        "train/frog/ is missing: expected a folder for each of airplane, automobile, ",
    ),
    "foreign class": (
        lambda d: (d / "data/zebra").mkdir(),
        "data/zebra: expected only the folders airplane, automobile, ",
    ),
    "empty class": (
        lambda d: [path.unlink() for path in (d / "data/dog").iterdir()],
        "data/dog/ is empty: expected PNG pictures",
    ),
    "name": (
        lambda d: (d / "data/dog/dog20.png").rename(d / "data/dog/puppy.png"),
        "data/dog/puppy.png: expected dog20.png here, as pictures are numbered dog1.png, dog2.png, ...",
    ),
    "gap": (
        lambda d: (d / "data/cat/cat7.png").unlink(),
        "data/cat/cat8.png: expected cat7.png here, as pictures are numbered cat1.png, cat2.png, ...",
    ),
    "text": (
        lambda d: (d / "data/deer/deer2.png").write_text("no picture"),
        "data/deer/deer2.png: expected a whole PNG image, found a broken one: not a PNG file",
    ),
    "truncated": (_truncate, "train/ship/ship3.png: expected a whole PNG image, found a broken one: "),
    "size": (
        lambda d: _saved(d, "data/deer/deer2.png", Image.new("RGB", (32, 33))),
        "data/deer/deer2.png: expected 32x32 pixels in RGB, found 32x33 in RGB",
    ),
    "mode": (
        lambda d: _saved(d, "train/deer/deer2.png", Image.new("L", (32, 32))),
        "train/deer/deer2.png: expected 32x32 pixels in RGB, found 32x32 in L",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_names_the_fault(fault: str, source: Path, tmp_path: Path) -> None:
    """One sentence per fault, with the file, what was found and what was expected."""
    spoil, message = FAULTS[fault]
    assert message in one_fault(data.check, source, tmp_path / "pictures", spoil)


def test_other_counts_and_no_victims_are_accepted(source: Path, tmp_path: Path) -> None:
    """A user's folder with other counts, other names of training pictures and no answers trains and delivers; without
    victims there is nothing to score."""
    folder, packed, run = tmp_path / "own", tmp_path / "packed", tmp_path / "run"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("answers", "dog[2-9]*.png", "dog1?.png"))
    (folder / "train/cat/cat1.png").rename(folder / "train/cat/0001.png")
    (folder / "data/.DS_Store").write_bytes(b"\0")
    packed.mkdir()
    assert data.check(folder) == []
    names = LAB.data.prepare(folder, packed, "folder")["facts"]["names"]
    assert len(names) == 181
    assert names[99:102] == ["deer/deer20.png", "dog/dog1.png", "frog/frog1.png"]
    LAB.fit(LAB.resolve("simple", "tiny", {"epochs": 1}), Run(run, packed))
    assert list(read_archive(run / "deliver/submission.tgz", data.MAX_UNPACKED)) == names
    assert LAB.score(run / "deliver", packed) == {}


# --- the attacks beside references -----------------------------------------------------------------------------------


def config(**fields: object) -> object:
    return LAB.resolve("simple", "tiny", fields)


class Averaged(nn.Module):
    """The ensemble as one network, as a reference attack wants it."""

    def __init__(self, surrogates: Ensemble) -> None:
        super().__init__()
        self.surrogates = surrogates

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.surrogates(images).mean(0)


def success(surrogates: Ensemble, adversarial: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.no_grad():
        return float((surrogates(adversarial.float()).mean(0).argmax(1) != labels).double().mean())


@pytest.mark.parametrize("kind", ["fgsm", "i-fgsm"])
def test_attacks_are_those_of_foolbox(
    kind: str, surrogates: Ensemble, pictures: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """Same pictures as foolbox's attack of the same epsilon, step and steps, but for rounding; at least its success."""
    import foolbox

    images, labels = pictures
    model = foolbox.PyTorchModel(Averaged(surrogates).eval(), bounds=(0, 255), device="cpu")
    reference = {
        "fgsm": foolbox.attacks.LinfFastGradientAttack(random_start=False),
        "i-fgsm": foolbox.attacks.LinfBasicIterativeAttack(abs_stepsize=1.6, steps=10, random_start=False),
    }[kind]
    _, theirs, _ = reference(model, images.float(), labels, epsilons=EPSILON)
    ours = attack(config(attack=kind, alpha=1.6, steps=10), surrogates, images, labels)
    assert (ours.float() - theirs).abs().gt(0.51).double().mean() < 0.01
    assert success(surrogates, ours, labels) >= success(surrogates, theirs, labels)


def test_momentum_follows_the_formula(surrogates: Ensemble, pictures: tuple[torch.Tensor, torch.Tensor]) -> None:
    """MI-FGSM (Dong et al., equations 6 and 7), picture by picture: gradients divided by their L1 norm add up."""
    images, labels = pictures[0][:4], pictures[1][:4]
    ours = attack(config(attack="mi-fgsm", alpha=2.0, steps=6, decay=0.9), surrogates, images, labels)
    for image, label, result in zip(images, labels, ours, strict=True):
        clean = image.double()
        x, g = clean.clone(), torch.zeros(3, 32, 32, dtype=torch.float64)
        for _ in range(6):
            leaf = x.float()[None].requires_grad_()
            F.cross_entropy(surrogates(leaf).mean(0), label[None]).backward()
            gradient = leaf.grad[0].double()
            g = 0.9 * g + gradient / gradient.abs().sum()
            x = (x + 2.0 * g.sign()).maximum(clean - 8).minimum(clean + 8).clamp(0, 255)
        assert (result - x).abs().gt(0.51).double().mean() < 0.01


def test_input_diversity_shrinks_and_pads_with_the_mean_colour() -> None:
    """DIM: the whole picture, smaller, at a random place on the mean colour, with the probability given."""
    images, grey = torch.rand(2, 3, 32, 32) * 255, 255 * torch.tensor(MEAN).view(3, 1, 1)
    random, sides, kept = torch.Generator().manual_seed(1), set(), 0
    for _ in range(200):
        transform = InputDiversity(config(diversity=0.5, smallest_side=24), random)
        diverse = transform(images)
        if not transform.applied:
            kept += 1
            assert torch.equal(diverse, images)
            continue
        sides.add(transform.side)
        expected = grey.expand(2, 3, 32, 32).clone()
        small = F.interpolate(images, size=(transform.side, transform.side), mode="bilinear", align_corners=False)
        expected[
            :, :, transform.top : transform.top + transform.side, transform.left : transform.left + transform.side
        ] = small
        assert torch.allclose(diverse, expected, atol=1e-3)
    assert sides == set(range(24, 33))
    assert 70 < kept < 130


def test_no_diversity_is_plain_momentum(surrogates: Ensemble, pictures: tuple[torch.Tensor, torch.Tensor]) -> None:
    """With probability 0 the boss's attack is the strong one; with 1 it is another."""
    always, never = (
        attack(config(attack="mi-fgsm", diversity=p, steps=4, alpha=2.0), surrogates, *pictures) for p in (1.0, 0.0)
    )
    plain = attack(config(attack="mi-fgsm", steps=4, alpha=2.0), surrogates, *pictures)
    assert torch.equal(never, plain)
    assert not torch.equal(always, plain)


@pytest.mark.parametrize("preset", LAB.presets)
def test_attacks_stay_within_epsilon_and_do_not_depend_on_the_batch(
    preset: str, surrogates: Ensemble, pictures: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """No value differs by more than 8; the same pictures come out of one batch and of two."""
    images, labels = pictures
    settings = LAB.resolve(preset, "tiny")
    whole = attack(settings, surrogates, images, labels)
    halves = [attack(settings, surrogates, images[rows], labels[rows]) for rows in torch.arange(len(images)).split(13)]
    assert (whole.int() - images.int()).abs().max() == EPSILON
    assert (whole.int() - torch.cat(halves).int()).abs().gt(0).double().mean() < 0.01


def test_a_family_named_twice_has_two_networks() -> None:
    """They have other first weights, and both count in the ensemble's logits."""
    ensemble = LAB.network(LAB.resolve("simple", "tiny", {"surrogates": ("nin", "nin")})).eval()
    first, second = ensemble(torch.rand(3, 3, 32, 32) * 255)
    assert not torch.allclose(first, second)


# --- the victims -----------------------------------------------------------------------------------------------------


def test_adversarial_training_attacks_with_one_step_from_a_random_start(
    surrogates: Ensemble, pictures: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """Adversarial training's pictures follow the formula of Wong et al., picture by picture, and raise the loss."""
    images, labels = pictures[0][:4].float(), pictures[1][:4]
    torch.manual_seed(2)
    adversarial = random_start_fgsm(surrogates, images, labels, 4.0)
    torch.manual_seed(2)
    start = 4.0 * (2 * torch.rand(4, 3, 32, 32) - 1)
    for number in range(4):
        leaf = (images[number] + start[number])[None].requires_grad_()
        sum(F.cross_entropy(network(leaf), labels[number : number + 1]) for network in surrogates.networks).backward()
        change = (start[number] + 5.0 * leaf.grad[0].sign()).clamp(-4, 4)
        expected = (images[number] + change).clamp(0, 255)
        assert (adversarial[number] - expected).abs().gt(1e-3).double().mean() < 0.01
    with torch.no_grad():
        losses = [F.cross_entropy(surrogates(x).mean(0), labels) for x in (images, adversarial)]
    assert losses[1] > losses[0]


def test_victims_are_held_out() -> None:
    """No surrogate, nor the validation network, has a victim's architecture."""
    families = [*get_args(Family), VALIDATION_FAMILY, *victims.FAMILIES]
    assert len(set(families)) == len(families)
    assert set(families) == set(FAMILIES)
    assert victims.ROBUST_FAMILY in victims.FAMILIES


def test_adversarial_training_makes_a_network_robust() -> None:
    """On a line between two colours, a network trained on attacked pictures keeps more under attack."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(10).repeat(20)
    images = torch.full((200, 3, 32, 32), 128.0) + 4 * (labels.view(-1, 1, 1, 1) - 4.5)
    images = (images + 20 * torch.randn(200, 3, 32, 32, generator=generator)).clamp(0, 255).byte()
    kept = []
    for epsilon in (0, victims.ROBUST_EPSILON):
        torch.manual_seed(0)
        network = Network("nin", 8, 1, 2)
        victims.train_victim(network, images, labels, epsilon, epochs=8)
        ensemble = Ensemble(("nin",), 8, 1, 2)
        ensemble.networks[0] = network.eval()
        attacked = attack(config(), ensemble.eval(), images, labels)
        kept.append(1 - success(ensemble, attacked, labels))
    assert kept[1] > kept[0]


def test_jpeg_is_pillows(pictures: tuple[torch.Tensor, torch.Tensor]) -> None:
    """The defence is Pillow's JPEG at quality 31, which is imgaug's rate of 70."""
    image = pictures[0][:1].numpy()
    file = io.BytesIO()
    Image.fromarray(image[0].transpose(1, 2, 0)).save(file, "JPEG", quality=31)
    assert np.array_equal(victims.jpeg(image)[0].transpose(1, 2, 0), np.asarray(Image.open(file)))


def test_scores_are_the_means_of_the_table(finished: Path, data_dir: Path) -> None:
    """The test metrics are means over the rows of `victims.csv`; a row is what that victim says of the submission."""
    with (finished / "deliver/victims.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["victim"], row["defence"]) for row in rows] == [
        *((f"{family} {number}", defence)
          for number in (1, 2) for family in victims.FAMILIES for defence in ("none", "jpeg")),
        (f"{victims.ROBUST_FAMILY} robust", "adversarial training"),
    ]  # fmt: skip
    scores = LAB.score(finished / "deliver", data_dir)
    for metric, defence in (("", "none"), ("_jpeg", "jpeg"), ("_robust", "adversarial training")):
        mean = np.mean([float(row["adversarial"]) for row in rows if row["defence"] == defence])
        assert scores[f"test/accuracy{metric}"] == pytest.approx(mean)
    benign, adversarial, labels = data.read_submission(finished / "deliver/submission.tgz", data_dir, EPSILON)
    network = victims.load_victims(data_dir / data.VICTIMS)[rows[2]["victim"]]
    assert float(rows[2]["adversarial"]) == pytest.approx(victims.accuracy(network, adversarial, labels))
    trivial = [float(row["benign"]) for row in rows if row["defence"] == "none"]
    assert scores["test/trivial"] == pytest.approx(np.mean(trivial))
    assert benign.shape == (200, 3, 32, 32)


# --- training and submission -----------------------------------------------------------------------------------------


def test_training_delivers_a_valid_submission(finished: Path, source: Path) -> None:
    """The archive has ten folders and 200 pictures under their own names, changed by at most 8 levels; the report's
    figure lies beside it."""
    file = finished / "deliver/submission.tgz"
    assert LAB.check_submission(file) == []
    with tarfile.open(file) as tar:
        assert len(tar.getmembers()) == 210
    for name, content in read_archive(file, data.MAX_UNPACKED).items():
        ours, original = (np.asarray(Image.open(png), int) for png in (io.BytesIO(content), source / "data" / name))
        assert 0 < np.abs(ours - original).max() <= 8


def test_the_dog_is_attacked_with_plain_fgsm_on_one_residual_network(finished: Path, data_dir: Path) -> None:
    """The report's classes are what that network alone predicts of `dog/dog2.png`, before and after the attack."""
    network = LAB.load(finished).surrogates.networks[LAB.read_config(finished).surrogates.index("residual")]
    names = shards.manifest(data_dir)["facts"]["names"]
    rows = torch.tensor([names.index("dog/dog2.png")])
    image, label = shards.ArrowDataset(data_dir, "attack", ("image", "label"))[rows]
    leaf = image.float().requires_grad_()
    F.cross_entropy(network(leaf), label).backward()
    changed = (leaf.detach() + EPSILON * leaf.grad.sign()).clamp(0, 255)
    compressed = torch.from_numpy(victims.jpeg(changed.byte().numpy())).float()
    with torch.no_grad():
        expected = [data.CLASSES[network(each).argmax()] for each in (image.float(), changed, compressed)]
    report = (finished / "deliver/report.md").read_text()
    assert re.findall(r"(?:rightly|wrongly) predicts `(\w+)`", report) == expected


def test_a_submission_beyond_epsilon_is_an_error(finished: Path, data_dir: Path, tmp_path: Path) -> None:
    """One value that is 9 levels away makes the judge refuse the whole submission."""
    file = finished / "deliver/submission.tgz"
    files = read_archive(file, data.MAX_UNPACKED)
    images = data.decode(list(files.values()))
    original = shards.ArrowDataset(data_dir, "attack", ("image",))[torch.tensor([22])][0][0, 1, 5, 5].item()
    images[22, 1, 5, 5] = original + 9 if original < 128 else original - 9
    data.write_archive(tmp_path / "submission.tgz", list(files), images)
    with pytest.raises(BadInput, match=r"automobile3\.png differs by 9 of 255 levels .* at most 8"):
        LAB.score(tmp_path, data_dir)


def _archive(file: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(file, "w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def _png(*size: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "PNG")
    return file.getvalue()


SUBMISSIONS: dict[str, tuple[Callable[[dict[str, bytes]], object], str]] = {
    "missing": (lambda files: files.pop("cat/cat20.png"), "cat/cat20.png is missing"),
    "foreign": (
        lambda files: files.update({"cat/cat21.png": _png(32, 32)}),
        "cat/cat21.png is not expected: pictures are <class>/<class><k>.png, k from 1 to 20",
    ),
    "size": (
        lambda files: files.update({"dog/dog2.png": _png(64, 64)}),
        "dog/dog2.png: expected 32x32 pixels in RGB, found 64x64 in RGB",
    ),
    "text": (
        lambda files: files.update({"dog/dog2.png": b"text"}),
        "dog/dog2.png: expected a whole PNG image, found a broken one: not a PNG file",
    ),
    "too large": (
        lambda files: files.update({"dog/dog2.png": np.random.default_rng(0).bytes(2_000_000)}),
        "bytes, expected less than 2000000",
    ),
}


@pytest.mark.parametrize("fault", SUBMISSIONS)
def test_a_bad_submission_is_named(fault: str, finished: Path, tmp_path: Path) -> None:
    """Each fault of an archive is a sentence with the file; `./` before names, as `tar` writes them, is none."""
    files, file = read_archive(finished / "deliver/submission.tgz", data.MAX_UNPACKED), tmp_path / "own.tgz"
    _archive(file, files)
    assert LAB.check_submission(file) == []
    spoil, message = SUBMISSIONS[fault]
    spoil(files)
    _archive(file, files)
    assert len(LAB.check_submission(file)) == 1
    assert message in LAB.check_submission(file)[0]


def test_a_file_that_is_no_archive_is_named(finished: Path, tmp_path: Path) -> None:
    """Text, and an archive cut short, are no gzipped tar files."""
    whole, file = (finished / "deliver/submission.tgz").read_bytes(), tmp_path / "own.tgz"
    for content in (b"text", whole[: len(whole) // 2]):
        file.write_bytes(content)
        (fault,) = LAB.check_submission(file)
        assert "own.tgz is not a whole gzipped tar file" in fault


@pytest.mark.parametrize("preset", LAB.presets)
def test_every_preset_attacks_at_course_size(preset: str) -> None:
    """Two steps of the attack on two pictures, with the course's surrogates."""
    settings = LAB.resolve(preset, "course", {"steps": 2})
    images, labels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8), torch.tensor([0, 9])
    assert attack(settings, LAB.network(settings).eval(), images, labels).shape == images.shape


def test_two_workers_are_one(data_dir: Path, tmp_path: Path) -> None:
    """Parameters are bit-equal across ranks, those of a surrogate without batch statistics and without draws of its own
    equal one worker's, and validation is that of one process on the same weights."""
    settings = LAB.resolve("boss", "tiny", {"surrogates": ("mixer",), "training_epsilon": 0.0, "epochs": 2})
    (alone,) = train_on(1, "attack", settings, data_dir, tmp_path / "one")
    first, second = train_on(2, "attack", settings, data_dir, tmp_path / "two")
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name])
        if name.startswith("surrogates."):
            assert torch.allclose(tensor, alone[name], atol=1e-5)
    networks = Networks(settings)
    networks.load_state_dict(load_file(tmp_path / "two/checkpoints/step-000002/kept.safetensors"))
    attacked = shards.ArrowDataset(data_dir, "attack", ("image", "label"))
    again = validate(settings, networks, attacked, Run(tmp_path / "again", data_dir))
    logged = last_metrics(tmp_path / "two")
    assert again == {name: logged[name] for name in again}


def test_a_wrong_field_is_named() -> None:
    """The message has the field and the choices."""
    with pytest.raises(BadInput, match="surrogates"):
        LAB.resolve("simple", "tiny", {"surrogates": ("grouped",)})
