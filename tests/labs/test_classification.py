"""Promises of the phoneme lab: its data format, its data sets and networks, its training and its submission."""

import csv
import itertools
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labs.classification import data, generate, viterbi
from labs.classification.frames import PAD, Corpus, Frames, Utterances, split
from labs.classification.lesson import LAB, RecurrentNet, predict
from labs.classification.recurrent import Recurrent
from labs.core import shards
from labs.core.errors import BadInput
from labs.core.run import Run
from pipelines.spec import SPECS, read_spec
from tests.labs.folders import fault_of_submission, one_fault
from tests.labs.store import Store
from tests.labs.workers import last_metrics, train_on


@pytest.fixture(scope="module", params=["strong", "boss"])
def finished(request: pytest.FixtureRequest, store: Store) -> Path:
    return store.finished("classification", request.param)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder in the course's format with three training and two test utterances of 5 to 9 frames."""
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


def test_the_folder_itself_is_taken_as_well_as_its_parent(source: Path) -> None:
    """The archive's own top folder may be left out."""
    assert data.check(source / "libriphone") == []


def test_silence_is_the_most_frequent_class_and_all_classes_occur(data_dir: Path) -> None:
    """As in the course class 0 has about a sixth of the frames; every class occurs."""
    labels = shards.ArrowDataset(data_dir, "train", ("label",)).columns[0].all()
    frequencies = labels.bincount(minlength=41) / len(labels)
    assert frequencies.argmax() == 0
    assert 0.1 < frequencies[0] < 0.25
    assert frequencies.min() > 0


def test_a_frame_has_the_class_at_its_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    """With segments of known length, the class changes where a frame's middle passes into the next segment."""
    segments = [(3, np.ones(4000, np.float32)), (7, np.ones(2000, np.float32)), (0, np.ones(4000, np.float32))]
    monkeypatch.setattr(generate, "_segments", lambda *_: segments)
    speaker = generate.Speaker(generate.espeak.Voice(), rate=20000)  # 0.2 s, 0.1 s and 0.2 s
    _, labels = generate.utterance(random.Random(0), speaker)
    middles = [0.01 * frame + 0.0125 for frame in range(len(labels))]
    assert labels.tolist() == [3 if middle < 0.2 else 7 if middle < 0.3 else 0 for middle in middles]


def _save(path: str, content: object) -> object:
    return lambda root: torch.save(content, root / path)


def _replace(name: str, old: str, new: str) -> object:
    def change(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new, 1))

    return change


def _infinite(root: Path) -> None:
    features = torch.zeros(9, 39)
    features[4, 7] = torch.inf
    torch.save(features, root / "feat/train/84-121550-0001.pt")


ONE = "feat/train/84-121550-0001.pt"
FAULTS = {
    "no file": (lambda d: (d / "test_split.txt").unlink(), "libriphone/test_split.txt is missing"),
    "no folder": (lambda d: shutil.rmtree(d / "feat/test"), "libriphone/feat/test is missing"),
    "no ids": (
        lambda d: (d / "test_split.txt").write_text(""),
        "test_split.txt is empty: expected one utterance id per line",
    ),
    "id": (
        _replace("train_split.txt", "84-121550-0001", "../secret"),
        "train_split.txt line 2: expected an utterance's id, the name of its file in feat/train/, found '../secret'",
    ),
    "id twice": (
        _replace("train_split.txt", "84-121550-0002", "84-121550-0000"),
        "train_split.txt line 3: 84-121550-0000 occurs twice, first on line 1",
    ),
    "no features": (
        lambda d: (d / ONE).unlink(),
        f"{ONE} is missing, but train_split.txt line 2 lists it",
    ),
    "unreadable": (
        lambda d: (d / ONE).write_bytes((d / ONE).read_bytes()[:300]),
        f"{ONE}: expected a tensor that torch.save wrote, found a file that torch can't read (UnpicklingError)",
    ),
    "pickle": (
        _save(ONE, Path("anything")),
        f"{ONE}: expected a tensor that torch.save wrote, found a file that torch can't read (UnpicklingError)",
    ),
    "no tensor": (_save(ONE, [1, 2]), f"{ONE}: expected a tensor, found a list"),
    "shape": (_save(ONE, torch.zeros(39, 9)), f"{ONE}: expected the shape (frames, 39), found (39, 9)"),
    "no frames": (_save(ONE, torch.zeros(0, 39)), f"{ONE}: expected the shape (frames, 39), found (0, 39)"),
    "type": (_save(ONE, torch.zeros(9, 39).double()), f"{ONE}: expected float32, found float64"),
    "infinite": (_infinite, f"{ONE}: expected finite numbers, found inf in frame 4"),
    "no labels": (
        _replace("train_labels.txt", "84-121550-0001 ", "84-121550-0009 "),
        "train_labels.txt: no line for 84-121550-0001, which train_split.txt lists",
    ),
    "labels twice": (
        lambda d: (d / "train_labels.txt").write_text(
            (d / "train_labels.txt").read_text() + "84-121550-0000 1 2 3 4 5"
        ),
        "train_labels.txt line 4: 84-121550-0000 occurs twice, first on line 1",
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
def test_check_reports_the_fault(fault: str, written: Path, tmp_path: Path) -> None:
    """One sentence per fault, with the file, what was found and what was expected."""
    assert data.check(written.parent) == []
    change, message = FAULTS[fault]
    assert one_fault(data.check, written, tmp_path / "changed/libriphone", change).endswith(message)  # type: ignore[arg-type]


def test_labels_may_be_in_any_order_and_packing_is_in_batches(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With small record batches, and labels in another order than the utterances, the packed rows are the same."""
    monkeypatch.setattr(data, "RECORD", 6)
    lines = (written / "train_labels.txt").read_text().splitlines()
    (written / "train_labels.txt").write_text("\n".join(lines[::-1]))
    (tmp_path / "packed").mkdir()
    manifest = data.prepare(written, tmp_path / "packed", "folder")
    assert manifest["splits"] == {"train": 21, "train_utterances": 3, "test": 14, "test_utterances": 2}
    corpus = Corpus(tmp_path / "packed", "train", torch.device("cpu"))
    frames = [torch.load(written / f"feat/train/84-121550-{number:04d}.pt", weights_only=True) for number in range(3)]
    assert torch.equal(corpus.frames, torch.cat(frames))
    assert corpus.labels.tolist() == [*range(5), *range(9), *range(7)]
    assert corpus.lengths.tolist() == [5, 9, 7]
    assert corpus.first.tolist() == [0, 5, 14]


# --- data sets and networks ------------------------------------------------------------------------------------------


def neighbours(features: torch.Tensor, context: int) -> torch.Tensor:
    """The direct implementation: each frame's neighbours concatenated, the first and the last frame repeated."""
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
    """Against the direct implementation: frames of two of three utterances, also with a context longer than these."""
    utterances = torch.tensor([0, 2])
    frames = Frames(corpus, utterances, context)
    parts = corpus.frames.split(corpus.lengths.tolist())
    expected = torch.cat([neighbours(parts[number], context) for number in utterances])
    order = torch.randperm(len(frames))
    inputs, labels = frames[order]
    assert len(frames) == 12
    assert torch.equal(inputs, expected[order])
    assert torch.equal(labels, torch.cat([corpus.labels[:5], corpus.labels[14:]])[order])


def test_utterances_are_padded_to_the_longest(corpus: Corpus) -> None:
    """Each has its own windows and labels; the labels after its end are PAD."""
    inputs, lengths, labels = Utterances(corpus, torch.tensor([1, 2]), 3)[torch.tensor([1, 0])]
    parts = corpus.frames.split(corpus.lengths.tolist())
    assert inputs.shape == (2, 9, 3 * 39)
    assert lengths.tolist() == [7, 9]
    assert torch.equal(inputs[0, :7], neighbours(parts[2], 3))
    assert torch.equal(inputs[1], neighbours(parts[1], 3))
    assert labels.tolist() == [[*range(7), PAD, PAD], [*range(9)]]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_layer_equals_torchs_bidirectional_layer(cell: str) -> None:
    """With the same weights, on sequences without padding."""
    ours = Recurrent(cell, 5, 4, 1, 0.0, True)
    theirs = (nn.LSTM if cell == "lstm" else nn.GRU)(5, 4, batch_first=True, bidirectional=True)
    forwards, backwards = (layer.state_dict() for layer in ours.layers[0])  # type: ignore[union-attr]
    theirs.load_state_dict(forwards | {f"{name}_reverse": tensor for name, tensor in backwards.items()})
    x = torch.randn(3, 6, 5)
    torch.testing.assert_close(ours(x, torch.full((3,), 6)), theirs(x)[0])


def test_a_padded_batch_gives_the_outputs_of_each_utterance_alone() -> None:
    """Outputs, and the gradient of the masked loss, depend neither on the other utterances nor on the padding."""
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
def test_viterbi_decoding_finds_the_best_of_all_paths(penalty: float) -> None:
    """Against all paths of 3 classes over 5 steps; shorter sequences in the same batch get their own best path."""
    scores = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).log_softmax(2)
    lengths = torch.tensor([5, 5, 3, 1])
    found = viterbi.decode(scores, lengths, penalty)
    for sequence, length, path in zip(scores, lengths.tolist(), found, strict=True):

        def value(path: tuple[int, ...], sequence: torch.Tensor = sequence) -> float:
            changes = sum(a != b for a, b in itertools.pairwise(path))
            return sum(float(sequence[t, c]) for t, c in enumerate(path)) - penalty * changes

        assert tuple(path[:length].tolist()) == max(itertools.product(range(3), repeat=length), key=value)


# --- training --------------------------------------------------------------------------------------------------------


def test_training_delivers_a_valid_submission(finished: Path, source: Path, data_dir: Path) -> None:
    """The submission has a line for each test frame, in the order of the split file; the figure exists."""
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


def test_the_trained_model_loads_and_predicts(finished: Path, data_dir: Path) -> None:
    """A batch of utterances gets one class per frame; for the first test utterance they are those of the submission."""
    model, examples = LAB.load(finished), LAB.example(data_dir)
    assert (examples.shape, examples.dtype) == ((2, 50, 39), np.float32)
    assert predict(model, examples).shape == (2, 50)
    corpus = Corpus(data_dir, "test", torch.device("cpu"))
    length = int(corpus.lengths[0])
    with (finished / "deliver/prediction.csv").open(newline="") as handle:
        delivered = [int(row[1]) for row in list(csv.reader(handle))[1 : length + 1]]
    assert predict(model, corpus.frames[None, :length].numpy())[0].tolist() == delivered


def test_the_samples_network_beats_the_trivial_predictor(data_dir: Path, tmp_path: Path) -> None:
    """After two passes over 30 utterances it beats the most frequent class, with Viterbi decoding."""
    config = LAB.resolve("simple", "tiny", {"transition_penalty": 1.0})
    run = Run(tmp_path, data_dir)
    LAB.fit(config, run)
    scores = LAB.score(tmp_path / "deliver", data_dir)
    assert scores["test/accuracy"] > scores["test/trivial"] + 0.02


def test_the_reports_two_networks_have_equally_many_parameters() -> None:
    """Narrow and deep, wide and shallow: within 1 % of each other."""
    _, nodes = read_spec(SPECS / "classification-report.yaml")
    found = {node.name: node.config for node in nodes}
    narrow, wide = (sum(p.numel() for p in LAB.network(found[n]).parameters()) for n in ("narrow-deep", "wide-shallow"))
    assert narrow == pytest.approx(wide, rel=0.01)
    assert {c.dropout for n, c in found.items() if n.startswith("dropout")} == {0.25, 0.5, 0.75}  # type: ignore[attr-defined]


def test_the_split_has_the_courses_counts_of_utterances() -> None:
    """3,428 training and 858 validation utterances, disjoint; another seed gives another split."""
    training, held_out = split(4286, 0.2, 0)
    assert (len(training), len(held_out)) == (3428, 858)
    assert torch.equal(torch.cat([training, held_out]).sort().values, torch.arange(4286))
    assert not torch.equal(split(4286, 0.2, 1)[1], held_out)


def test_an_even_context_is_rejected() -> None:
    """The message has the field, the value and what was expected."""
    with pytest.raises(BadInput, match="field 'context': 4 frames have no middle frame; expected an odd number"):
        LAB.resolve("simple", "tiny", {"context": 4})


def test_two_workers_train_the_same_weights_as_one(data_dir: Path, tmp_path: Path) -> None:
    """Three steps without dropout, where the workers' batches differ in their number of frames: both ranks have equal
    weights, within 1e-5 of one worker's, and the same accuracy."""
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
def test_an_invalid_submission_is_reported(text: str, message: str, tmp_path: Path) -> None:
    """Each fault of a submission file is a sentence with its line."""
    assert message in fault_of_submission(LAB, tmp_path, text)
