"""Promises of the phoneme lab: its data format, its windows and sequences, its training and its submission."""

import csv
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labs.classification import data
from labs.classification.frames import PAD, Corpus, Frames, Utterances
from labs.classification.lesson import LAB, RecurrentNet, predict, split
from labs.classification.recurrent import Recurrent
from labs.classification.viterbi import smooth
from labs.core import shards
from labs.core.errors import BadInput
from labs.core.run import STOP, Interrupted, Run
from pipelines.spec import SPECS, read_spec
from tests.labs.folders import contents, made
from tests.labs.workers import last_metrics, train_on


@pytest.fixture(scope="module", params=["strong", "boss"])
def finished(request: pytest.FixtureRequest, data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param) / request.param
    LAB.fit(LAB.resolve(request.param, "tiny"), Run(folder, data_dir, seed=3))
    return folder


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder of the format with three utterances to train and two to test, of 5 to 9 frames."""
    return write(tmp_path / "libriphone", [5, 9, 7], [6, 8])


def write(root: Path, train: list[int], test: list[int]) -> Path:
    generator = torch.Generator().manual_seed(0)
    lines = []
    for name, lengths in (("train", train), ("test", test)):
        (root / "feat" / name).mkdir(parents=True)
        ids = [f"84-121550-{number:04d}" for number in range(len(lengths))]
        for utterance, frames in zip(ids, lengths, strict=True):
            torch.save(torch.randn(frames, 39, generator=generator), root / f"feat/{name}/{utterance}.pt")
            if name == "train":
                lines.append(f"{utterance} {' '.join(str(frame % 41) for frame in range(frames))}")
        (root / f"{name}_split.txt").write_text("\n".join(ids))
    (root / "train_labels.txt").write_text("\n".join(lines) + "\n")
    return root


# --- data ------------------------------------------------------------------------------------------------------------


def test_make_is_deterministic(source: Path, tmp_path: Path) -> None:
    """The same seed writes the same bytes, another seed others."""
    assert contents(made(data, tmp_path / "same")) == contents(source)
    assert contents(made(data, tmp_path / "other", seed=1)).keys() != contents(source).keys()


def test_check_accepts_what_make_writes(source: Path) -> None:
    """Spoken data have the course's format, taken from the folder itself or from the one that holds it."""
    assert data.check(source) == []
    assert data.check(source / "libriphone") == []


def test_silence_is_the_most_frequent_class_and_all_are_heard(data_dir: Path) -> None:
    """As in the course class 0 has about a sixth of the frames; every class occurs."""
    labels = shards.ArrowDataset(data_dir, "train", ("label",)).columns[0].all()
    shares = labels.bincount(minlength=41) / len(labels)
    assert shares.argmax() == 0
    assert 0.1 < shares[0] < 0.25
    assert shares.min() > 0


def test_a_class_is_what_is_said_in_the_middle_of_its_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """With pieces of a known length, frames change their class where their middles pass from one to the next."""
    pieces = [(3, np.ones(4000, np.float32)), (7, np.ones(2000, np.float32)), (0, np.ones(4000, np.float32))]
    monkeypatch.setattr(data, "_pieces", lambda *_: pieces)
    speaker = data.Speaker(data.espeak.Voice(), rate=20000)  # 0.2 s, 0.1 s and 0.2 s
    _, labels = data.utterance(data.random.Random(0), speaker)
    middles = [0.01 * frame + 0.0125 for frame in range(len(labels))]
    assert labels.tolist() == [3 if middle < 0.2 else 7 if middle < 0.3 else 0 for middle in middles]


def _save(path: str, content: object) -> object:
    return lambda root: torch.save(content, root / path)


def _replace(name: str, old: str, new: str) -> object:
    def spoil(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new, 1))

    return spoil


def _huge(root: Path) -> None:
    features = torch.zeros(9, 39)
    features[4, 7] = torch.inf
    torch.save(features, root / "feat/train/84-121550-0001.pt")


ONE = "feat/train/84-121550-0001.pt"
FAULTS = {
    "no file": (lambda d: (d / "test_split.txt").unlink(), "libriphone/test_split.txt is missing"),
    "no folder": (lambda d: shutil.rmtree(d / "feat/test"), "libriphone/feat/test is missing"),
    "no ids": (
        lambda d: (d / "test_split.txt").write_text(""),
        "test_split.txt is empty: expected an utterance id a line",
    ),
    "id": (
        _replace("train_split.txt", "84-121550-0001", "../secret"),
        "train_split.txt line 2: expected an id as speaker-chapter-index, found '../secret'",
    ),
    "id twice": (
        _replace("train_split.txt", "84-121550-0002", "84-121550-0000"),
        "train_split.txt line 3: 84-121550-0000 stands twice, first on line 1",
    ),
    "no features": (
        lambda d: (d / ONE).unlink(),
        f"{ONE} is missing, but train_split.txt line 2 names it",
    ),
    "unreadable": (
        lambda d: (d / ONE).write_bytes((d / ONE).read_bytes()[:300]),
        f"{ONE}: expected a tensor that torch.save wrote, found a file that torch can't read (RuntimeError)",
    ),
    "pickle": (
        _save(ONE, Path("anything")),
        f"{ONE}: expected a tensor that torch.save wrote, found a file that torch can't read (UnpicklingError)",
    ),
    "no tensor": (_save(ONE, [1, 2]), f"{ONE}: expected a tensor, found a list"),
    "shape": (_save(ONE, torch.zeros(39, 9)), f"{ONE}: expected the shape (frames, 39), found (39, 9)"),
    "no frames": (_save(ONE, torch.zeros(0, 39)), f"{ONE}: expected the shape (frames, 39), found (0, 39)"),
    "type": (_save(ONE, torch.zeros(9, 39).double()), f"{ONE}: expected float32, found float64"),
    "infinite": (_huge, f"{ONE}: expected finite numbers, found inf in frame 4"),
    "no labels": (
        _replace("train_labels.txt", "84-121550-0001 ", "84-121550-0009 "),
        "train_labels.txt: no line for 84-121550-0001, which train_split.txt names",
    ),
    "labels twice": (
        lambda d: (d / "train_labels.txt").write_text(
            (d / "train_labels.txt").read_text() + "84-121550-0000 1 2 3 4 5"
        ),
        "train_labels.txt line 4: 84-121550-0000 stands twice, first on line 1",
    ),
    "too few labels": (
        _replace("train_labels.txt", "84-121550-0001 0 1 2", "84-121550-0001 0 1"),
        f"train_labels.txt line 2: found 8 labels, expected 9, as many as {ONE} has frames",
    ),
    "unknown class": (
        _replace("train_labels.txt", "84-121550-0001 0 1 2", "84-121550-0001 0 1 41"),
        "train_labels.txt line 2: found label '41' at frame 2, expected 0 to 40",
    ),
    "text": (
        _replace("train_labels.txt", "84-121550-0001 0", "84-121550-0001 zero"),
        "train_labels.txt line 2: found label 'zero' at frame 0, expected 0 to 40",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_names_the_fault(fault: str, written: Path) -> None:
    """One sentence per fault, with the file, what was found and what was expected."""
    assert data.check(written.parent) == []
    spoil, message = FAULTS[fault]
    spoil(written)  # type: ignore[operator]
    faults = data.check(written.parent)
    assert len(faults) == 1
    assert faults[0].endswith(message)


def test_labels_are_found_in_any_order_and_packing_streams(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Record batches of few frames, and labels in another order than the utterances, pack to the same rows."""
    monkeypatch.setattr(data, "RECORD", 6)
    lines = (written / "train_labels.txt").read_text().splitlines()
    (written / "train_labels.txt").write_text("\n".join(lines[::-1]))
    (tmp_path / "packed").mkdir()
    manifest = data.prepare(written, tmp_path / "packed", "folder")
    assert manifest["splits"] == {"train": 21, "train_utterances": 3, "test": 14, "test_utterances": 2}
    corpus = Corpus(tmp_path / "packed", "train", torch.device("cpu"))
    whole = [torch.load(written / f"feat/train/84-121550-{number:04d}.pt", weights_only=True) for number in range(3)]
    assert torch.equal(corpus.frames, torch.cat(whole))
    assert corpus.labels.tolist() == [*range(5), *range(9), *range(7)]
    assert corpus.lengths.tolist() == [5, 9, 7]
    assert corpus.first.tolist() == [0, 5, 14]


# --- windows and sequences -------------------------------------------------------------------------------------------


def neighbours(features: torch.Tensor, context: int) -> torch.Tensor:
    """The slow way: for each frame its neighbours side by side, the first and the last frame repeated."""
    half = context // 2
    padded = [features[0]] * half + list(features) + [features[-1]] * half
    return torch.stack([torch.cat(padded[frame : frame + context]) for frame in range(len(features))])


@pytest.fixture
def corpus(written: Path, tmp_path: Path) -> Corpus:
    (tmp_path / "packed").mkdir()
    data.prepare(written, tmp_path / "packed", "folder")
    return Corpus(tmp_path / "packed", "train", torch.device("cpu"))


@pytest.mark.parametrize("context", [1, 3, 11, 25])
def test_windows_are_the_neighbours_within_an_utterance(context: int, corpus: Corpus) -> None:
    """Frames of two of three utterances, in any order, against brute force, also with more context than utterance."""
    chosen = torch.tensor([0, 2])
    frames = Frames(corpus, chosen, context)
    parts = corpus.frames.split(corpus.lengths.tolist())
    expected = torch.cat([neighbours(parts[number], context) for number in chosen])
    order = torch.randperm(len(frames))
    inputs, labels = frames[order]
    assert len(frames) == 12
    assert torch.equal(inputs, expected[order])
    assert torch.equal(labels, torch.cat([corpus.labels[:5], corpus.labels[14:]])[order])


def test_utterances_come_side_by_side_with_marked_ends(corpus: Corpus) -> None:
    """Each has its own windows and labels; after its end labels are PAD."""
    inputs, lengths, labels = Utterances(corpus, torch.tensor([1, 2]), 3)[torch.tensor([1, 0])]
    parts = corpus.frames.split(corpus.lengths.tolist())
    assert inputs.shape == (2, 9, 3 * 39)
    assert lengths.tolist() == [7, 9]
    assert torch.equal(inputs[0, :7], neighbours(parts[2], 3))
    assert torch.equal(inputs[1], neighbours(parts[1], 3))
    assert labels.tolist() == [[*range(7), PAD, PAD], [*range(9)]]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_layer_is_torchs_own_bidirectional_one(cell: str) -> None:
    """With the same weights, on sequences that fill their batch."""
    ours = Recurrent(cell, 5, 4, 1, 0.0, True)
    theirs = (nn.LSTM if cell == "lstm" else nn.GRU)(5, 4, batch_first=True, bidirectional=True)
    forwards, backwards = (layer.state_dict() for layer in ours.layers[0])  # type: ignore[union-attr]
    theirs.load_state_dict(forwards | {f"{name}_reverse": tensor for name, tensor in backwards.items()})
    x = torch.randn(3, 6, 5)
    torch.testing.assert_close(ours(x, torch.full((3,), 6)), theirs(x)[0])


def test_a_batch_of_utterances_is_each_utterance_alone() -> None:
    """Outputs, and the gradient of the masked loss, do not depend on the company or on what fills the batch."""
    torch.manual_seed(0)
    config = LAB.resolve("boss", "tiny", {"context": 1, "layers": 2, "dropout": 0.0})
    net = RecurrentNet(config)  # type: ignore[arg-type]
    inputs, lengths = torch.randn(3, 9, 39), torch.tensor([9, 4, 6])
    labels = torch.randint(0, 41, (3, 9)).masked_fill(torch.arange(9) >= lengths[:, None], PAD)
    together = net(inputs, lengths)
    F.cross_entropy(together.flatten(0, 1), labels.flatten(), ignore_index=PAD, reduction="sum").backward()
    gradients = [parameter.grad.clone() for parameter in net.parameters()]
    net.zero_grad()
    for number, length in enumerate(lengths.tolist()):
        alone = net(inputs[number : number + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(together[number, :length], alone[0])
        F.cross_entropy(alone[0], labels[number, :length], reduction="sum").backward()
    for gradient, parameter in zip(gradients, net.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("penalty", [0.0, 0.4, 1.5, 50.0])
def test_smoothing_finds_the_best_of_all_paths(penalty: float) -> None:
    """Against every path of 3 classes over 5 steps; a shorter sequence in the same batch gets its own best path."""
    scores = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).log_softmax(2)
    lengths = torch.tensor([5, 5, 3, 1])
    found = smooth(scores, lengths, penalty)
    for sequence, length, path in zip(scores, lengths.tolist(), found, strict=True):

        def value(guess: tuple[int, ...], sequence: torch.Tensor = sequence) -> float:
            changes = sum(a != b for a, b in itertools.pairwise(guess))
            return sum(float(sequence[t, c]) for t, c in enumerate(guess)) - penalty * changes

        assert tuple(path[:length].tolist()) == max(itertools.product(range(3), repeat=length), key=value)


# --- training --------------------------------------------------------------------------------------------------------


def test_training_delivers_what_the_judge_takes(finished: Path, source: Path, data_dir: Path) -> None:
    """The submission has a valid line for each test frame, in the order of the split file, and the figure is there."""
    file = finished / "deliver/prediction.csv"
    with file.open(newline="") as handle:
        rows = list(csv.reader(handle))[1:]
    assert LAB.check_submission(file) == []
    ids = (source / "libriphone/test_split.txt").read_text().split("\n")
    lines = dict(line.split(" ", 1) for line in (source / data.ANSWERS).read_text().splitlines())
    truth = [label for utterance in ids for label in lines[utterance].split()]
    assert [row[0] for row in rows] == [str(number) for number in range(len(truth))]
    scores = LAB.score(finished / "deliver", data_dir)
    assert scores["test/accuracy"] == pytest.approx(np.mean(np.array(rows)[:, 1] == truth))
    assert scores["test/trivial"] == pytest.approx(np.mean([label == "0" for label in truth]))
    assert (finished / "deliver/accuracy.png").stat().st_size > 5000


def test_without_answers_nothing_is_scored(finished: Path, tmp_path: Path) -> None:
    """The course keeps its answers to itself."""
    assert LAB.score(finished / "deliver", tmp_path) == {}


def test_an_interrupted_run_ends_with_the_same_numbers(finished: Path, data_dir: Path, tmp_path: Path) -> None:
    """Stopped after the first epoch and started again, a run has the weights and predictions of an undisturbed one."""
    config = LAB.resolve(finished.name, "tiny")
    (tmp_path / STOP).touch()
    with pytest.raises(Interrupted):
        LAB.fit(config, Run(tmp_path, data_dir, seed=3))
    (tmp_path / STOP).unlink()
    LAB.fit(config, Run(tmp_path, data_dir, seed=3))
    for name in ("weights.safetensors", "deliver/prediction.csv"):
        assert (tmp_path / name).read_bytes() == (finished / name).read_bytes()


def test_the_trained_model_loads_and_predicts(finished: Path, data_dir: Path) -> None:
    """A batch of utterances gets a class a frame: for the first one of the test set, those that were delivered."""
    model, examples = LAB.load(finished), LAB.example(data_dir)
    assert (examples.shape, examples.dtype) == ((2, 50, 39), np.float32)
    assert predict(model, examples).shape == (2, 50)
    corpus = Corpus(data_dir, "test", torch.device("cpu"))
    length = int(corpus.lengths[0])
    with (finished / "deliver/prediction.csv").open(newline="") as handle:
        delivered = [int(row[1]) for row in list(csv.reader(handle))[1 : length + 1]]
    assert predict(model, corpus.frames[None, :length].numpy())[0].tolist() == delivered


def test_every_rung_learns_something(data_dir: Path, tmp_path: Path) -> None:
    """Two passes over 30 utterances already beat the most frequent class in the sample's network, smoothed too."""
    config = LAB.resolve("simple", "tiny", {"smoothing": 1.0})
    run = Run(tmp_path, data_dir)
    LAB.fit(config, run)
    scores = LAB.score(tmp_path / "deliver", data_dir)
    assert scores["test/accuracy"] > scores["test/trivial"] + 0.02


@pytest.mark.parametrize("preset", LAB.presets)
def test_course_size_takes_two_steps(preset: str) -> None:
    """Every preset builds at the course's size and moves twice on two short utterances."""
    config = LAB.resolve(preset, "course")
    model = LAB.network(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    inputs, lengths = torch.randn(2, 8, config.context * 39), torch.tensor([8, 5])  # type: ignore[attr-defined]
    labels = torch.randint(0, 41, (2, 8)).masked_fill(torch.arange(8) >= lengths[:, None], PAD)
    before = next(model.parameters()).clone()
    for _ in range(2):
        loss = F.cross_entropy(model(inputs, lengths).flatten(0, 1), labels.flatten(), ignore_index=PAD)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss)
    assert not torch.equal(before, next(model.parameters()))


def test_simple_at_course_size_is_the_sample() -> None:
    """39 -> 256 -> 256 -> 41 with biases."""
    assert LAB.scale("simple", "course")["parameters"] == 40 * 256 + 257 * 256 + 257 * 41 == 86_569


def test_the_reports_two_shapes_have_equally_many_parameters() -> None:
    """Narrow and deep against wide and shallow: within 1 % of each other."""
    _, nodes = read_spec(SPECS / "classification-report.yaml")
    found = {node.name: node.config for node in nodes}
    narrow, wide = (sum(p.numel() for p in LAB.network(found[n]).parameters()) for n in ("narrow-deep", "wide-shallow"))
    assert narrow == pytest.approx(wide, rel=0.01)
    assert {c.dropout for n, c in found.items() if n.startswith("dropout")} == {0.25, 0.5, 0.75}  # type: ignore[attr-defined]


def test_the_split_is_by_utterance_and_the_courses_counts() -> None:
    """3,428 utterances train and 858 validate, none does both, another seed takes others."""
    training, held_out = split(4286, 0.2, 0)
    assert (len(training), len(held_out)) == (3428, 858)
    assert torch.equal(torch.cat([training, held_out]).sort().values, torch.arange(4286))
    assert not torch.equal(split(4286, 0.2, 1)[1], held_out)


def test_an_even_context_is_refused() -> None:
    """The message has the field, the value and what is right."""
    with pytest.raises(BadInput, match="field 'context': 4 frames have no middle; expected an odd number"):
        LAB.resolve("simple", "tiny", {"context": 4})


def test_two_workers_learn_what_one_learns(data_dir: Path, tmp_path: Path) -> None:
    """Three steps without dropout, where workers' utterances have unevenly many frames: the ranks bit-equal, and one
    worker's weights to 1e-5; the same accuracy to the last frame."""
    config = LAB.resolve("boss", "tiny", {"epochs": 1, "dropout": 0.0, "batch_utterances": 8})
    (one,) = train_on(1, "classification", config, data_dir, tmp_path / "one")
    two = train_on(2, "classification", config, data_dir, tmp_path / "two")
    assert all(torch.equal(two[0][name], two[1][name]) for name in one)
    for name, expected in one.items():
        torch.testing.assert_close(two[0][name], expected, atol=1e-5, rtol=1e-4)
    assert last_metrics(tmp_path / "two") == pytest.approx(last_metrics(tmp_path / "one"), rel=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\n0,3\n", "line 1: the header must be 'Id,Class'"),
        ("Id,Class\n1,3\n", "line 2: expected '0,<class>', found '1,3'"),
        ("Id,Class\n0,41\n", "line 2: '41' is not a class; classes are 0 to 40"),
        ("Id,Class\n", "has no predictions"),
    ],
)
def test_a_bad_submission_is_named(text: str, message: str, tmp_path: Path) -> None:
    """Each fault of a submission file is a sentence with its line."""
    file = tmp_path / "prediction.csv"
    file.write_text(text)
    assert len(LAB.check_submission(file)) == 1
    assert message in LAB.check_submission(file)[0]
