"""Handwritten characters: the folder format of homework 15, its checks, and drawn characters in the same format.

`Omniglot/images_background/<Alphabet>/character<NN>/<nnnn>_<kk>.png`: drawing kk of character nnnn (numbered over all
alphabets). `Omniglot-test/support/<0000>/image_0.png` to `image_4.png` are one drawing of each of a test task's five
characters, labels 0 to 4; `Omniglot-test/query/<0000>/` has another drawing of each, in an unknown order. All are
28 x 28 pixels with one channel. Folders and files are read in string order.
"""

import csv
import random
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from labs.core import shards
from labs.core.errors import BadInput
from labs.core.listing import find, required, visible
from labs.core.pictures import open_picture
from labs.meta import generate

WAYS = 5
"""Characters of a task."""
SIDE = generate.SIDE
BACKGROUND, BACKGROUND_ALONE = "Omniglot/images_background", "images_background"
"""Folder of the alphabets to train on, as the course's archive and as Omniglot's own have it."""
PARTS = ("support", "query")
"""Folders of the test tasks' images, below `TEST`."""
TEST, ANSWERS = "Omniglot-test", "answers/omniglot.test.csv"
COUNTS = {
    "tiny": {"alphabets": 4, "characters of each": 8, "drawings of each": 6, "test tasks": 12},
    "small": {"alphabets": 20, "characters of each": 8, "drawings of each": 20, "test tasks": 300},
    "course": {"alphabets": 30, "characters of each": 32, "drawings of each": 20, "test tasks": 640},
}
"""Size -> alphabets to train on, characters of each, drawings of each, test tasks."""
RECORD = 64
"""Characters, or tasks, of a record batch, which bounds the memory that packing uses."""


def make(folder: Path, seed: int, size: str) -> None:
    """Write drawn characters in the course's format; the queries' classes go to `answers/`.

    Alphabets, writers and test tasks each have a random generator, seeded with a string that the data depend on. The
    characters of test tasks come from further alphabets, half as many as those for training.
    """
    alphabets, count, drawings, tasks = COUNTS[size].values()
    for number in range(1, alphabets + 1):
        rng = random.Random(f"{seed} alphabet {number}")
        for index, character in enumerate(generate.alphabet(rng, count), 1):
            home = folder / BACKGROUND / f"Alphabet_{number:02d}/character{index:02d}"
            home.mkdir(parents=True)
            for writer in range(1, drawings + 1):
                image = generate.drawing(rng, character, random.Random(f"{seed} drawer {number} {writer}"))
                image.save(home / f"{(number - 1) * count + index:04d}_{writer:02d}.png")
    unseen = [random.Random(f"{seed} test alphabet {number}") for number in range(-(-alphabets // 2))]
    pool = [character for rng in unseen for character in generate.alphabet(rng, count)]
    answers: list[int] = []
    for task in range(tasks):
        answers += _write_task(folder / TEST, f"{task:04d}", random.Random(f"{seed} test task {task}"), pool)
    (folder / ANSWERS).parent.mkdir()
    with (folder / ANSWERS).open("w", newline="") as file:
        csv.writer(file).writerows([("id", "class"), *enumerate(answers)])


def _write_task(folder: Path, name: str, rng: random.Random, pool: list[generate.Character]) -> list[int]:
    """Draw a test task, each image by another writer; returns the queries' classes."""
    chosen, order = rng.sample(pool, WAYS), rng.sample(range(WAYS), WAYS)
    for part, classes in zip(PARTS, (range(WAYS), order), strict=True):
        (folder / part / name).mkdir(parents=True)
        for number, label in enumerate(classes):
            image = generate.drawing(rng, chosen[label], random.Random(rng.random()))
            image.save(folder / part / name / f"image_{number}.png")
    return order


def check(folder: Path) -> list[str]:
    """One sentence per fault of a folder in the course's format; empty if it can be trained on.

    The numbers of alphabets, characters, drawings and tasks are free, but all characters have equally many drawings.
    """
    faults = [f"{folder / BACKGROUND}/ is missing"] if find(folder, BACKGROUND, BACKGROUND_ALONE) is None else []
    faults += [f"{folder / TEST / part}/ is missing" for part in PARTS if not (folder / TEST / part).is_dir()]
    if faults:
        return faults
    faults = _check_names(folder) + _check_tasks(folder)
    if faults:
        return faults
    for path in [path for home in _characters(folder) for path in visible(home)]:
        faults += _check_image(path, folder)
    for part in PARTS:
        for task in visible(folder / TEST / part):
            faults += [fault for path in visible(task) for fault in _check_image(path, folder)]
    return faults


def prepare(folder: Path, out: Path, origin: Any) -> dict[str, Any]:
    """Pack the images, each decoded once.

    Split `train` has a row for each character: `image`, uint8 (drawings, 28, 28); split `test` one for each task:
    `support` and `query`, uint8 (5, 28, 28). The facts hold the number of `alphabets`.
    """
    tasks = [path.name for path in visible(folder / TEST / "support")]
    splits: dict[str, Iterator[shards.Batch]] = {
        "train": _batches({"image": read_images(home)} for home in _characters(folder)),
        "test": _batches({part: read_images(folder / TEST / part / task) for part in PARTS} for task in tasks),
    }
    return shards.pack(out, splits, origin=origin, facts={"alphabets": len(visible(_background(folder)))})


def read_images(folder: Path) -> np.ndarray:
    """All images of a folder: uint8 (N, 28, 28)."""
    return np.stack([_read(path) for path in visible(folder)])


def _read(path: Path) -> np.ndarray:
    with open_picture(path, "PNG") as image:
        if image.size != (SIDE, SIDE) or image.mode not in ("L", "1"):
            raise BadInput(f"expected a PNG image of {SIDE}x{SIDE} pixels with one channel: "
                           f"found {image.width}x{image.height} pixels of mode {image.mode}")  # fmt: skip
        return np.asarray(image.convert("L"))


def _batches(rows: Iterable[shards.Batch]) -> Iterator[shards.Batch]:
    remaining = iter(rows)
    while batch := list(islice(remaining, RECORD)):
        yield {name: np.stack([row[name] for row in batch]) for name in batch[0]}


def _background(folder: Path) -> Path:
    return required(folder, BACKGROUND, BACKGROUND_ALONE)


def _characters(folder: Path) -> list[Path]:
    return [home for alphabet in visible(_background(folder)) for home in visible(alphabet)]


def _check_names(folder: Path) -> list[str]:
    """Faults of the training folders' names and counts."""
    for alphabet in visible(_background(folder)):
        if not alphabet.is_dir():
            return [f"{alphabet.relative_to(folder)}: expected a folder for each alphabet, found a file"]
        for home in visible(alphabet):
            if not (home.is_dir() and re.fullmatch(r"character\d+", home.name)):
                return [f"{home.relative_to(folder)}: expected a folder for each character, named character<NN>"]
    homes = _characters(folder)
    if len(homes) < WAYS * WAYS:
        return [f"{BACKGROUND}/: found {len(homes)} characters, expected at least {WAYS * WAYS}, as every fifth is "
                f"held out and a task takes {WAYS}"]  # fmt: skip
    drawings = len(visible(homes[0]))
    for home in homes:
        files = visible(home)
        if len(files) != drawings:
            return [f"{home.relative_to(folder)}/: found {len(files)} drawings, expected {drawings}, as many as in "
                    f"{homes[0].relative_to(folder)}/"]  # fmt: skip
        for path in files:
            if not re.fullmatch(r"\d+_\d+\.png", path.name.lower()):
                return [f"{path.relative_to(folder)}: the name must be <nnnn>_<kk>.png, for example 0001_01.png"]
    return [] if drawings > 1 else [f"{homes[0].relative_to(folder)}/: expected at least 2 drawings, found {drawings}"]


def _check_tasks(folder: Path) -> list[str]:
    """Faults of the test tasks' folders and names."""
    expected = [f"image_{number}.png" for number in range(WAYS)]
    tasks = {part: [path.name for path in visible(folder / TEST / part)] for part in PARTS}
    for part in PARTS:
        if not tasks[part]:
            return [f"{TEST}/{part}/ is empty: expected a folder for each task"]
        for number, name in enumerate(tasks[part]):
            if name != f"{number:04d}":
                return [f"{TEST}/{part}/{name}: expected {number:04d} here, as tasks count 0000, 0001, ..."]
            found = [path.name.lower() for path in visible(folder / TEST / part / name)]
            if found != expected:
                return [f"{TEST}/{part}/{name}/: expected {expected[0]} to {expected[-1]}, found {', '.join(found)}"]
    counts = [len(tasks[part]) for part in PARTS]
    return [] if counts[0] == counts[1] else [
        f"{TEST}/: found {counts[0]} support tasks and {counts[1]} query tasks, expected as many of both"]  # fmt: skip


def _check_image(path: Path, folder: Path) -> list[str]:
    try:
        _read(path)
    except BadInput as error:
        return [f"{path.relative_to(folder)}: {error}"]
    return []
