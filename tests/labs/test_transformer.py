"""Promises of the transformer lab: its data format, its search, its networks, its training and its submission."""

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
from labs.core.run import STOP, Interrupted, Run
from labs.transformer import back_translation, data, lexicon
from labs.transformer.decoding import beam_search, limits, own_words
from labs.transformer.grammar import Grammar
from labs.transformer.inference import evaluate, translate
from labs.transformer.lesson import LAB, NORMS, predict, rate
from labs.transformer.networks import Recurrent, State, Transformer, positions
from labs.transformer.token_batches import BOS, EOS, PAD, TAG, Batches, Sentences
from labs.transformer.trainer import smoothed_loss
from tests.labs.folders import contents, made
from tests.labs.workers import last_metrics, train_on

SPECIAL = TAG + 1


@pytest.fixture(scope="module")
def finished(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    LAB.fit(LAB.resolve("boss", "tiny"), Run(folder, data_dir, seed=3))
    return folder


# --- data ------------------------------------------------------------------------------------------------------------


def test_make_is_deterministic(source: Path, tmp_path: Path) -> None:
    """The same seed writes the same bytes, another seed others."""
    assert contents(made(data, tmp_path / "same")) == contents(source)
    other = contents(made(data, tmp_path / "other", seed=1))
    assert all(other[name] != content for name, content in contents(source).items() if name != data.TEST["zh"])


def test_check_accepts_what_make_writes(source: Path) -> None:
    """A grammar's sentences have the course's format, and as many as stated; no test sentence is trained on."""
    counts = data.COUNTS["tiny"]
    assert data.check(source) == []
    lines = {name: (source / name).read_text().splitlines() for name in (*data.RAW.values(), *data.TEST.values())}
    assert [len(part) for part in lines.values()] == [counts.train, counts.train, counts.test, counts.test]
    assert set(lines[data.TEST["zh"]]) == {"。"}
    assert not set(lines[data.TEST["en"]]) & set(lines[data.RAW["en"]])
    assert len((source / data.ANSWERS).read_text().splitlines()) == counts.test


def test_the_test_set_is_longer(source: Path) -> None:
    """Its English sentences have more words than those to train on, and none more than 40."""
    words = {
        name: [len(line.split()) for line in (source / name).read_text().splitlines()]
        for name in (data.RAW["en"], data.TEST["en"])
    }
    assert np.mean(words[data.TEST["en"]]) > 1.15 * np.mean(words[data.RAW["en"]])
    assert max(words[data.TEST["en"]]) <= 40


@pytest.fixture(scope="module")
def simple_sentences() -> list[tuple[set[str], str]]:
    """English words and Chinese of sentences with a single clause."""
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


def test_place_and_time_stand_before_the_verb(simple_sentences: list[tuple[set[str], str]]) -> None:
    """What English says last, Chinese says before it says what is done; there is no letter of English in it."""
    found = 0
    for words, zh in simple_sentences:
        assert not any("a" <= letter <= "z" for letter in zh.lower())
        if "ate" in words and words & {"kitchen", "yesterday"}:
            assert zh.index("廚房" if "kitchen" in words else "昨天") < zh.index("吃")
            found += 1
    assert found >= 3


def test_relative_clauses_stand_before_the_noun() -> None:
    """`the book that ...` ends in the Chinese book, with 的 before it."""
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
    "no mono": (lambda d: (d / data.MONO).unlink(), "ted_zh_corpus.deduped.gz is missing"),
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
        "expected a full stop: translations belong elsewhere",
    ),
    "nothing left": (_one_pair, "raw.en and raw.zh: 1 pairs are left after cleaning, expected at least 2"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_names_the_fault(fault: str, source: Path, tmp_path: Path) -> None:
    """One sentence per fault, with the file, what was found and what was expected."""
    folder = tmp_path / "ted"
    shutil.copytree(source, folder)
    spoil, message = FAULTS[fault]
    spoil(folder)
    faults = data.check(folder)
    assert len(faults) == 1
    assert message in faults[0]


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Well-known, (Laughter) isn't it?", "Wellknown , isn't it ?"),
        ('She said, "Go."  Now;', 'She said , " Go . " Now ;'),
    ],
)
def test_english_is_cleaned(text: str, clean: str) -> None:
    """Parentheses and hyphens go, punctuation stands apart."""
    assert data.clean_en(text) == clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("他說：「ＯＫ！」（笑聲）", "他說: 「 OK ! 」"),
        ("我們 —— 很好，“對”_。", '我們很好 , " 對 " 。'),
        ("\u3000Ａ１～", "A1 ~"),
    ],
)
def test_chinese_is_cleaned(text: str, clean: str) -> None:
    """Full-width forms become half-width; parentheses, spaces, dashes and underscores go, punctuation stands apart."""
    assert data.clean_zh(text) == clean
    assert data.clean_zh(clean) == clean


@pytest.mark.parametrize(
    ("en", "zh", "kept"),
    [("a", "一" * 9, True), ("a", "一" * 10, False), ("a " * 9, "一", True), ("a " * 10, "一", False),
     ("", "一", False), ("a", "", False), ("a " * 500, "一" * 1001, False), ("a " * 500, "一" * 1000, True)],
)  # fmt: skip
def test_pairs_of_unlike_length_are_dropped(en: str, zh: str, kept: bool) -> None:
    """1 to 1000 words or characters, a ratio of at most 9."""
    assert data.keeps(en, zh) is kept


def test_packed_pieces_are_the_cleaned_text(source: Path, data_dir: Path) -> None:
    """Every kept pair and test line comes back from its pieces, in order."""
    pieces = data.vocabulary(data_dir)
    for name, file, clean in (("train_zh", data.RAW["zh"], data.clean_zh), ("test_en", data.TEST["en"], data.clean_en)):
        lines = [clean(line).lower() for line in (source / file).read_text().splitlines()]
        assert [pieces.decode(numbers.tolist()) for numbers in Sentences(data_dir, name).pieces] == lines


def test_batches_hold_every_sentence_once_within_bounds() -> None:
    """Batches are bounded in padded pieces, a longer sentence comes alone, and another seed batches anew."""
    generator = torch.Generator().manual_seed(0)
    lengths = [*torch.randint(0, 30, (50,), generator=generator).tolist(), 200]
    sources = [torch.randint(SPECIAL, 90, (n,), generator=generator) for n in lengths]
    targets = [numbers.flip(0)[: n // 2] for n, numbers in zip(lengths, sources, strict=True)]
    batches = Batches(sources, targets, 100)
    seen = []
    for number in range(len(batches)):
        source, target, which = batches[torch.tensor([number])]
        assert max(source.numel(), target.numel()) <= 100 or len(which) == 1
        for row, out, i in zip(source.tolist(), target.tolist(), which.tolist(), strict=True):
            n, half = lengths[i], len(targets[i])
            assert row[: n + 1] == [*sources[i].tolist(), EOS]
            assert out[: half + 2] == [BOS, *targets[i].tolist(), EOS]
            assert set(row[n + 1 :]) <= {PAD}
            assert set(out[half + 2 :]) <= {PAD}
        seen += which.tolist()
    assert sorted(seen) == list(range(51))
    assert Batches(sources, targets, 100, 1).batches != batches.batches


# --- networks and search ---------------------------------------------------------------------------------------------


def network(kind: str, pieces: int = SPECIAL + 3) -> Recurrent | Transformer:
    """A small random network, sharp enough that translations differ in score."""
    torch.manual_seed(0)
    net = Recurrent(pieces, 8, 6, 2, 0.0) if kind == "gru" else Transformer(pieces, 8, 2, 16, 2, 0.0)
    with torch.no_grad():
        net.target.weight.mul_(4)
    return net.eval()


def every_score(net: Recurrent | Transformer, source: torch.Tensor, longest: int, power: float) -> dict[Any, float]:
    """Translation -> score, for all translations of one source by a forward over each."""
    words = range(SPECIAL, net.target.num_embeddings)
    scores = {}
    for count in range(1, longest):
        for said in itertools.product(words, repeat=count):
            logits = net(source, torch.tensor([[BOS, *said]]))[0]
            logits[:, [0, 1, 2, 4]] = -math.inf
            logp = logits.log_softmax(1)
            total = sum(logp[i, piece].item() for i, piece in enumerate((*said, EOS)))
            scores[said] = total / (count + 1) ** power
    return scores


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("kind", ["gru", "transformer"])
def test_beam_search_is_brute_force(kind: str, power: float) -> None:
    """With a beam as wide as there are beginnings, the best of all translations up to the limit, in a padded batch."""
    net, longest = network(kind), torch.tensor([5, 3, 4])
    source = torch.tensor([[5, 6, 7, 5, EOS], [6, 5, EOS, PAD, PAD], [7, EOS, PAD, PAD, PAD]])
    with torch.no_grad():
        written, scores = beam_search(net, source, 3**4, power, longest)
        for row in range(3):
            real = source[row : row + 1, : int((source[row] != PAD).sum())]
            expected = every_score(net, real, int(longest[row]), power)
            said, best = max(expected.items(), key=lambda item: item[1])
            assert scores[row].item() == pytest.approx(best, abs=1e-4)
            assert written[row].tolist()[: len(said) + 1] == [*said, EOS]


class Uncached:
    """The same network without a past: every step reads all that was written again."""

    def __init__(self, net: Recurrent | Transformer) -> None:
        self.net = net

    def encode(self, source: torch.Tensor) -> State:
        return self.net.encode(source)

    def step(self, target: torch.Tensor, source: State, past: State) -> tuple[torch.Tensor, State]:
        written = torch.cat([past["written"], target], 1) if past else target
        return self.net.step(written, source, {})[0], {"written": written}


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("kind", ["gru", "transformer"])
def test_the_cache_changes_nothing(kind: str, beam: int) -> None:
    """Beam search with kept keys finds what it finds when it computes everything again at each step."""
    net = network(kind, 40)
    source = torch.randint(SPECIAL, 40, (6, 12), generator=torch.Generator().manual_seed(1))
    source[3:, 7:] = PAD
    source[:3, 11], source[3:, 6] = EOS, EOS
    with torch.no_grad():
        cached, scores = beam_search(net, source, beam, 1.0, limits(source))
        plain, expected = beam_search(Uncached(net), source, beam, 1.0, limits(source))
    assert torch.equal(cached, plain)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


def test_limits_are_the_course_s() -> None:
    """1.2 times the source's pieces and 10 more."""
    assert limits(torch.tensor([[5, 5, 5, 5, EOS], [5, EOS, PAD, PAD, PAD]])).tolist() == [16, 12]


@pytest.mark.parametrize("kind", ["gru", "transformer"])
def test_padding_changes_nothing(kind: str) -> None:
    """A padded batch gives each sentence what it gets alone, and later pieces do not change what came before."""
    net = network(kind, 40)
    source = torch.tensor([[5, 9, 30, EOS], [7, EOS, PAD, PAD]])
    target = torch.tensor([[BOS, 8, 9, 10], [BOS, 11, PAD, PAD]])
    together = net(source, target)
    torch.testing.assert_close(together[0], net(source[:1], target[:1])[0])
    torch.testing.assert_close(together[1, :2], net(source[1:, :2], target[1:, :2])[0])
    torch.testing.assert_close(together[:, :2], net(source, target[:, :2]))


def test_positions_are_sines_and_cosines() -> None:
    """The formula of the paper, sines first; the products of two depend on their distance alone."""
    table = positions(50, 6)
    for place, pair in ((0, 0), (7, 1), (49, 2)):
        angle = place / 10000 ** (2 * pair / 6)
        assert table[place, pair].item() == pytest.approx(math.sin(angle), abs=1e-5)
        assert table[place, 3 + pair].item() == pytest.approx(math.cos(angle), abs=1e-5)
    assert (table[3] @ table[10]).item() == pytest.approx((table[33] @ table[40]).item(), abs=1e-4)


def test_smoothed_loss_is_its_formula() -> None:
    """(1 - e) times the cross-entropy and e times the mean over all pieces, summed over the real pieces."""
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 9), torch.tensor([[5, 7, EOS], [8, EOS, PAD]])
    logp = logits.log_softmax(2)
    real = [(b, t) for b in range(2) for t in range(3) if target[b, t] != PAD]
    expected = sum(-0.9 * logp[b, t, target[b, t]] - 0.1 * logp[b, t].mean() for b, t in real)
    torch.testing.assert_close(smoothed_loss(logits, target, 0.1), torch.as_tensor(expected))


def test_the_rate_rises_and_falls_with_the_inverse_square_root() -> None:
    """2 * d_model^-0.5 * min(step^-0.5, step * warmup^-1.5), the sample's formula, at its size; else it is constant."""
    config = LAB.resolve("medium", "course", {"lr": 2 * 256**-0.5 * 4000**-0.5})
    for step in (1, 500, 4000, 4001, 16000):
        assert rate(config, step) == pytest.approx(2 * 256**-0.5 * min(step**-0.5, step * 4000**-1.5))
    assert {rate(LAB.resolve("simple", "course"), step) for step in (1, 4000, 9999)} == {2e-3}


def test_own_words_replace_a_share_of_the_inputs() -> None:
    """What the model says at a place stands one place later; the first input and the padding stay."""
    net = network("transformer", 40)
    source, inputs = torch.tensor([[5, 6, EOS]]).repeat(200, 1), torch.tensor([[BOS, 8, 9, PAD]]).repeat(200, 1)
    guess = net(source[:1], inputs[:1]).argmax(2)[0]
    assert torch.equal(own_words(net, source, inputs, 1.0)[0], torch.tensor([BOS, guess[0], guess[1], PAD]))
    assert torch.equal(own_words(net, source, inputs, 0.0), inputs)
    torch.manual_seed(0)
    assert (own_words(net, source, inputs, 0.3) != inputs).float().mean().item() == pytest.approx(0.15, abs=0.03)


# --- training --------------------------------------------------------------------------------------------------------


def test_training_delivers_what_the_judge_takes(finished: Path, source: Path, data_dir: Path) -> None:
    """A line for each test sentence, in order, scored by BLEU against the answers; the report's figures beside it."""
    file = finished / "deliver/prediction.txt"
    lines = file.read_text().splitlines()
    assert LAB.check_submission(file) == []
    assert len(lines) == data.COUNTS["tiny"].test
    for name in ("gradient_norm.png", "positions.png"):
        assert (finished / "deliver" / name).stat().st_size > 5000
    answers = [data.clean_zh(line) for line in (source / data.ANSWERS).read_text().splitlines()]
    expected = sacrebleu.corpus_bleu([data.clean_zh(line) for line in lines], [answers], tokenize="zh").score
    scores = LAB.score(finished / "deliver", data_dir)
    assert scores["test/bleu"] == pytest.approx(expected)
    assert 0 < scores["test/trivial"] < 10


def test_the_delivered_lines_are_those_of_each_sentence_alone(finished: Path, data_dir: Path) -> None:
    """Batches in order of length put each translation on its own line."""
    model, pieces = LAB.load(finished), data.vocabulary(data_dir)
    lines = (finished / "deliver/prediction.txt").read_text().splitlines()
    for numbers, line in list(zip(Sentences(data_dir, "test_en").pieces, lines, strict=True))[:8]:
        alone = translate(model, [Batches([numbers], None, 1)[torch.tensor([0])]], 2, 1.0)
        assert data.text(pieces, [alone[0]]) == [line]


def test_the_best_mean_weights_are_kept(finished: Path, data_dir: Path, tmp_path: Path) -> None:
    """What a run ends with has the best validation BLEU it saw, computed again from its weights."""
    run = Run(tmp_path, data_dir, seed=3)
    order = torch.randperm(240, generator=torch.Generator().manual_seed(3))[:12].tolist()
    pairs = tuple([Sentences(data_dir, name).pieces[i] for i in order] for name in ("train_en", "train_zh"))
    best = json.loads((finished / "result.json").read_text())["metrics"]["best/value"]
    assert evaluate(LAB.load(finished), pairs, run, tokens=512, length_penalty=1.0) == pytest.approx(best)


def test_a_reference_scores_100(source: Path, data_dir: Path, tmp_path: Path) -> None:
    """The answers themselves, full-width forms and all, are a perfect submission."""
    shutil.copy(source / data.ANSWERS, tmp_path / "prediction.txt")
    assert LAB.score(tmp_path, data_dir)["test/bleu"] == pytest.approx(100)


@pytest.mark.parametrize("epochs", [1, 2])
def test_an_interrupted_run_ends_with_the_same_numbers(
    epochs: int, finished: Path, data_dir: Path, tmp_path: Path
) -> None:
    """Stopped before or after the back-translation and started again, a run ends as an undisturbed one."""
    (tmp_path / STOP).touch()
    for _ in range(epochs):
        with pytest.raises(Interrupted):
            LAB.fit(LAB.resolve("boss", "tiny"), Run(tmp_path, data_dir, seed=3))
    (tmp_path / STOP).unlink()
    LAB.fit(LAB.resolve("boss", "tiny"), Run(tmp_path, data_dir, seed=3))
    for name in ("weights.safetensors", "deliver/prediction.txt", back_translation.FILE, NORMS):
        assert (tmp_path / name).read_bytes() == (finished / name).read_bytes()


def test_back_translation_learns_from_the_chinese_alone(finished: Path, data_dir: Path, tmp_path: Path) -> None:
    """A tagged source for each chosen sentence of it, none twice, and other Chinese makes another model."""
    sources, chinese = back_translation.read(Run(finished, data_dir, seed=3))
    rows = load_file(finished / back_translation.FILE)["rows"].tolist()
    mono = Sentences(data_dir, "mono_zh").pieces
    assert len(set(rows)) == len(rows) == len(mono) == len(sources)
    assert all(numbers[0] == TAG and TAG not in numbers[1:] for numbers in sources)
    assert all(torch.equal(numbers, mono[row]) for numbers, row in zip(chinese, rows, strict=True))
    LAB.fit(LAB.resolve("boss", "tiny", {"synthetic": 0.5}), Run(tmp_path, data_dir, seed=3))
    assert len(load_file(tmp_path / back_translation.FILE)["rows"]) == 114
    steps = [len(json.loads((folder / NORMS).read_text())) for folder in (finished, tmp_path)]
    assert steps[0] > steps[1]


def test_two_workers_learn_what_one_learns(data_dir: Path, tmp_path: Path) -> None:
    """A few steps on the same global batches, made pairs among them: the ranks bit-equal, and one worker's weights to
    1e-5; and the same validation BLEU."""
    # Without dropout, which every worker draws for itself; with an even number of batches, all of them are used.
    fields = {"epochs": 1, "dropout": 0.0, "tokens": 900, "clip": 0.5, "synthetic": 0.3}
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
    """More workers than batches of a step: the message has both numbers."""
    run = Run(tmp_path, data_dir)
    run.world_size = 4
    with pytest.raises(BadInput, match="batch size 2 can't be split evenly between 4 workers"):
        run.loader(Batches(Sentences(data_dir, "test_en").pieces, None, 99), 2, train=True)


def test_a_sentence_can_be_learnt(data_dir: Path, tmp_path: Path) -> None:
    """Sampling its own words included, each architecture brings the loss down."""
    for architecture in ("gru", "transformer"):
        fields = {"architecture": architecture, "sampling": 0.3, "lr": 0.01, "warmup": 5, "epochs": 4}
        run = Run(tmp_path / architecture, data_dir)
        LAB.fit(LAB.resolve("medium", "tiny", fields), run, test=False)
        losses = [
            event["metrics"]["train/loss"]
            for event in map(json.loads, (run.folder / "events.jsonl").read_text().splitlines())
            if "train/loss" in event["metrics"]
        ]
        assert losses[-1] < losses[0] - 0.5


def test_the_trained_model_loads_and_predicts(finished: Path, data_dir: Path) -> None:
    """A batch of English gives a translation each, with an end."""
    inputs = LAB.example(data_dir)
    output = predict(LAB.load(finished), inputs)
    assert (inputs.dtype, len(inputs)) == (np.int64, 2)
    assert (output.dtype, len(output)) == (np.int64, 2)
    assert (output == EOS).sum(1).tolist() == [1, 1]


@pytest.mark.parametrize("preset", LAB.presets)
def test_course_size_takes_two_steps(preset: str) -> None:
    """Every preset builds at the course's size and moves twice on two samples."""
    model = LAB.network(LAB.resolve(preset, "course"))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    source, target = torch.tensor([[9, 99, EOS], [7999, EOS, PAD]]), torch.tensor([[BOS, 5, EOS], [BOS, EOS, PAD]])
    before = [parameter.clone() for parameter in model.parameters()]
    for _ in range(2):
        loss = smoothed_loss(model(source, target[:, :-1]), target[:, 1:], 0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss)
    assert not any(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_simple_at_course_size_has_the_sample_s_shape() -> None:
    """Embeddings of 256, a GRU of 512 units each way that reads, one of 1024 that writes, joint input and output."""
    net = LAB.network(LAB.resolve("simple", "course"))
    assert (net.source.embedding_dim, net.encoder.hidden_size, net.decoder.hidden_size) == (256, 512, 1024)
    assert net.encoder.bidirectional
    assert LAB.scale("simple", "course")["parameters"] == 11_251_968


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
    """Each fault of a submission file is a sentence with its line."""
    file = tmp_path / "prediction.txt"
    file.write_bytes(content)
    assert LAB.check_submission(file) == [message]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"schedule": "cosine"}, "field 'schedule' is 'cosine'"),
        ({"heads": 3}, "d_model 16 must be even and a multiple of heads 3"),
        ({"beam": 0}, "field 'beam' is 0"),
    ],
)
def test_a_wrong_field_is_named(overrides: dict[str, Any], message: str) -> None:
    """The message has the field, its value and what would be right."""
    with pytest.raises(BadInput, match=message):
        LAB.resolve("strong", "tiny", overrides)


def test_every_sample_of_the_space_is_valid() -> None:
    """Whatever is sampled, the heads divide the channels."""
    space = LAB.space()
    for d_model, heads in itertools.product(space["d_model"]["values"], space["heads"]["values"]):
        LAB.config(architecture="transformer", d_model=d_model, heads=heads)
