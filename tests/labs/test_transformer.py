"""Promises of the transformer lab: its data format, its networks, its beam search, its training, its submission."""

import gzip
import itertools
import json
import math
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu
import torch
from safetensors.torch import load_file

from labs.core.errors import BadInput
from labs.core.run import Run
from labs.transformer import back_translation, data, lexicon
from labs.transformer.cleaning import clean_en, clean_zh, is_kept
from labs.transformer.decoding import beam_search, max_lengths, scheduled_sampling
from labs.transformer.grammar import Grammar
from labs.transformer.inference import evaluate, translate
from labs.transformer.lesson import LAB, learning_rate, predict
from labs.transformer.networks import Recurrent, State, Transformer, position_encodings
from labs.transformer.report import NORMS
from labs.transformer.token_batches import BOS, EOS, PAD, TAG, UNK, Sentences, TokenBatches, regroup
from labs.transformer.training import smoothed_loss
from tests.labs.folders import fault_of_submission, one_fault
from tests.labs.store import Store
from tests.labs.workers import last_metrics, train_on

FIRST_WORD = TAG + 1
"""Smallest token id that is not a special token."""


@pytest.fixture(scope="module")
def finished(store: Store) -> Path:
    return store.finished("transformer", "boss")


# --- data ------------------------------------------------------------------------------------------------------------


def test_made_sentences_are_as_many_as_stated(source: Path) -> None:
    """Training and test set are disjoint, and a full stop stands for each translation of the test set."""
    counts = data.COUNTS["tiny"]
    lines = {name: (source / name).read_text().splitlines() for name in (*data.RAW.values(), *data.TEST.values())}
    assert [len(part) for part in lines.values()] == [counts.train, counts.train, counts.test, counts.test]
    assert set(lines[data.TEST["zh"]]) == {"。"}
    assert not set(lines[data.TEST["en"]]) & set(lines[data.RAW["en"]])
    assert len((source / data.ANSWERS).read_text().splitlines()) == counts.test


def test_no_test_sentence_is_a_training_sentence(tmp_path: Path) -> None:
    """Also at size small with a data seed for which the grammar draws some sentences for both."""
    data.make(tmp_path, 2, "small")
    train, test = (set((tmp_path / name).read_text().splitlines()) for name in (data.RAW["en"], data.TEST["en"]))
    assert not train & test


def test_test_sentences_are_longer(source: Path) -> None:
    """They have more English words than training sentences, and at most 40."""
    words = {
        name: [len(line.split()) for line in (source / name).read_text().splitlines()]
        for name in (data.RAW["en"], data.TEST["en"])
    }
    assert np.mean(words[data.TEST["en"]]) > 1.15 * np.mean(words[data.RAW["en"]])
    assert max(words[data.TEST["en"]]) <= 40


@pytest.fixture(scope="module")
def simple_sentences() -> list[tuple[set[str], str]]:
    """(English words, Chinese) of sentences with a single clause."""
    grammar = Grammar(random.Random(0), (0,))
    pairs = [grammar.sentence() for _ in range(12000)]
    return [(set(pair.en.lower().strip(".?").split()), pair.zh) for pair in pairs]


def test_a_verb_is_translated_by_its_object(simple_sentences: list[tuple[set[str], str]]) -> None:
    """One wears (穿) a coat but wears (戴) a hat."""
    seen = set()
    for words, zh in simple_sentences:
        worn = words & {"coat", "coats", "hat", "hats"}
        if worn and words & {"wear", "wears", "wore", "worn", "wearing"}:
            verb = "穿" if worn & {"coat", "coats"} else "戴"
            assert verb in zh
            seen.add(verb)
    assert len(seen) == 2


def test_place_and_time_are_before_the_verb(simple_sentences: list[tuple[set[str], str]]) -> None:
    """In Chinese, while English has them last; Chinese sentences have no Latin letters."""
    found = 0
    for words, zh in simple_sentences:
        assert not any("a" <= letter <= "z" for letter in zh.lower())
        if "ate" in words and words & {"kitchen", "yesterday"}:
            assert zh.index("廚房" if "kitchen" in words else "昨天") < zh.index("吃")
            found += 1
    assert found >= 3


def test_relative_clauses_are_before_the_noun() -> None:
    """`the book that ...` ends in the Chinese noun, after 的."""
    grammar, found = Grammar(random.Random(1), (0,)), 0
    for _ in range(300):
        phrase = grammar.noun_phrase("text", 1)
        if " that " in phrase.en:
            head = phrase.en.split(" that ")[0].split()[-1]
            noun = next(noun for noun in lexicon.NOUNS["text"] if head in (noun.en, noun.plural))
            assert phrase.zh.endswith(noun.zh)
            assert "的" in phrase.zh
            found += 1
    assert found > 30


def test_numbers_take_the_noun_s_measure_word() -> None:
    """`three books` is 三本書, `three letters` 三封信."""
    grammar = Grammar(random.Random(2), (0,))
    measures = {noun.plural: noun for nouns in lexicon.NOUNS.values() for noun in nouns}
    for _ in range(300):
        pair = grammar.existence(0)
        if match := re.match(r"there are three (\w+) ", pair.en):
            noun = measures[match[1]]
            assert pair.zh.endswith(f"三{noun.measure}{noun.zh}")


def _append(name: str, text: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes() + text)


def _one_pair(folder: Path) -> None:
    for name in data.RAW.values():
        (folder / name).write_text("(a)\nword\n(b)\n")


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no file": (lambda d: (d / "raw.zh").unlink(), "raw.zh is missing"),
    "encoding": (_append("raw.en", b"\xff\n"), "raw.en: expected UTF-8, found a fault: invalid start byte"),
    "no gzip": (
        lambda d: (d / data.MONO).write_text("text"),
        "ted_zh_corpus.deduped.gz: expected a gzip file, found a fault: Not a gzipped file",
    ),
    "cut": (
        lambda d: (d / data.MONO).write_bytes((d / data.MONO).read_bytes()[:-9]),
        "ted_zh_corpus.deduped.gz: expected a gzip file, found a fault: Compressed file ended",
    ),
    "lines": (_append("raw.en", b"One more.\n"), "raw.zh has 240 lines, expected 241, as raw.en has"),
    "test lines": (
        _append("test/test.en", b"One more.\n"),
        "test/test.zh has 24 lines, expected 25, as test/test.en has",
    ),
    "no test": (
        lambda d: [(d / name).write_text("") for name in data.TEST.values()],
        "test/test.en has no lines, expected at least 1",
    ),
    "empty mono": (
        lambda d: (d / data.MONO).write_bytes(gzip.compress(b"")),
        "ted_zh_corpus.deduped.gz: no sentence is left after cleaning, expected at least 1",
    ),
    "translations": (
        lambda d: shutil.copy(d / data.ANSWERS, d / data.TEST["zh"]),
        "expected a full stop: translations belong in answers/test.zh",
    ),
    "nothing left": (_one_pair, "raw.en and raw.zh: 1 pairs are left after cleaning, expected at least 2"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_names_the_fault(fault: str, source: Path, tmp_path: Path) -> None:
    """One sentence per fault, with the file, the value and what is expected."""
    spoil, message = FAULTS[fault]
    assert message in one_fault(data.check, source, tmp_path / "ted", spoil)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Well-known, (Laughter) isn't it?", "Wellknown , isn't it ?"),
        ('She said, "Go."  Now;', 'She said , " Go . " Now ;'),
    ],
)
def test_english_is_cleaned(text: str, clean: str) -> None:
    """Parentheses and hyphens are removed, punctuation marks are set apart."""
    assert clean_en(text) == clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("他說：「ＯＫ！」（笑聲）", "他說: 「 OK ! 」"),
        ("我們 —— 很好，“對”_。", '我們很好 , " 對 " 。'),
        ("\u3000Ａ１～", "A1 ~"),
    ],
)
def test_chinese_is_cleaned(text: str, clean: str) -> None:
    """Full-width becomes half-width; parentheses, spaces, dashes, underscores are removed, punctuation set apart."""
    assert clean_zh(text) == clean
    assert clean_zh(clean) == clean


@pytest.mark.parametrize(
    ("en", "zh", "kept"),
    [("a", "一" * 9, True), ("a", "一" * 10, False), ("a " * 9, "一", True), ("a " * 10, "一", False),
     ("", "一", False), ("a", "", False), ("a " * 500, "一" * 1001, False), ("a " * 500, "一" * 1000, True)],
)  # fmt: skip
def test_pairs_of_unlike_length_are_dropped(en: str, zh: str, kept: bool) -> None:
    """1 to 1000 words or characters, a ratio of at most 9."""
    assert is_kept(en, zh) is kept


def test_packed_tokens_are_the_cleaned_text(source: Path, data_dir: Path) -> None:
    """Every kept pair and test line is decoded from its tokens, in order."""
    tokenizer = data.load_tokenizer(data_dir)
    for name, file, clean in (("train_zh", data.RAW["zh"], clean_zh), ("test_en", data.TEST["en"], clean_en)):
        lines = [clean(line).lower() for line in (source / file).read_text().splitlines()]
        assert [tokenizer.decode(tokens.tolist()) for tokens in Sentences(data_dir, name).token_ids] == lines


def test_batches_hold_every_sentence_once_within_bounds() -> None:
    """Padded batches are bounded in tokens, a longer sentence is a batch by itself, and another seed gives others."""
    generator = torch.Generator().manual_seed(0)
    lengths = [*torch.randint(0, 30, (50,), generator=generator).tolist(), 200]
    sources = [torch.randint(FIRST_WORD, 90, (n,), generator=generator) for n in lengths]
    targets = [tokens.flip(0)[: n // 2] for n, tokens in zip(lengths, sources, strict=True)]
    batches = TokenBatches(sources, targets, 100)
    seen = []
    for index in range(len(batches)):
        (batch,) = regroup(batches[torch.tensor([index])])
        assert max(batch.sources.numel(), batch.targets.numel()) <= 100 or len(batch.numbers) == 1
        for source, target, number in zip(*(column.tolist() for column in batch), strict=True):
            n, half = lengths[number], len(targets[number])
            assert source[: n + 1] == [*sources[number].tolist(), EOS]
            assert target[: half + 2] == [BOS, *targets[number].tolist(), EOS]
            assert set(source[n + 1 :]) <= {PAD}
            assert set(target[half + 2 :]) <= {PAD}
        seen += batch.numbers.tolist()
    assert sorted(seen) == list(range(51))
    assert TokenBatches(sources, targets, 100, 1).batches != batches.batches


def test_several_batches_are_regrouped() -> None:
    """The columns of two batches, one after another, become two batches again."""
    sentences = [torch.arange(FIRST_WORD, FIRST_WORD + n) for n in (1, 2, 9)]
    batches = TokenBatches(sentences, None, 12)
    both = regroup(batches[torch.tensor([1, 0])])
    assert [batch.numbers.tolist() for batch in both] == batches.batches[::-1]
    for batch, index in zip(both, (1, 0), strict=True):
        (alone,) = regroup(batches[torch.tensor([index])])
        assert all(torch.equal(a, b) for a, b in zip(batch, alone, strict=True))


# --- networks and search ---------------------------------------------------------------------------------------------


def network(kind: str, vocabulary_size: int = FIRST_WORD + 3) -> Recurrent | Transformer:
    """A small random network with logits large enough that translations differ in score."""
    torch.manual_seed(0)
    net = Recurrent(vocabulary_size, 8, 6, 2, 0.0) if kind == "gru" else Transformer(vocabulary_size, 8, 2, 16, 2, 0.0)
    with torch.no_grad():
        net.target_embedding.weight.mul_(4)
    return net.eval()


def every_score(net: Recurrent | Transformer, source: torch.Tensor, longest: int, power: float) -> dict[Any, float]:
    """Translation -> score, for all translations of one source, by a forward pass over each."""
    words = range(FIRST_WORD, net.target_embedding.num_embeddings)
    scores = {}
    for count in range(1, longest):
        for tokens in itertools.product(words, repeat=count):
            logits = net(source, torch.tensor([[BOS, *tokens]]))[0]
            logits[:, [PAD, UNK, BOS, TAG]] = -math.inf
            log_probs = logits.log_softmax(1)
            total = sum(log_probs[i, token].item() for i, token in enumerate((*tokens, EOS)))
            scores[tokens] = total / (count + 1) ** power
    return scores


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("kind", ["gru", "transformer"])
def test_beam_search_is_brute_force(kind: str, power: float) -> None:
    """With a beam as wide as the number of prefixes, it finds the best of all translations up to the limit."""
    net, limits = network(kind), torch.tensor([5, 3, 4])
    source = torch.tensor([[5, 6, 7, 5, EOS], [6, 5, EOS, PAD, PAD], [7, EOS, PAD, PAD, PAD]])
    with torch.no_grad():
        translations, scores = beam_search(net, source, 3**4, power, limits)
        for row in range(3):
            real = source[row : row + 1, : int((source[row] != PAD).sum())]
            expected = every_score(net, real, int(limits[row]), power)
            tokens, best = max(expected.items(), key=lambda item: item[1])
            assert scores[row].item() == pytest.approx(best, abs=1e-4)
            assert translations[row].tolist()[: len(tokens) + 1] == [*tokens, EOS]


class Uncached:
    """The same network without its cache: every step computes all previous tokens again."""

    def __init__(self, net: Recurrent | Transformer) -> None:
        self.net = net

    def encode(self, sources: torch.Tensor) -> State:
        return self.net.encode(sources)

    def step(self, targets: torch.Tensor, encoded: State, cache: State) -> tuple[torch.Tensor, State]:
        tokens = torch.cat([cache["tokens"], targets], 1) if cache else targets
        return self.net.step(tokens, encoded, {})[0], {"tokens": tokens}


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("kind", ["gru", "transformer"])
def test_the_cache_changes_nothing(kind: str, beam: int) -> None:
    """Beam search finds the same translations with the cache and without it."""
    net = network(kind, 40)
    source = torch.randint(FIRST_WORD, 40, (6, 12), generator=torch.Generator().manual_seed(1))
    source[3:, 7:] = PAD
    source[:3, 11], source[3:, 6] = EOS, EOS
    with torch.no_grad():
        cached, scores = beam_search(net, source, beam, 1.0, max_lengths(source))
        plain, expected = beam_search(Uncached(net), source, beam, 1.0, max_lengths(source))
    assert torch.equal(cached, plain)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


def test_maximum_lengths_are_the_course_s() -> None:
    """1.2 times the tokens of the source plus 10."""
    assert max_lengths(torch.tensor([[5, 5, 5, 5, EOS], [5, EOS, PAD, PAD, PAD]])).tolist() == [16, 12]


@pytest.mark.parametrize("kind", ["gru", "transformer"])
def test_padding_changes_nothing(kind: str) -> None:
    """In a padded batch each sentence has the same logits as alone; later target tokens change no earlier logits."""
    net = network(kind, 40)
    source = torch.tensor([[5, 9, 30, EOS], [7, EOS, PAD, PAD]])
    target = torch.tensor([[BOS, 8, 9, 10], [BOS, 11, PAD, PAD]])
    together = net(source, target)
    torch.testing.assert_close(together[0], net(source[:1], target[:1])[0])
    torch.testing.assert_close(together[1, :2], net(source[1:, :2], target[1:, :2])[0])
    torch.testing.assert_close(together[:, :2], net(source, target[:, :2]))


def test_position_encodings_are_sines_and_cosines() -> None:
    """The formula of the paper, sines first; dot products depend on the distance of the positions alone."""
    table = position_encodings(50, 6)
    for position, pair in ((0, 0), (7, 1), (49, 2)):
        angle = position / 10000 ** (2 * pair / 6)
        assert table[position, pair].item() == pytest.approx(math.sin(angle), abs=1e-5)
        assert table[position, 3 + pair].item() == pytest.approx(math.cos(angle), abs=1e-5)
    assert (table[3] @ table[10]).item() == pytest.approx((table[33] @ table[40]).item(), abs=1e-4)


def test_smoothed_loss_is_its_formula() -> None:
    """(1 - e) times the cross-entropy and e times the mean over the vocabulary, summed over all tokens but PAD."""
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 9), torch.tensor([[5, 7, EOS], [8, EOS, PAD]])
    logp = logits.log_softmax(2)
    real = [(b, t) for b in range(2) for t in range(3) if target[b, t] != PAD]
    expected = sum(-0.9 * logp[b, t, target[b, t]] - 0.1 * logp[b, t].mean() for b, t in real)
    torch.testing.assert_close(smoothed_loss(logits, target, 0.1), torch.as_tensor(expected))


def test_the_learning_rate_falls_with_the_inverse_square_root() -> None:
    """The sample's formula, 2 * d_model^-0.5 * min(step^-0.5, step * warmup^-1.5); without a schedule, constant."""
    config = LAB.resolve("medium", "course", {"lr": 2 * 256**-0.5 * 4000**-0.5})
    for step in (1, 500, 4000, 4001, 16000):
        assert learning_rate(config, step) == pytest.approx(2 * 256**-0.5 * min(step**-0.5, step * 4000**-1.5))
    assert {learning_rate(LAB.resolve("simple", "course"), step) for step in (1, 4000, 9999)} == {2e-3}


def test_scheduled_sampling_replaces_a_fraction_of_the_inputs() -> None:
    """The prediction for a position replaces the input there; the first input and the padding are never replaced."""
    net = network("transformer", 40)
    sources, inputs = torch.tensor([[5, 6, EOS]]).repeat(200, 1), torch.tensor([[BOS, 8, 9, PAD]]).repeat(200, 1)
    predictions = net(sources[:1], inputs[:1]).argmax(2)[0]
    replaced = scheduled_sampling(net, sources, inputs, 1.0)[0]
    assert torch.equal(replaced, torch.tensor([BOS, predictions[0], predictions[1], PAD]))
    assert torch.equal(scheduled_sampling(net, sources, inputs, 0.0), inputs)
    torch.manual_seed(0)
    changed = (scheduled_sampling(net, sources, inputs, 0.3) != inputs).float().mean()
    assert changed.item() == pytest.approx(0.15, abs=0.03)


# --- training --------------------------------------------------------------------------------------------------------


def test_training_delivers_a_valid_submission(finished: Path, source: Path, data_dir: Path) -> None:
    """A line for each test sentence, in order, scored by BLEU against the answers; the report's figures."""
    file = finished / "deliver/prediction.txt"
    lines = file.read_text().splitlines()
    assert LAB.check_submission(file) == []
    assert len(lines) == data.COUNTS["tiny"].test
    answers = [clean_zh(line) for line in (source / data.ANSWERS).read_text().splitlines()]
    expected = sacrebleu.corpus_bleu([clean_zh(line) for line in lines], [answers], tokenize="zh").score
    scores = LAB.score(finished / "deliver", data_dir)
    assert scores["test/bleu"] == pytest.approx(expected)
    assert 0 < scores["test/trivial"] < 10


def test_the_delivered_lines_are_those_of_each_sentence_alone(finished: Path, data_dir: Path) -> None:
    """Batches are in order of length, but each translation is on the line of its sentence."""
    model, tokenizer = LAB.load(finished), data.load_tokenizer(data_dir)
    lines = (finished / "deliver/prediction.txt").read_text().splitlines()
    for tokens, line in list(zip(Sentences(data_dir, "test_en").token_ids, lines, strict=True))[:8]:
        alone = translate(model, [TokenBatches([tokens], None, 1)[torch.tensor([0])]], 2, 1.0)
        assert data.decode(tokenizer, [alone[0]]) == [line]


def test_the_best_averaged_weights_are_kept(finished: Path, data_dir: Path, tmp_path: Path) -> None:
    """The final weights have the best validation BLEU of the run, computed again from them."""
    run = Run(tmp_path, data_dir, seed=3)
    order = torch.randperm(240, generator=torch.Generator().manual_seed(3))[:12].tolist()
    pairs = tuple([Sentences(data_dir, name).token_ids[i] for i in order] for name in ("train_en", "train_zh"))
    best = json.loads((finished / "result.json").read_text())["metrics"]["best/value"]
    assert evaluate(LAB.load(finished), pairs, run, batch_tokens=512, length_penalty=1.0) == pytest.approx(best)


def test_a_reference_scores_100(source: Path, data_dir: Path, tmp_path: Path) -> None:
    """The answers themselves, full-width forms and all, are a perfect submission."""
    shutil.copy(source / data.ANSWERS, tmp_path / "prediction.txt")
    assert LAB.score(tmp_path, data_dir)["test/bleu"] == pytest.approx(100)


def test_back_translation_adds_monolingual_sentences(finished: Path, data_dir: Path, tmp_path: Path) -> None:
    """A tagged source for each chosen sentence, none twice; more synthetic pairs make more steps."""
    sources, chinese = back_translation.read(Run(finished, data_dir, seed=3))
    rows = load_file(finished / back_translation.FILE)["rows"].tolist()
    mono = Sentences(data_dir, "mono_zh").token_ids
    assert len(set(rows)) == len(rows) == len(mono) == len(sources)
    assert all(tokens[0] == TAG and TAG not in tokens[1:] for tokens in sources)
    assert all(torch.equal(tokens, mono[row]) for tokens, row in zip(chinese, rows, strict=True))
    LAB.fit(LAB.resolve("boss", "tiny", {"synthetic_ratio": 0.5}), Run(tmp_path, data_dir, seed=3))
    assert len(load_file(tmp_path / back_translation.FILE)["rows"]) == 114
    steps = [len(json.loads((folder / NORMS).read_text())) for folder in (finished, tmp_path)]
    assert steps[0] > steps[1]


def test_two_workers_learn_what_one_learns(data_dir: Path, tmp_path: Path) -> None:
    """After a few steps on the same global batches, with synthetic pairs, the ranks are bit-equal, and equal to one
    worker to 1e-5; so is the validation BLEU."""
    # Without dropout, which differs between workers; with an even number of micro-batches, none is left out.
    fields = {"epochs": 1, "dropout": 0.0, "batch_tokens": 900, "clip": 0.5, "synthetic_ratio": 0.3}
    config = LAB.resolve("boss", "tiny", fields)
    (one,) = train_on(1, "transformer", config, data_dir, tmp_path / "one")
    two = train_on(2, "transformer", config, data_dir, tmp_path / "two")
    steps = [len(json.loads((tmp_path / name / NORMS).read_text())) for name in ("one", "two")]
    assert steps[0] == steps[1] >= 3
    assert all(torch.equal(two[0][name], two[1][name]) for name in one)
    for name, expected in one.items():
        torch.testing.assert_close(two[0][name], expected, atol=1e-5, rtol=1e-4)
    assert last_metrics(tmp_path / "two") == pytest.approx(last_metrics(tmp_path / "one"), rel=1e-5)


def test_batches_that_can_not_be_split_are_refused(data_dir: Path, tmp_path: Path) -> None:
    """More workers than micro-batches of a step: the message has both numbers."""
    run = Run(tmp_path, data_dir)
    run.world_size = 4
    with pytest.raises(BadInput, match="batch size 2 can't be split evenly between 4 workers"):
        run.loader(TokenBatches(Sentences(data_dir, "test_en").token_ids, None, 99), 2, train=True)


def test_each_architecture_can_learn(data_dir: Path, tmp_path: Path) -> None:
    """The loss falls, with scheduled sampling on."""
    for architecture in ("gru", "transformer"):
        fields = {"architecture": architecture, "scheduled_sampling": 0.3, "lr": 0.01, "warmup": 5, "epochs": 4}
        run = Run(tmp_path / architecture, data_dir)
        LAB.fit(LAB.resolve("medium", "tiny", fields), run, test=False)
        losses = [
            event["metrics"]["train/loss"]
            for event in map(json.loads, (run.folder / "events.jsonl").read_text().splitlines())
            if "train/loss" in event["metrics"]
        ]
        assert losses[-1] < losses[0] - 0.5


def test_the_trained_model_loads_and_predicts(finished: Path, data_dir: Path) -> None:
    """A batch of English sentences gives one translation each, with one `EOS`."""
    inputs = LAB.example(data_dir)
    output = predict(LAB.load(finished), inputs)
    assert (inputs.dtype, len(inputs)) == (np.int64, 2)
    assert (output.dtype, len(output)) == (np.int64, 2)
    assert (output == EOS).sum(1).tolist() == [1, 1]


def test_simple_at_course_size_has_the_sample_s_shape() -> None:
    """Embeddings of 256, an encoder of 512 units in each direction, a decoder of 1024 with tied embeddings."""
    net = LAB.network(LAB.resolve("simple", "course"))
    assert (net.source_embedding.embedding_dim, net.encoder.hidden_size, net.decoder.hidden_size) == (256, 512, 1024)
    assert net.encoder.bidirectional


@pytest.mark.parametrize("preset", ["strong", "boss"])
def test_the_strong_baseline_at_course_size_is_as_wide_as_transformer_base(preset: str) -> None:
    """It had half its width and half its heads."""
    config: Any = LAB.resolve(preset, "course")
    assert (config.d_model, config.d_ff, config.heads, config.layers) == (512, 2048, 8, 4)


# --- messages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "prediction.txt has no translations"),
        ("你好\n\n再見\n".encode(), "prediction.txt line 2 is empty, expected a translation"),
        (b"\xff\n", "prediction.txt: expected UTF-8, found a fault at byte 0: invalid start byte"),
        (b"a\n" * 350_000, "prediction.txt has 700000 bytes, expected fewer than 700000"),
    ],
)
def test_a_bad_submission_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    """Each fault of a submission file is one sentence with the line."""
    assert fault_of_submission(LAB, tmp_path, content) == message


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"schedule": "cosine"}, "field 'schedule' is 'cosine'"),
        ({"heads": 3}, "d_model 16 must be even and a multiple of heads 3"),
        ({"beam_size": 0}, "field 'beam_size' is 0"),
    ],
)
def test_a_wrong_field_is_named(overrides: dict[str, Any], message: str) -> None:
    """The message has the field, its value and what is expected."""
    with pytest.raises(BadInput, match=message):
        LAB.resolve("strong", "tiny", overrides)
