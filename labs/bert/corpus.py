"""Chinese text without questions, for a language model to be trained before it reads: a folder of two files.

`train.txt` and `dev.txt` have a text a line: its first sentence ends with the first full stop, 。, and says once more
what the rest tells.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labs.core import shards
from labs.shared.text import texts
from labs.shared.text.passages import Teller

FILES = {"train": "train.txt", "dev": "dev.txt"}
ANSWERS = "answers/test.txt"
"""Text of the same kind that only the final scoring reads: there is nothing to hand in for it."""
COUNTS = {
    "tiny": {"train": 96, "dev": 24, "test": 24},
    "small": {"train": 12000, "dev": 400, "test": 400},
    "course": {"train": 400_000, "dev": 4000, "test": 4000},
}
PEOPLE, FACTS, AGAIN = 2, 3, 3
"""People of a text, facts of each, and how many of all facts its first sentence says."""
STOP = "。"


def make(folder: Path, seed: int, size: str) -> None:
    """Write invented lives, each after a sentence that says some of its facts, maybe in other words."""
    (folder / ANSWERS).parent.mkdir()
    for split, count in COUNTS[size].items():
        # Not the seeds of the questions' paragraphs: no text of the reading lab is in here.
        teller = Teller(f"{seed} corpus {split}")
        path = folder / FILES.get(split, ANSWERS)
        path.write_text("".join(f"{_life(teller)}\n" for _ in range(count)), encoding="utf-8")


def check(folder: Path) -> list[str]:
    """One sentence per fault of such a folder; empty if it can be trained on."""
    return [fault for name in FILES.values() for fault in _faults(folder / name)]


def prepare(folder: Path, out: Path, origin: Any) -> dict[str, Any]:
    """Pack the texts `train` and `dev` (see `texts.py`); the facts hold `characters`, those that `train` has."""
    lines = {split: _lines(folder / name) for split, name in FILES.items()}
    characters = sorted({character for line in lines["train"] for character in line if not character.isspace()})
    splits: dict[str, Iterator[shards.Batch]] = {}
    for split, content in lines.items():
        splits |= texts.columns(split, content)
    return shards.pack(out, splits, origin=origin, facts={"characters": "".join(characters)})


def cut(text: str) -> tuple[str, str]:
    """The first sentence, and the rest."""
    first, _, rest = text.partition(STOP)
    return first + STOP, rest


def read_answers(data_dir: Path) -> list[str] | None:
    """The text that only the final scoring reads; None where there is none."""
    path = data_dir / ANSWERS
    return _lines(path) if path.exists() else None


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _life(teller: Teller) -> str:
    text, facts = teller.passage(PEOPLE, FACTS)
    first = "，".join(map(teller.again_said, teller.rng.sample(facts, AGAIN)))
    return f"{first}{STOP}{text}"


def _faults(path: Path) -> Iterator[str]:
    try:
        lines = _lines(path)
    except FileNotFoundError:
        yield f"{path} is missing"
        return
    except UnicodeDecodeError as error:
        yield f"{path.name}: expected UTF-8, found a fault at byte {error.start}: {error.reason}"
        return
    if not lines:
        yield f"{path.name} has no lines, expected at least 1"
    for number, line in enumerate(lines, 1):
        if not all(part.strip() for part in line.partition(STOP)):
            yield f"{path.name} line {number}: expected a sentence, a full stop 。 and more text"
            return
