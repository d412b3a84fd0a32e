"""Pictures to attack: the folder and archive formats of homework 10, their checks, and drawn pictures in both.

`data/<class>/<class><k>.png`, k = 1, 2, ..., are the pictures to attack, 32 x 32, RGB; the course has the first 20 test
pictures of each class of CIFAR-10. `train/<class>/*.png` are pictures of the same classes to train surrogates on: the
course's came trained from the internet. The labels are public; what `answers/` hides are the networks to be fooled.
"""

import gzip
import io
import random
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from labs.attack import generate, victims
from labs.core import shards
from labs.core.archives import read_archive
from labs.core.errors import BadInput

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE, PER_CLASS = 32, 20
MAX_BYTES = 2_000_000
"""Largest archive that the course's judge takes."""
UNPACKED = 10 * MAX_BYTES
"""Largest archive that is read, unpacked."""
ATTACKED, TRAINING, VICTIMS = "data", "train", "answers/victims.safetensors"
TRAIN_PER_CLASS = {"tiny": 20, "small": 160, "course": 160}
"""Size -> drawn pictures of a class that surrogates train on, and as many others for the victims."""
VICTIM_EPOCHS = {"tiny": 1, "small": 5, "course": 5}
RECORD = 1024
"""Pictures of a record batch: what packing holds in memory."""


def make(folder: Path, seed: int, size: str) -> None:
    """Write drawn pictures in the course's format, and to `answers/` the weights of victims, trained on pictures of
    their own that are not written.

    Each picture has a random stream of its own, named after seed, part, class and number.
    """
    for part, count in ((ATTACKED, PER_CLASS), (TRAINING, TRAIN_PER_CLASS[size])):
        for label, name in enumerate(CLASSES):
            (folder / part / name).mkdir(parents=True)
            for number, picture in enumerate(_draw(seed, part, label, count), 1):
                picture.save(folder / part / name / f"{name}{number}.png")
    drawn = [_draw(seed, "victims", label, TRAIN_PER_CLASS[size]) for label in range(len(CLASSES))]
    images = np.stack([_channels(picture) for part in drawn for picture in part])
    labels = torch.arange(len(CLASSES)).repeat_interleave(TRAIN_PER_CLASS[size])
    (folder / VICTIMS).parent.mkdir()
    victims.train(torch.from_numpy(images), labels, seed, VICTIM_EPOCHS[size], folder / VICTIMS)


def check(folder: Path) -> list[str]:
    """One sentence per fault of a folder in the course's format; empty if it can be attacked. Decodes every picture."""
    if not (folder / ATTACKED).is_dir():
        return [f"{folder / ATTACKED}/ is missing: expected a folder for each class with the pictures to attack"]
    if not (folder / TRAINING).is_dir():
        return [f"{folder / TRAINING}/ is missing: the course gives only the pictures to attack, its surrogates came "
                "trained from the internet; add 32x32 pictures to train them on as train/<class>/<any name>.png, for "
                "example CIFAR-10's training set"]  # fmt: skip
    faults = [fault for part in (ATTACKED, TRAINING) for fault in _check_names(folder, part)]
    if faults:
        return faults
    for part in (ATTACKED, TRAINING):
        for path in (path for name in CLASSES for path in _pictures(folder / part / name)):
            if fault := picture_fault(path.read_bytes()):
                faults.append(f"{path.relative_to(folder)}: {fault}")
    return faults


def prepare(folder: Path, out: Path, origin: Any) -> dict[str, Any]:
    """Pack the pictures of both parts: `image`, uint8 (3, 32, 32), and `label`, int64.

    The facts hold `names`: `<class>/<class><k>.png` of the pictures to attack, in the order of their rows.
    """
    parts = {"attack": _listed(folder / ATTACKED), "train": _listed(folder / TRAINING)}
    names = [path.relative_to(folder / ATTACKED).as_posix() for path, _ in parts["attack"]]
    splits = {split: _batches(files) for split, files in parts.items()}
    return shards.pack(out, splits, origin=origin, facts={"names": names})


def write_archive(file: Path, names: Sequence[str], images: np.ndarray) -> None:
    """Write pictures, (N, 3, 32, 32) uint8, as PNG files into a gzipped tar; the same pictures give the same bytes."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name in dict.fromkeys(name.split("/")[0] for name in names):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        for name, image in zip(names, images, strict=True):
            png = io.BytesIO()
            Image.fromarray(image.transpose(1, 2, 0)).save(png, "PNG")
            entry = tarfile.TarInfo(name)
            entry.size = png.tell()
            png.seek(0)
            tar.addfile(entry, png)
    file.write_bytes(gzip.compress(content.getvalue(), mtime=0))


def check_archive(file: Path) -> list[str]:
    """One sentence per fault of a submission to the course's judge; empty if it would take it.

    How far its pictures are from the original ones can't be seen from the file alone.
    """
    if file.stat().st_size >= MAX_BYTES:
        return [f"{file.name}: {file.stat().st_size} bytes, expected less than {MAX_BYTES}"]
    try:
        files = read_archive(file, UNPACKED)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        return [f"{file.name} is no whole gzipped tar file: {error}"]
    expected = [f"{name}/{name}{number}.png" for name in CLASSES for number in range(1, PER_CLASS + 1)]
    faults = [f"{file.name}: {name} is missing" for name in expected if name not in files]
    faults += [f"{file.name}: {name} is not expected: pictures are <class>/<class><k>.png, k from 1 to {PER_CLASS}"
               for name in files if name not in expected]  # fmt: skip
    found = ((name, picture_fault(files[name])) for name in expected if name in files)
    return faults + [f"{file.name}: {name}: {fault}" for name, fault in found if fault]


def submitted(file: Path, data_dir: Path, epsilon: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The packed pictures to attack and those of a submission, both (N, 3, 32, 32) uint8, and the labels (N,).

    Raises:
        BadInput: a pixel of the submission, after its way through PNG, is further than epsilon from the original one.
    """
    columns = shards.ArrowDataset(data_dir, "attack", ("image", "label")).columns
    benign, labels = (column.all().numpy() for column in columns)
    names, files = shards.manifest(data_dir)["facts"]["names"], read_archive(file, UNPACKED)
    adversarial = decode([files[name] for name in names])
    furthest = np.abs(adversarial.astype(int) - benign).max((1, 2, 3))
    if furthest.max() > epsilon:
        raise BadInput(f"{file.name}: {names[furthest.argmax()]} differs by {furthest.max()} of 255 levels from the "
                       f"picture to attack, expected at most {epsilon}")  # fmt: skip
    return benign, adversarial, labels


def decode(contents: Sequence[bytes]) -> np.ndarray:
    """PNG files -> (N, 3, 32, 32) uint8."""
    return np.stack([_channels(Image.open(io.BytesIO(content))) for content in contents])


def picture_fault(content: bytes) -> str | None:
    """What is wrong with a picture file, as the end of a sentence; None if nothing is."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # all Pillow's
        reason = "not a PNG file" if isinstance(error, UnidentifiedImageError) else str(error)
        return f"expected a whole PNG picture, found a broken one: {reason}"
    if image.size != (SIDE, SIDE) or image.mode != "RGB":
        return f"expected {SIDE}x{SIDE} pixels in RGB, found {image.width}x{image.height} in {image.mode}"
    return None


def _draw(seed: int, part: str, label: int, count: int) -> list[Image.Image]:
    return [generate.picture(random.Random(f"{seed} {part} {label} {number}"), label) for number in range(count)]


def _channels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).transpose(2, 0, 1)


def _pictures(folder: Path) -> list[Path]:
    """Files of a class, `cat2.png` before `cat10.png`; what the operating system hides does not count."""
    files = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return sorted(files, key=lambda path: (len(path.name), path.name))


def _listed(part: Path) -> list[tuple[Path, int]]:
    return [(path, label) for label, name in enumerate(CLASSES) for path in _pictures(part / name)]


def _check_names(folder: Path, part: str) -> list[str]:
    found = {path.name for path in (folder / part).iterdir() if not path.name.startswith(".")}
    faults = [f"{part}/{name}/ is missing: expected a folder for each of {', '.join(CLASSES)}"
              for name in CLASSES if name not in found]  # fmt: skip
    faults += [f"{part}/{name}: expected only the folders {', '.join(CLASSES)}" for name in sorted(found - {*CLASSES})]
    for name in sorted(found & {*CLASSES}):
        files = [path.name for path in _pictures(folder / part / name)]
        if not files:
            faults.append(f"{part}/{name}/ is empty: expected PNG pictures")
        elif part == ATTACKED:
            expected = [f"{name}{number}.png" for number in range(1, len(files) + 1)]
            wrong = next((pair for pair in zip(files, expected, strict=True) if pair[0] != pair[1]), None)
            if wrong:
                faults.append(f"{part}/{name}/{wrong[0]}: expected {wrong[1]} here, as pictures count {name}1.png, "
                              f"{name}2.png, ...")  # fmt: skip
    return faults


def _batches(files: list[tuple[Path, int]]) -> Iterator[shards.Batch]:
    for first in range(0, len(files), RECORD):
        part = files[first : first + RECORD]
        labels = np.array([label for _, label in part], np.int64)
        yield {"image": decode([path.read_bytes() for path, _ in part]), "label": labels}
