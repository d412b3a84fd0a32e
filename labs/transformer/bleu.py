"""BLEU of Chinese text (Papineni et al., 2002), in characters as sacrebleu's tokenizer `zh` has it, and its files."""

from collections.abc import Sequence
from pathlib import Path

import sacrebleu


def bleu(translations: Sequence[str], references: Sequence[str]) -> float:
    """Score of a whole text, 0 to 100, from one reference for each translation."""
    return sacrebleu.corpus_bleu(list(translations), [list(references)], tokenize="zh").score


def check_text(file: Path, most_bytes: int) -> list[str]:
    """The first fault of a submission with a translation a line as a sentence; empty if there is none."""
    raw = file.read_bytes()
    if len(raw) >= most_bytes:
        return [f"{file.name} has {len(raw)} bytes, expected fewer than {most_bytes}"]
    try:
        lines = raw.decode().splitlines()
    except UnicodeDecodeError as error:
        return [f"{file.name}: expected UTF-8, found a fault at byte {error.start}: {error.reason}"]
    for number, line in enumerate(lines, 1):
        if not line.strip():
            return [f"{file.name} line {number} is empty, expected a translation"]
    return [] if lines else [f"{file.name} has no translations"]
