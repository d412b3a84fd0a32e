"""Talks in English and Traditional Chinese: the folder of homework 5, its checks, and a grammar's sentences in it.

`raw.en` and `raw.zh` are parallel, a sentence a line; `test/test.en` is to be translated and `test/test.zh` holds a
full stop for each line of it; `ted_zh_corpus.deduped.gz` has Chinese alone.
"""

import gzip
import io
import random
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sentencepiece as spm

from labs.core import shards
from labs.transformer import catalogues
from labs.transformer.grammar import Grammar
from labs.transformer.phrases import Pair
from labs.transformer.token_batches import BOS, EOS, PAD, UNK

RAW = {"en": "raw.en", "zh": "raw.zh"}
TEST = {"en": "test/test.en", "zh": "test/test.zh"}
MONO, ANSWERS, MODEL = "ted_zh_corpus.deduped.gz", "answers/test.zh", "spm.model"
STOPS = (".", "。", "．")
"""What stands on each line of `test.zh` in place of a translation."""
PIECES = 8000
"""Pieces of the course's vocabulary, shared by both languages."""
RECORD = 4096
"""Sentences of a record batch: what packing holds in memory, beside the vocabulary's training text."""


class Counts(NamedTuple):
    """How many sentences `make` writes."""

    train: int
    mono: int
    test: int


COUNTS = {"tiny": Counts(240, 160, 24), "small": Counts(4000, 12000, 400), "course": Counts(398066, 800000, 4000)}
"""The course's own counts; how much Chinese alone it gave out is not known."""
DEPTHS = {"train": (0, 0, 1, 1, 2), "mono": (1, 1, 2, 3), "test": (1, 2, 3, 3)}
"""Nested clauses of a sentence, drawn at random: the test set and Chinese alone are longer than what is trained on."""
NOISE = (Pair(" (Laughter)", "(笑聲)"), Pair(" (Applause)", "（掌聲）"))
"""What a transcript has in parentheses."""


def make(folder: Path, seed: int, size: str) -> None:
    """Write sentences of `grammar.py` in the course's format; the test set's translations go to `answers/`."""
    counts, seen = COUNTS[size], set[str]()
    pairs = {}
    for split, count in (("test", counts.test), ("train", counts.train), ("mono", counts.mono)):
        rng = random.Random(f"{seed} {split}")
        grammar, pairs[split] = Grammar(rng, DEPTHS[split]), list[Pair]()
        while len(pairs[split]) < count:
            pair = grammar.sentence()
            if pair.en not in seen or split == "train":  # no test sentence is trained on, none comes twice
                pairs[split].append(pair)
                seen |= {pair.en} if split != "train" else set()
    noisy = random.Random(f"{seed} noise")
    train = [_noise(pair, noisy) if noisy.random() < 0.02 else pair for pair in pairs["train"]]
    _lay_out(folder, train, pairs["test"], pairs["mono"])


def make_from_catalogues(folder: Path, seed: int) -> None:
    """Write real messages of installed packages (`catalogues.py`) in the course's format: at random by seed, of
    ten pairs one to translate, two as Chinese alone and seven to train on.

    Raises:
        BadInput: no installed package has any; the message says which one does.
    """
    pairs = [Pair(*pair) for pair in catalogues.messages()]
    random.Random(seed).shuffle(pairs)
    test, mono = len(pairs) // 10, 3 * len(pairs) // 10
    _lay_out(folder, pairs[mono:], pairs[:test], pairs[test:mono])


SOURCES = {"catalogues": make_from_catalogues}
"""Where sentences can come from other than the grammar."""


def check(folder: Path) -> list[str]:
    """One sentence per fault of a folder in the course's format; empty if it can be trained on."""
    counts, faults = {}, []
    for name in (*RAW.values(), *TEST.values(), MONO):
        try:
            counts[name] = sum(1 for _ in _lines(folder / name))
        except FileNotFoundError:
            faults.append(f"{folder / name} is missing")
        except UnicodeDecodeError as error:
            faults.append(f"{name}: expected UTF-8, found a fault: {error.reason}")
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            faults.append(f"{name}: expected a gzip file, found a fault: {error}")
    if faults:
        return faults
    for names in (RAW, TEST):
        if counts[names["en"]] != counts[names["zh"]]:
            faults.append(
                f"{names['zh']} has {counts[names['zh']]} lines, expected {counts[names['en']]}, as {names['en']} has"
            )
    if not counts[TEST["en"]]:
        faults.append(f"{TEST['en']} has no lines, expected at least 1")
    if not any(map(clean_zh, _lines(folder / MONO))):
        faults.append(f"{MONO}: no sentence is left after cleaning, expected at least 1")
    for number, line in enumerate(_lines(folder / TEST["zh"]), 1):
        if line.strip() not in STOPS:
            faults.append(
                f"{TEST['zh']} line {number}: found {line!r}, expected a full stop: translations belong elsewhere"
            )
            break
    kept = sum(1 for _ in _clean_pairs(folder))
    if kept < 2:
        faults.append(f"{RAW['en']} and {RAW['zh']}: {kept} pairs are left after cleaning, expected at least 2")
    return faults


def prepare(folder: Path, out: Path, origin: Any) -> dict[str, Any]:
    """Clean the text, learn the vocabulary (`spm.model`) from the parallel side, and pack the pieces' numbers.

    For each of `train_en`, `train_zh`, `test_en` and `mono_zh`: the `length` of each sentence in pieces, and in
    `<name>_pieces` all pieces one after another. Pairs that cleaning drops and lines of Chinese that it empties are
    left out. The facts hold `pieces`, how many there are, and `most_frequent`, the commonest training translation.
    """
    characters = {c for pair in _clean_pairs(folder) for side in pair for c in side}
    size = min(PIECES, 2 * len(characters))
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=(side for pair in _clean_pairs(folder) for side in pair),
        model_writer=model,
        # Text of few characters has few words: the course's number would make pieces of whole phrases, and its kind of
        # pieces, unigram, breaks common words into letters.
        vocab_size=size,
        model_type="unigram" if size == PIECES else "bpe",
        character_coverage=1,
        normalization_rule_name="nmt_nfkc_cf",
        hard_vocab_limit=False,
        num_threads=1,
        pad_id=PAD,
        unk_id=UNK,
        bos_id=BOS,
        eos_id=EOS,
        user_defined_symbols=["<back-translated>"],
        minloglevel=2,
    )
    (out / MODEL).write_bytes(model.getvalue())
    pieces = vocabulary(out)
    texts = {
        "train_en": lambda: (en for en, _ in _clean_pairs(folder)),
        "train_zh": lambda: (zh for _, zh in _clean_pairs(folder)),
        "test_en": lambda: map(clean_en, _lines(folder / TEST["en"])),
        "mono_zh": lambda: filter(None, map(clean_zh, _lines(folder / MONO))),
    }
    splits: dict[str, Iterator[shards.Batch]] = {}
    for name, text in texts.items():
        splits |= {name: _lengths(pieces, text()), f"{name}_pieces": _pieces(pieces, text())}
    (most_frequent, _), *_ = Counter(zh for _, zh in _clean_pairs(folder)).most_common(1)
    facts = {"pieces": len(pieces), "most_frequent": most_frequent}
    return shards.pack(out, splits, origin=origin, facts=facts)


def vocabulary(data_dir: Path) -> spm.SentencePieceProcessor:
    """The pieces that `prepare` learnt."""
    return spm.SentencePieceProcessor(model_file=str(data_dir / MODEL))


def text(pieces: spm.SentencePieceProcessor, sentences: list[list[int]]) -> list[str]:
    """Chinese as it is written, without spaces, from piece numbers."""
    return [line.replace(" ", "") for line in pieces.decode(sentences)]


# --- cleaning, by the course's rules ---------------------------------------------------------------------------------


def clean_en(text: str) -> str:
    """Without what is in parentheses and without hyphens, punctuation apart from words."""
    text = re.sub(r"\([^()]*\)", "", text).replace("-", "")
    return " ".join(re.sub(r'([.,;!?()"])', r" \1 ", text).split())


def clean_zh(text: str) -> str:
    """Half-width forms, without what is in parentheses, spaces, dashes and underscores, punctuation apart."""
    text = "".join(chr(ord(c) - 0xFEE0) if "！" <= c <= "～" else c for c in text.replace("\u3000", " "))
    text = re.sub(r"\([^()]*\)", "", text)
    text = re.sub(r"[\s—_]", "", text).translate(str.maketrans("“”", '""'))
    return " ".join(re.sub(r'([。,;!?()"~「」])', r" \1 ", text).split())


def keeps(en: str, zh: str) -> bool:
    """Whether a cleaned pair is trained on: 1 to 1000 words and characters, and neither 9 times the other."""
    words, characters = len(en.split()), len(zh)
    return min(words, characters) >= 1 and max(words, characters) <= min(1000, 9 * min(words, characters))


# --- files -----------------------------------------------------------------------------------------------------------


def _lines(path: Path) -> Iterator[str]:
    """Lines of a text file or of a gzipped one; only a line feed ends a line."""
    opening = gzip.open if path.suffix == ".gz" else open
    with opening(path, "rt", encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.rstrip("\r\n")


def _write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def _clean_pairs(folder: Path) -> Iterator[Pair]:
    for en, zh in zip(_lines(folder / RAW["en"]), _lines(folder / RAW["zh"]), strict=False):
        pair = Pair(clean_en(en), clean_zh(zh))
        if keeps(*pair):
            yield pair


def _lay_out(folder: Path, train: list[Pair], test: list[Pair], mono: list[Pair]) -> None:
    for number, language in enumerate(RAW):
        _write(folder / RAW[language], (pair[number] for pair in train))
    _write(folder / TEST["en"], (pair.en for pair in test))
    _write(folder / TEST["zh"], ("。" for _ in test))
    _write(folder / ANSWERS, (pair.zh for pair in test))
    text = "".join(f"{line}\n" for line in dict.fromkeys(pair.zh for pair in mono))
    (folder / MONO).write_bytes(gzip.compress(text.encode(), mtime=0))


def _noise(pair: Pair, rng: random.Random) -> Pair:
    noise = rng.choice(NOISE)
    return Pair(pair.en + noise.en, pair.zh + noise.zh)


def _encoded(pieces: spm.SentencePieceProcessor, text: Iterator[str]) -> Iterator[list[list[int]]]:
    while lines := list(islice(text, RECORD)):
        yield pieces.encode(lines)


def _lengths(pieces: spm.SentencePieceProcessor, text: Iterator[str]) -> Iterator[shards.Batch]:
    for lines in _encoded(pieces, text):
        yield {"length": np.array([len(line) for line in lines], np.int64)}


def _pieces(pieces: spm.SentencePieceProcessor, text: Iterator[str]) -> Iterator[shards.Batch]:
    for lines in _encoded(pieces, text):
        yield {"piece": np.array([number for line in lines for number in line], np.int64)}
