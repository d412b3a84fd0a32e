"""BLEU of Chinese text (Papineni et al., 2002) in characters, and the check and the score of a submission."""

from collections.abc import Sequence
from pathlib import Path

import sacrebleu

from labs.transformer.cleaning import clean_zh

MAX_BYTES = 700_000
"""Size limit of a submission."""


def bleu(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU, 0 to 100, with one reference for each hypothesis, by sacrebleu's tokenizer `zh`."""
    # BLEU = min(1, exp(1 - r/h)) * (p_1 p_2 p_3 p_4)^(1/4), p_n the n-gram precisions, r and h the total lengths
    return sacrebleu.corpus_bleu(list(hypotheses), [list(references)], tokenize="zh").score


def score_submission(file: Path, answers: Path, most_frequent: str) -> dict[str, float]:
    """BLEU of a submission, and `test/trivial`: that of `most_frequent` as the translation of every sentence.

    Both sides are cleaned by the course's rules, because how the course's judge treats spaces and widths is not known.
    """
    references = [clean_zh(line) for line in answers.read_text(encoding="utf-8-sig").splitlines()]
    hypotheses = [clean_zh(line) for line in file.read_text(encoding="utf-8-sig").splitlines()]
    trivial = bleu([most_frequent] * len(references), references)
    return {"test/bleu": bleu(hypotheses, references), "test/trivial": trivial}


def check_submission(file: Path) -> list[str]:
    """The first fault of a submission as a sentence, empty if there is none: it must have a translation on each line.
    The number of lines is not checked, as it depends on the test set."""
    raw = file.read_bytes()
    if len(raw) >= MAX_BYTES:
        return [f"{file.name} has {len(raw)} bytes, expected fewer than {MAX_BYTES}"]
    try:
        lines = raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        return [f"{file.name}: expected UTF-8, found a fault at byte {error.start}: {error.reason}"]
    for number, line in enumerate(lines, 1):
        if not line.strip():
            return [f"{file.name} line {number} is empty, expected a translation"]
    return [] if lines else [f"{file.name} has no translations"]
