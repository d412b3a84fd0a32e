"""Promises of the GAN lab's data: the course's format, its faults, its archive, and the judge made with the data."""

import csv
import gzip
import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_fid.fid_score import calculate_frechet_distance
from safetensors.torch import load_file

from labs.core import shards
from labs.core.archives import read_archive
from labs.core.errors import BadInput
from labs.gan import data, judge, random_features
from labs.gan.frechet import NEIGHBOURS, frechet_distance, precision_recall
from labs.gan.lesson import LAB
from tests.labs.folders import one_fault

__all__ = ["LAB"]  # whose data the fixtures make


def test_the_format_is_the_courses(source: Path) -> None:
    """JPEG pictures count from 0; the factors lie with the answers, a row for each picture."""
    assert {path.name for path in (source / "faces").iterdir()} == {f"{number}.jpg" for number in range(120)}
    with (source / data.FACTORS).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == list(range(120))
    background = [(float(rows[7][f"back_{color}"]) + 1) / 2 * 255 for color in ("red", "green", "blue")]
    corner = np.asarray(Image.open(source / "faces/7.jpg"), float)[:3, :3].mean((0, 1))
    assert corner == pytest.approx(background, abs=12)


def test_the_courses_size_is_taken(source: Path, tmp_path: Path) -> None:
    """Pictures of 96 x 96, as the course has them, are shrunk when they are packed; numbers sort as numbers."""
    (tmp_path / "faces").mkdir()
    for number in range(60):
        Image.new("RGB", (96, 96), (number, 0, 255 - number)).save(tmp_path / f"faces/{number}.jpg", quality=95)
    assert data.check(tmp_path) == []
    (tmp_path / "out").mkdir()
    assert data.prepare(tmp_path, tmp_path / "out", "folder")["splits"] == {"train": 60}
    (images,) = shards.ArrowDataset(tmp_path / "out", "train", ("image",)).columns
    assert images.all().shape == (60, 3, 64, 64)
    assert images.all()[:, 0].float().mean((1, 2)).numpy() == pytest.approx(np.arange(60), abs=3)


def test_packing_keeps_every_picture(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed in records that don't divide the count, pictures come out in order and as Pillow reads them."""
    monkeypatch.setattr(data, "RECORD", 7)
    data.prepare(source, tmp_path, "folder")
    (images,) = shards.ArrowDataset(tmp_path, "train", ("image",)).columns
    for number in (0, 6, 7, 119):
        picture = np.asarray(Image.open(source / f"faces/{number}.jpg")).transpose(2, 0, 1)
        assert np.array_equal(images.all()[number].numpy(), picture)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:700])


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda d: shutil.rmtree(d), "faces/ is missing: expected the pictures to learn from as faces/0.jpg"),
    "too few": (
        lambda d: [(d / f"{number}.jpg").unlink() for number in range(49, 120)],
        "faces/: expected at least 50 pictures, found 49",
    ),
    "text": (
        lambda d: (d / "5.jpg").write_text("no picture"),
        "faces/5.jpg: expected a whole JPEG image, found a broken one: not a JPEG file",
    ),
    "truncated": (lambda d: _truncate(d / "5.jpg"), "faces/5.jpg: expected a whole JPEG image, found a broken one: "),
    "small": (
        lambda d: Image.new("RGB", (32, 32)).save(d / "5.jpg"),
        "faces/5.jpg: expected a square of at least 64x64 pixels in RGB, found 32x32 in RGB",
    ),
    "oblong": (lambda d: Image.new("RGB", (96, 64)).save(d / "5.jpg"), "found 96x64 in RGB"),
    "grey": (lambda d: Image.new("L", (96, 96)).save(d / "5.jpg"), "found 96x96 in L"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_names_the_fault(fault: str, source: Path, tmp_path: Path) -> None:
    """One sentence per fault, with the file, what was found and what was expected."""
    change, message = FAULTS[fault]
    assert message in one_fault(data.check, source, tmp_path / "mine", lambda d: change(d / "faces"))


def test_pictures_may_have_any_names(source: Path, tmp_path: Path) -> None:
    """A name means nothing: numbers may begin at 1, as in other copies of the set, or have gaps."""
    folder, out = tmp_path / "mine", tmp_path / "packed"
    shutil.copytree(source, folder)
    (folder / "faces/0.jpg").rename(folder / "faces/120.jpg")
    (folder / "faces/7.jpg").rename(folder / "faces/a face.jpeg")
    out.mkdir()
    assert data.check(folder) == []
    assert data.prepare(folder, out, "folder")["splits"]["train"] == 120


# --- the archive -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("archive") / "submission.tgz"
    shades = np.arange(1000).reshape(-1, 1, 1, 1) // 4
    data.write_archive(file, np.broadcast_to(shades, (1000, 3, 64, 64)).astype(np.uint8))
    return file


def test_the_archive_is_the_courses(archive: Path) -> None:
    """`tar` finds exactly 1.jpg to 1000.jpg at the root; they come back in the order of their numbers."""
    with tarfile.open(archive) as tar:
        assert [member.name for member in tar] == [f"{number}.jpg" for number in range(1, 1001)]
    assert data.check_archive(archive) == []
    means = data.read_submission(archive).mean((1, 2, 3))
    assert means == pytest.approx(np.arange(1000) // 4, abs=2)


def test_quality_falls_until_the_archive_is_small_enough(tmp_path: Path) -> None:
    """Noise, which JPEG can't compress, still makes an archive below 2 MB; one that never fits is an error."""
    noise = np.random.default_rng(0).integers(0, 256, (1000, 3, 64, 64), np.uint8)
    quality = data.write_archive(tmp_path / "noise.tgz", noise)
    assert quality < data.QUALITY
    assert (tmp_path / "noise.tgz").stat().st_size < data.MAX_BYTES
    assert data.check_archive(tmp_path / "noise.tgz") == []


def test_an_archive_that_never_fits_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence has the file, the count and the limit."""
    monkeypatch.setattr(data, "MAX_BYTES", 100)
    with pytest.raises(BadInput, match=r"own\.tgz: 20 pictures don't fit into 100 bytes"):
        data.write_archive(tmp_path / "own.tgz", np.zeros((20, 3, 64, 64), np.uint8))


def _jpeg(side: int, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (side, side)).save(file, "JPEG")
    return file.getvalue()


SUBMISSIONS: dict[str, tuple[Callable[[dict[str, bytes]], object], str]] = {
    "missing": (lambda files: files.pop("1000.jpg"), "1000.jpg is missing"),
    "one more": (
        lambda files: files.update({"0.jpg": _jpeg(64)}),
        "0.jpg is not expected: pictures are 1.jpg to 1000.jpg, in no folder",
    ),
    "size": (
        lambda files: files.update({"7.jpg": _jpeg(96)}),
        "7.jpg: expected 64x64 pixels in RGB, found 96x96 in RGB",
    ),
    "grey": (lambda files: files.update({"7.jpg": _jpeg(64, "L")}), "found 64x64 in L"),
    "text": (lambda files: files.update({"7.jpg": b"text"}), "found a broken one: not a JPEG file"),
    "too large": (
        lambda files: files.update({"7.jpg": np.random.default_rng(0).bytes(2_000_000)}),
        "bytes, expected less than 2000000",
    ),
}


@pytest.mark.parametrize("fault", SUBMISSIONS)
def test_a_bad_submission_is_named(fault: str, archive: Path, tmp_path: Path) -> None:
    """Each fault is one sentence with the file."""
    files, file = read_archive(archive, data.MAX_UNPACKED), tmp_path / "own.tgz"
    spoil, message = SUBMISSIONS[fault]
    spoil(files)
    _archive(file, files)
    (fault_found,) = LAB.check_submission(file)
    assert message in fault_found


def test_pictures_in_a_folder_are_named(archive: Path, tmp_path: Path) -> None:
    """The course wants them at the root: `tar` of a folder is refused, a leading `./` is not."""
    files = read_archive(archive, data.MAX_UNPACKED)
    _archive(tmp_path / "own.tgz", {f"./{name}": content for name, content in files.items()})
    assert LAB.check_submission(tmp_path / "own.tgz") == []
    _archive(tmp_path / "own.tgz", {f"faces/{name}": content for name, content in files.items()})
    faults = LAB.check_submission(tmp_path / "own.tgz")
    assert any("faces/1.jpg is not expected" in sentence for sentence in faults)


def test_a_file_that_is_no_archive_is_named(archive: Path, tmp_path: Path) -> None:
    """Text, and an archive cut short, are no gzipped tar files."""
    whole, file = archive.read_bytes(), tmp_path / "own.tgz"
    for content in (b"text", whole[: len(whole) // 2]):
        file.write_bytes(content)
        (fault_found,) = LAB.check_submission(file)
        assert "own.tgz is not a whole gzipped tar file" in fault_found


def _archive(file: Path, files: dict[str, bytes]) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, part in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(part)
            tar.addfile(entry, io.BytesIO(part))
    file.write_bytes(gzip.compress(content.getvalue(), 1))


# --- the judge -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [6, random_features.FEATURES])
def test_the_frechet_distance_is_that_of_pytorch_fid(features: int) -> None:
    """To a millionth; a set's distance to itself is 0."""
    generator = torch.Generator().manual_seed(features)
    mixed = torch.randn(features, features, generator=generator, dtype=torch.float64)
    first = torch.randn(500, features, generator=generator, dtype=torch.float64) @ mixed
    second = torch.randn(400, features, generator=generator, dtype=torch.float64) + 1
    gaussians = [(each.mean(0).numpy(), np.cov(each.T.numpy())) for each in (first, second)]
    expected = calculate_frechet_distance(*gaussians[0], *gaussians[1])
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-6)


def test_precision_and_recall_by_brute_force() -> None:
    """A vector counts if it lies no further from some vector of the other set than that one's third neighbour."""
    generator = torch.Generator().manual_seed(0)
    real, fake = torch.randn(40, 3, generator=generator), 0.7 * torch.randn(30, 3, generator=generator) + 1.5

    def fraction(points: torch.Tensor, centres: torch.Tensor) -> float:
        hits = 0
        for point in points:
            hits += any(
                (point - centre).norm() <= sorted((centre - other).norm() for other in centres)[NEIGHBOURS]
                for centre in centres
            )
        return hits / len(points)

    assert precision_recall(real, fake) == pytest.approx((fraction(fake, real), fraction(real, fake)))
    assert precision_recall(real, real) == (1.0, 1.0)


def test_the_judge_prefers_faces(source: Path) -> None:
    """Real faces are nearer than faces from few, than the mean face, and cover more; corrupted ones are no faces."""
    stored = load_file(source / data.JUDGE)
    faces = np.stack([np.asarray(Image.open(source / f"faces/{n}.jpg")).transpose(2, 0, 1) for n in range(120)])
    mean = faces.mean(0).astype(np.uint8)
    whole, few = (
        judge.judge(source / data.JUDGE, part, mean, faces[:60]) for part in (faces, faces[np.arange(120) % 4])
    )
    assert whole["test/fid"] < few["test/fid"]
    assert whole["test/fid"] < whole["test/trivial"]
    assert whole["test/recall"] > few["test/recall"]
    assert whole["test/coverage"] >= few["test/coverage"]
    assert stored["features"].shape == (60, judge.FEATURES)


def test_corrupted_faces_are_of_four_kinds() -> None:
    """Each quarter is corrupted, and shuffled patches keep every value."""
    torch.manual_seed(0)
    faces, others = (torch.rand(8, 3, 32, 32) * 2 - 1 for _ in range(2))
    corrupted = judge.corrupted(faces, others, others.mean(0))
    assert corrupted.shape == faces.shape
    assert (corrupted != faces).flatten(1).any(1).all()
    assert torch.equal(corrupted[:2].flatten(1).sort().values, faces[:2].flatten(1).sort().values)


def test_an_archive_that_unpacks_to_far_too_much_is_named(tmp_path: Path) -> None:
    """Zeros shrink a thousandfold: the sizes are looked at before anything is unpacked."""
    file, zeros = tmp_path / "submission.tgz", tmp_path / "1.jpg"
    zeros.write_bytes(bytes(data.MAX_UNPACKED + 1))
    with tarfile.open(file, "w:gz") as tar:
        tar.add(zeros, "1.jpg")
    (fault,) = data.check_archive(file)
    assert "unpacked it has more than 20000000 bytes" in fault
