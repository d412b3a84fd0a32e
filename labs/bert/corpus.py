"""Chinese text on which a language model is pre-trained: a folder of two files.

`train.txt` and `dev.txt` have one text per line. Its first sentence, up to the first full stop 。, repeats in other
words some of the facts that the rest of the text states. In generated text half of them are repeated as a question and
its answer, about other people but in the words of the questions of the `bert` lab: the pre-training sees the form of
the task, which that of a BERT does not.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labs.bert import packed_texts
from labs.core import shards
from labs.core.listing import required
from labs.shared.text.passages import PassageGenerator

FILES = {"train": "train.txt", "dev": "dev.txt"}
ANSWERS = "answers/test.txt"
"""Test texts, which only the final scoring reads; there is no submission for them."""
COUNTS = {
    "tiny": {"train": 96, "dev": 24, "test": 24},
    "small": {"train": 12000, "dev": 400, "test": 400},
    "course": {"train": 400_000, "dev": 4000, "test": 4000},
}
PEOPLE, FACTS, REPEATED = 2, 3, 3
"""People of a text, facts about each of them, and the number of facts that the first sentence repeats."""
STOP = "。"


def make(folder: Path, seed: int, size: str) -> None:
    """Write generated passages, each after a sentence that repeats some of its facts."""
    (folder / ANSWERS).parent.mkdir()
    for split, count in COUNTS[size].items():
        # Other seeds than those of the question-answering data, so that no passage is in both.
        generator = PassageGenerator(f"{seed} corpus {split}")
        path = folder / FILES.get(split, ANSWERS)
        path.write_text("".join(f"{_text(generator)}\n" for _ in range(count)), encoding="utf-8")


def check(folder: Path) -> list[str]:
    """One sentence per fault of such a folder; empty if it can be trained on."""
    return [fault for name in FILES.values() for fault in _faults(required(folder, name))]


def prepare(folder: Path, out: Path, origin: Any) -> dict[str, Any]:
    """Pack the texts `train` and `dev` (see `packed_texts.py`); the facts hold `characters`, all those of `train`."""
    lines = {split: _lines(required(folder, name)) for split, name in FILES.items()}
    characters = sorted({character for line in lines["train"] for character in line if not character.isspace()})
    splits: dict[str, Iterator[shards.Batch]] = {}
    for split, content in lines.items():
        splits |= packed_texts.columns(split, content)
    return shards.pack(out, splits, origin=origin, facts={"characters": "".join(characters)})


def split_first_sentence(text: str, *, questions: bool = True) -> tuple[str, str]:
    """The first sentence and the rest of the text.

    Args:
        questions: False leaves out, of the facts that commas separate in the first sentence, those with a question.
    """
    first, _, rest = text.partition(STOP)
    if not questions:
        first = "，".join(fact for fact in first.split("，") if "？" not in fact)
    return first + STOP, rest


def read_answers(data_dir: Path) -> list[str] | None:
    """The test texts; None where there are none."""
    path = data_dir / ANSWERS
    return _lines(path) if path.exists() else None


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8-sig").rstrip().splitlines()


def _text(generator: PassageGenerator) -> str:
    passage, facts = generator.passage(PEOPLE, FACTS)
    first_sentence = "，".join(map(generator.paraphrase, generator.rng.sample(facts, REPEATED)))
    return f"{first_sentence}{STOP}{passage}"


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
