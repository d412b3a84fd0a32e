"""Parallel sentences in English and Traditional Chinese: the folder of homework 5, its checks, and embedded data.

`raw.en` and `raw.zh` are parallel, one sentence per line. `test/test.en` is to be translated; `test/test.zh` is a
placeholder with a full stop on each line. `ted_zh_corpus.deduped.gz` is a monolingual Chinese corpus, which only
back-translation reads.
"""

import gzip
import io
import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sentencepiece as spm

from labs.core import shards
from labs.core.errors import BadInput
from labs.core.listing import find, required
from labs.transformer import catalogues
from labs.transformer.cleaning import clean_en, clean_zh, is_kept
from labs.transformer.grammar import Grammar
from labs.transformer.phrases import Pair
from labs.transformer.token_batches import BOS, EOS, PAD, UNK

RAW = {"en": "raw.en", "zh": "raw.zh"}
TEST = {"en": "test/test.en", "zh": "test/test.zh"}
MONO, ANSWERS, MODEL = "ted_zh_corpus.deduped.gz", "answers/test.zh", "spm.model"
OTHER_NAMES = {
    RAW["en"]: ("train_dev.raw.en", "ted2020/raw.en", "ted2020/train_dev.raw.en"),
    RAW["zh"]: ("train_dev.raw.zh", "ted2020/raw.zh", "ted2020/train_dev.raw.zh"),
    TEST["en"]: ("test.en", "test.raw.en", "ted2020/test/test.en", "ted2020/test.raw.en"),
    TEST["zh"]: ("test.zh", "test.raw.zh", "ted2020/test/test.zh", "ted2020/test.raw.zh"),
    MONO: ("ted_zh_corpus.deduped", f"mono/{MONO}", "mono/ted_zh_corpus.deduped"),
}
"""Names of the same files beside those of the archives: in 2021 and 2023, and where the course's notebook puts them."""
MAX_LINE = 1 << 20
"""Characters after which a line is cut, so that a file without line ends does not fill the memory."""
PLACEHOLDERS = (".", "。", "．")
"""Full stops, one of which is on each line of `test.zh` in place of a translation."""
VOCABULARY_SIZE = 8000
"""Tokens of the course's vocabulary, which both languages share."""
RECORD = 4096
"""Sentences of a record batch, all that packing holds in memory besides the text that the vocabulary is learnt from."""


class Counts(NamedTuple):
    """Numbers of sentences that `make` writes."""

    train: int
    mono: int
    test: int


COUNTS = {"tiny": Counts(240, 160, 24), "small": Counts(4000, 12000, 400), "course": Counts(398066, 800000, 4000)}
"""Size -> counts; those of `course` are the course's own, except `mono`, which is not known."""
DEPTHS = {"train": (0, 0, 1, 1, 2), "mono": (1, 1, 2, 3), "test": (1, 2, 3, 3)}
"""Numbers of nested clauses, one of which is drawn for each sentence; test and monolingual sentences are longer than
training sentences."""
NOISE = (Pair(" (Laughter)", "(笑聲)"), Pair(" (Applause)", "（掌聲）"))
"""Notes of a transcript, in parentheses, which cleaning removes."""


def make(folder: Path, seed: int, size: str) -> None:
    """Write sentences of `grammar.py` in the course's format; the test set's translations go to `answers/`."""
    counts = COUNTS[size]
    # No test sentence is in another split; no test sentence and no monolingual sentence occurs twice.
    seen = set[str]()
    test = _generate(seed, "test", counts.test, seen, unique=True)
    train = _generate(seed, "train", counts.train, seen, unique=False)
    mono = _generate(seed, "mono", counts.mono, seen, unique=True)
    rng = random.Random(f"{seed} noise")
    train = [_with_noise(pair, rng) if rng.random() < 0.02 else pair for pair in train]
    _write_folder(folder, train, test, mono)


def make_from_catalogues(folder: Path, seed: int) -> None:
    """Write messages of installed packages (`catalogues.py`) in the course's format: by the seed, a tenth of the pairs
    as test set, two tenths as monolingual corpus, and the others as training set.

    Raises:
        BadInput: too few messages are installed; the message names a package that has some.
    """
    pairs = [Pair(*pair) for pair in catalogues.messages()]
    random.Random(seed).shuffle(pairs)
    test, mono = len(pairs) // 10, 3 * len(pairs) // 10
    _write_folder(folder, pairs[mono:], pairs[:test], pairs[test:mono])


SOURCES = {"catalogues": make_from_catalogues}
"""Sources of embedded data other than the grammar."""


def check(folder: Path) -> list[str]:
    """One sentence per fault of a folder in the course's format; empty if it can be trained on."""
    counts, faults = {}, []
    mono = [MONO] if find(folder, MONO, *OTHER_NAMES[MONO]) else []
    for name in (*RAW.values(), *TEST.values(), *mono):
        try:
            counts[name] = sum(1 for _ in _lines(_file(folder, name)))
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
    if mono and not any(map(clean_zh, _lines(_file(folder, MONO)))):
        faults.append(f"{MONO}: no sentence is left after cleaning, expected at least 1")
    for number, line in enumerate(_lines(_file(folder, TEST["zh"])), 1):
        if line.strip() not in PLACEHOLDERS:
            faults.append(
                f"{TEST['zh']} line {number}: found {line!r}, expected a full stop: translations belong in {ANSWERS}"
            )
            break
    kept = sum(1 for _ in _clean_pairs(folder))
    if kept < 2:
        faults.append(f"{RAW['en']} and {RAW['zh']}: {kept} pairs are left after cleaning, expected at least 2")
    return faults


def prepare(folder: Path, out: Path, origin: Any) -> dict[str, Any]:
    """Clean the text, learn a subword vocabulary from the parallel sentences (`spm.model`), and pack the token ids.

    Pairs that are not kept and monolingual lines that are empty after cleaning are left out. For each of `train_en`,
    `train_zh`, `test_en` and, where the corpus is there, `mono_zh`, the split of that name has the `length` of each
    sentence in tokens, and the split `<name>_tokens` the tokens of all sentences one after another. The facts hold
    `vocabulary_size` and `most_frequent`, the most frequent training translation.

    Raises:
        BadInput: no vocabulary can be learnt from the sentences.
    """
    (out / MODEL).write_bytes(_learn_vocabulary(folder))
    tokenizer = load_tokenizer(out)
    texts: dict[str, Callable[[], Iterator[str]]] = {
        "train_en": lambda: (en for en, _ in _clean_pairs(folder)),
        "train_zh": lambda: (zh for _, zh in _clean_pairs(folder)),
        "test_en": lambda: map(clean_en, _lines(_file(folder, TEST["en"]))),
    }
    if find(folder, MONO, *OTHER_NAMES[MONO]):
        texts["mono_zh"] = lambda: filter(None, map(clean_zh, _lines(_file(folder, MONO))))
    splits: dict[str, Iterator[shards.Batch]] = {}
    for name, text in texts.items():
        splits |= {name: _lengths(tokenizer, text()), f"{name}_tokens": _tokens(tokenizer, text())}
    (most_frequent, _), *_ = Counter(zh for _, zh in _clean_pairs(folder)).most_common(1)
    facts = {"vocabulary_size": len(tokenizer), "most_frequent": most_frequent}
    return shards.pack(out, splits, origin=origin, facts=facts)


def load_tokenizer(data_dir: Path) -> spm.SentencePieceProcessor:
    """The tokenizer with the vocabulary that `prepare` learnt."""
    return spm.SentencePieceProcessor(model_file=str(data_dir / MODEL))


def decode(tokenizer: spm.SentencePieceProcessor, sentences: list[list[int]]) -> list[str]:
    """Token ids of Chinese sentences -> their text, without spaces."""
    return [line.replace(" ", "") for line in tokenizer.decode(sentences)]


def _learn_vocabulary(folder: Path) -> bytes:
    """A SentencePiece model of both sides of the parallel sentences."""
    characters = {c for pair in _clean_pairs(folder) for side in pair for c in side}
    # Text of few characters, such as the grammar's, has few words. With the course's size its tokens would be whole
    # phrases, and with the course's model, unigram, common words would be split into letters.
    size = min(VOCABULARY_SIZE, 2 * len(characters))
    model = io.BytesIO()
    try:
        spm.SentencePieceTrainer.train(
            sentence_iterator=(side for pair in _clean_pairs(folder) for side in pair),
            model_writer=model,
            vocab_size=size,
            model_type="unigram" if size == VOCABULARY_SIZE else "bpe",
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
    except RuntimeError as error:  # as where all sentences are longer than it takes
        raise BadInput(f"{RAW['en']} and {RAW['zh']}: no vocabulary can be learnt from them: {error}") from None
    return model.getvalue()


# --- files -----------------------------------------------------------------------------------------------------------


def _file(folder: Path, name: str) -> Path:
    return required(folder, name, *OTHER_NAMES[name])


def _lines(path: Path) -> Iterator[str]:
    """Lines of a text file or of a gzipped one; only a line feed ends a line."""
    opening = gzip.open if path.suffix.lower() == ".gz" else open
    with opening(path, "rt", encoding="utf-8-sig", newline="\n") as file:
        while line := file.readline(MAX_LINE):
            yield line.rstrip("\r\n")


def _write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def _clean_pairs(folder: Path) -> Iterator[Pair]:
    """The parallel sentences, cleaned, without pairs that are not kept."""
    for en, zh in zip(_lines(_file(folder, RAW["en"])), _lines(_file(folder, RAW["zh"])), strict=False):
        pair = Pair(clean_en(en), clean_zh(zh))
        if is_kept(*pair):
            yield pair


def _generate(seed: int, split: str, count: int, seen: set[str], *, unique: bool) -> list[Pair]:
    """Sentences of the grammar for a split, none with its English side in `seen`; with `unique`, which adds them to
    `seen`, none occurs twice."""
    grammar, pairs = Grammar(random.Random(f"{seed} {split}"), DEPTHS[split]), list[Pair]()
    while len(pairs) < count:
        pair = grammar.sentence()
        if pair.en in seen:
            continue
        pairs.append(pair)
        if unique:
            seen.add(pair.en)
    return pairs


def _write_folder(folder: Path, train: list[Pair], test: list[Pair], mono: list[Pair]) -> None:
    _write(folder / RAW["en"], (pair.en for pair in train))
    _write(folder / RAW["zh"], (pair.zh for pair in train))
    _write(folder / TEST["en"], (pair.en for pair in test))
    _write(folder / TEST["zh"], ("。" for _ in test))
    _write(folder / ANSWERS, (pair.zh for pair in test))
    text = "".join(f"{line}\n" for line in dict.fromkeys(pair.zh for pair in mono))
    (folder / MONO).write_bytes(gzip.compress(text.encode(), mtime=0))


def _with_noise(pair: Pair, rng: random.Random) -> Pair:
    noise = rng.choice(NOISE)
    return Pair(pair.en + noise.en, pair.zh + noise.zh)


def _encoded(tokenizer: spm.SentencePieceProcessor, text: Iterator[str]) -> Iterator[list[list[int]]]:
    while lines := list(islice(text, RECORD)):
        yield tokenizer.encode(lines)


def _lengths(tokenizer: spm.SentencePieceProcessor, text: Iterator[str]) -> Iterator[shards.Batch]:
    for sentences in _encoded(tokenizer, text):
        yield {"length": np.array([len(sentence) for sentence in sentences], np.int64)}


def _tokens(tokenizer: spm.SentencePieceProcessor, text: Iterator[str]) -> Iterator[shards.Batch]:
    for sentences in _encoded(tokenizer, text):
        yield {"token": np.array([token for sentence in sentences for token in sentence], np.int64)}
