"""The formats of homework 10: folders of pictures, an archive of attacked ones, and what is checked about both.

`data/<class>/<class><k>.png`, k = 1, 2, ..., are the pictures to attack, 32 x 32, RGB; the course's are the first 20
test pictures of each class of CIFAR-10, and all that it gives. Its surrogates came trained from the internet; here they
are those of `surrogates/` (`labs.attack.trained_surrogates`), or are trained on `train/<class>/*.png`, pictures of the
same classes, or where the folder has neither on drawn pictures. The labels are public; `answers/` has the victims.
"""

import gzip
import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from labs.attack import trained_surrogates
from labs.core import shards
from labs.core.archives import read_archive
from labs.core.errors import BadInput
from labs.core.listing import find, visible
from labs.core.pictures import open_picture

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE, PER_CLASS = 32, 20
MAX_BYTES = 2_000_000
"""A submission has to be smaller than this."""
MAX_UNPACKED = 10 * MAX_BYTES
"""Largest archive that is read, in bytes after unpacking."""
ATTACKED, TRAINING, VICTIMS = "data", "train", "answers/victims.safetensors"
"""Folders of the pictures to attack and of those to train on, and the file of the victims' weights."""
RECORD = 1024
"""Pictures of a record batch, all that is in memory while the data are packed."""


def check(folder: Path) -> list[str]:
    """One sentence per fault of a folder in the course's format; empty if it has none. Decodes every picture."""
    parts = _parts(folder)
    if ATTACKED not in parts:
        return [f"{folder / ATTACKED}/ is missing: expected a folder for each class with the pictures to attack"]
    faults = [fault for part, place in parts.items() for fault in _check_names(place, part)]
    if faults:
        return faults
    for part, place in parts.items():
        for path, _ in _labelled_files(place):
            if fault := picture_fault(path):
                faults.append(f"{part}/{path.relative_to(place)}: {fault}")
    return faults + trained_surrogates.check(folder)


def prepare(folder: Path, out: Path, origin: Any, drawn: Callable[[], Iterator[shards.Batch]]) -> dict[str, Any]:
    """Pack the pictures to attack and, unless trained networks are there, those to train on: `image`, uint8
    (3, 32, 32), and `label`, int64.

    The facts hold `names`, `<class>/<class><k>.png` of the pictures to attack in the order of their rows; `surrogates`,
    the names of the trained networks; and `training`, a key of `labs.attack.surrogates.SOURCES`.

    Args:
        drawn: makes the batches to train on where the folder has none.
    """
    parts = _parts(folder)
    attacked = _labelled_files(parts[ATTACKED])
    splits = {"attack": _batches(attacked)}
    facts = trained_surrogates.prepare(folder, out)
    if facts["surrogates"]:
        source = "trained"
    elif TRAINING in parts:
        source, splits["train"] = "folder", _batches(_labelled_files(parts[TRAINING]))
    else:
        source, splits["train"] = "drawn", drawn()
    names = [f"{path.parent.name}/{path.name.lower()}" for path, _ in attacked]
    facts |= {"names": names, "training": source}
    return shards.pack(out, splits, origin=origin, facts=facts)


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
    """One sentence per fault of a submission; empty if the course's judge would accept it.

    How much its pictures differ from the original ones is not checked: that needs the data.
    """
    if file.stat().st_size >= MAX_BYTES:
        return [f"{file.name}: {file.stat().st_size} bytes, expected less than {MAX_BYTES}"]
    try:
        files = read_archive(file, MAX_UNPACKED)
    except BadInput as error:
        return [str(error)]
    expected = [f"{name}/{name}{number}.png" for name in CLASSES for number in range(1, PER_CLASS + 1)]
    faults = [f"{file.name}: {name} is missing" for name in expected if name not in files]
    faults += [f"{file.name}: {name} is not expected: pictures are <class>/<class><k>.png, k from 1 to {PER_CLASS}"
               for name in files if name not in expected]  # fmt: skip
    pictures = ((name, picture_fault(files[name])) for name in expected if name in files)
    return faults + [f"{file.name}: {name}: {fault}" for name, fault in pictures if fault]


def read_submission(file: Path, data_dir: Path, epsilon: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The packed pictures to attack and those of a submission, both (N, 3, 32, 32) uint8, and the labels (N,).

    Raises:
        BadInput: a value of a submitted picture differs from the original one by more than epsilon.
    """
    columns = shards.ArrowDataset(data_dir, "attack", ("image", "label")).columns
    benign, labels = (column.all().numpy() for column in columns)
    names, files = shards.manifest(data_dir)["facts"]["names"], read_archive(file, MAX_UNPACKED)
    adversarial = decode([files[name] for name in names])
    largest = np.abs(adversarial.astype(int) - benign).max((1, 2, 3))
    if largest.max() > epsilon:
        raise BadInput(f"{file.name}: {names[largest.argmax()]} differs by {largest.max()} of 255 levels from the "
                       f"picture to attack, expected at most {epsilon}")  # fmt: skip
    return benign, adversarial, labels


def decode(contents: Sequence[bytes]) -> np.ndarray:
    """PNG files -> (N, 3, 32, 32) uint8."""
    return np.stack([channels_first(Image.open(io.BytesIO(content))) for content in contents])


def picture_fault(content: Path | bytes) -> str | None:
    """What is wrong with a picture file, as the end of a sentence; None if nothing is."""
    try:
        with open_picture(content, "PNG") as image:
            if image.size != (SIDE, SIDE) or image.mode != "RGB":
                return f"expected {SIDE}x{SIDE} pixels in RGB, found {image.width}x{image.height} in {image.mode}"
            image.load()
    except BadInput as error:
        return str(error)
    return None


def channels_first(picture: Image.Image) -> np.ndarray:
    """A picture as (3, H, W) uint8."""
    return np.asarray(picture).transpose(2, 0, 1)


def _parts(folder: Path) -> dict[str, Path]:
    """The folders of pictures that are there."""
    found = {part: find(folder, part) for part in (ATTACKED, TRAINING)}
    return {part: place for part, place in found.items() if place and place.is_dir()}


def _picture_files(folder: Path) -> list[Path]:
    """Files of a class, `cat2.png` before `cat10.png`; hidden files are left out."""
    files = visible(folder)
    return sorted(files, key=lambda path: (len(path.name), path.name))


def _labelled_files(part: Path) -> list[tuple[Path, int]]:
    return [(path, label) for label, name in enumerate(CLASSES) for path in _picture_files(part / name)]


def _check_names(place: Path, part: str) -> list[str]:
    found = {path.name for path in visible(place)}
    faults = [f"{part}/{name}/ is missing: expected a folder for each of {', '.join(CLASSES)}"
              for name in CLASSES if name not in found]  # fmt: skip
    faults += [f"{part}/{name}: expected only the folders {', '.join(CLASSES)}" for name in sorted(found - {*CLASSES})]
    for name in sorted(found & {*CLASSES}):
        files = [path.name for path in _picture_files(place / name)]
        if not files:
            faults.append(f"{part}/{name}/ is empty: expected PNG pictures")
        elif part == ATTACKED:
            expected = [f"{name}{number}.png" for number in range(1, len(files) + 1)]
            wrong = next((pair for pair in zip(files, expected, strict=True) if pair[0].lower() != pair[1]), None)
            if wrong:
                faults.append(f"{part}/{name}/{wrong[0]}: expected {wrong[1]} here, as pictures are numbered "
                              f"{name}1.png, {name}2.png, ...")  # fmt: skip
    return faults


def _batches(files: list[tuple[Path, int]]) -> Iterator[shards.Batch]:
    for first in range(0, len(files), RECORD):
        part = files[first : first + RECORD]
        labels = np.array([label for _, label in part], np.int64)
        yield {"image": decode([path.read_bytes() for path, _ in part]), "label": labels}
