"""Promises of the self-attention lab: its data format, its networks, its training and its submission."""

import csv
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labs.core import shards
from labs.core.errors import BadInput
from labs.core.loader import hold_out
from labs.core.run import Run
from labs.self_attention import attention, crops, data, figures
from labs.self_attention.am_softmax import am_softmax
from labs.self_attention.attention import EncoderLayer, Kind, SelfAttention
from labs.self_attention.conformer import Convolution, FrameNorm, Subsampling
from labs.self_attention.figures import HEADER as COSTS
from labs.self_attention.figures import measure
from labs.self_attention.lesson import LAB, SpeakerNet, evaluate, predict
from labs.self_attention.pooling import AttentivePooling, MeanPooling
from labs.self_attention.spec_augment import spec_augment
from tests.labs.folders import fault_of_submission, one_fault
from tests.labs.store import Store
from tests.labs.workers import last_metrics, train_on

KINDS = get_args(Kind)


@pytest.fixture(scope="module")
def finished(store: Store) -> Path:
    return store.finished("self-attention", "boss")


# --- data ------------------------------------------------------------------------------------------------------------


def test_made_utterances_are_as_many_as_stated(source: Path) -> None:
    """Of training set and test set together, by so many speakers."""
    counts = data.COUNTS["tiny"]
    assert len(list(source.glob("uttr-*.pt"))) == counts.train + counts.test
    assert len(json.loads((source / data.MAPPING).read_text())["speaker2id"]) == counts.speakers


def test_names_and_order_of_the_test_set_reveal_no_speaker(source: Path) -> None:
    """The test list is sorted by file names, which are hashes, so that it is not grouped by speaker."""
    entries = json.loads((source / data.TESTDATA).read_text())["utterances"]
    names = [entry["feature_path"] for entry in entries]
    with (source / data.ANSWERS).open(newline="") as file:
        answers = list(csv.reader(file))[1:]
    assert [name for name, _ in answers] == names == sorted(names)
    assert [speaker for _, speaker in answers] != sorted(speaker for _, speaker in answers)


@pytest.mark.parametrize("size", data.COUNTS)
def test_utterances_are_distributed_over_the_speakers(size: str) -> None:
    """Every speaker has some utterances, and their number is as stated."""
    counts = data.COUNTS[size]
    found = data._distribute(random.Random(0), counts.train, counts.speakers, counts.spread)
    assert sum(found) == counts.train
    assert min(found) >= (80 if size == "course" else 8)
    assert max(found) <= 111


def edit(folder: Path, name: str, change: Callable[[Any], None]) -> None:
    document = json.loads((folder / name).read_text())
    change(document)
    (folder / name).write_text(json.dumps(document))


def first(folder: Path) -> tuple[str, dict[str, Any]]:
    """Name of a speaker and the first of its utterances."""
    name, entries = next(iter(json.loads((folder / data.METADATA).read_text())["speakers"].items()))
    return name, entries[0]


def resave(folder: Path, change: Callable[[torch.Tensor], Any]) -> None:
    path = folder / first(folder)[1]["feature_path"]
    torch.save(change(torch.load(path, weights_only=True)), path)


def _nan(frames: torch.Tensor) -> torch.Tensor:
    frames[7, 3] = math.nan
    return frames


def _shorten(folder: Path) -> None:
    def keep_one(metadata: dict[str, Any]) -> None:
        name, entries = next(iter(metadata["speakers"].items()))
        metadata["speakers"] = {name: entries[:1]}

    edit(folder, data.METADATA, keep_one)


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no file": (lambda d: (d / "mapping.json").unlink(), "mapping.json is missing"),
    "no JSON": (
        lambda d: (d / "testdata.json").write_text('{"n_mels": 40,'),
        "testdata.json: expected JSON in UTF-8, found a fault: Expecting property name enclosed in double quotes",
    ),
    "no key": (
        lambda d: edit(d, "metadata.json", lambda m: m.pop("n_mels")),
        "metadata.json: field 'n_mels' is missing",
    ),
    "no path": (
        lambda d: edit(d, "testdata.json", lambda m: m["utterances"][2].update(feature_path="../a.pt")),
        "testdata.json: field 'utterances.2.feature_path' is '../a.pt': string should match pattern",
    ),
    "no frames": (
        lambda d: edit(d, "testdata.json", lambda m: m["utterances"][2].update(mel_len=0)),
        "testdata.json: field 'utterances.2.mel_len' is 0: input should be greater than or equal to 1",
    ),
    "no test set": (
        lambda d: edit(d, "testdata.json", lambda m: m["utterances"].clear()),
        "testdata.json: field 'utterances' is []: list should have at least 1 item",
    ),
    "mels differ": (
        lambda d: edit(d, "testdata.json", lambda m: m.update(n_mels=80)),
        "testdata.json: n_mels is 80, expected 40 as in metadata.json",
    ),
    "gap": (
        lambda d: edit(d, "mapping.json", lambda m: m["speaker2id"].update({first(d)[0]: 9})),
        "mapping.json: speaker2id must number its 6 speakers 0 to 5, each once; found 1 in place of 0",
    ),
    "not the inverse": (
        lambda d: edit(d, "mapping.json", lambda m: m["id2speaker"].update({"3": "id1"})),
        "mapping.json: id2speaker['3'] is 'id1', expected ",
    ),
    "more in the inverse": (
        lambda d: edit(d, "mapping.json", lambda m: m["id2speaker"].update({"6": "id1"})),
        "mapping.json: id2speaker['6'] is 'id1', expected None, as speaker2id has it",
    ),
    "unknown speaker": (
        lambda d: edit(d, "metadata.json", lambda m: m["speakers"].update(id77777=[])),
        "metadata.json: speaker 'id77777' is not in mapping.json",
    ),
    "listed twice": (
        lambda d: edit(d, "testdata.json", lambda m: m["utterances"].append(first(d)[1])),
        "listed 2 times in metadata.json and testdata.json, expected once",
    ),
    "one utterance": (_shorten, "metadata.json: found 1 utterances, expected at least 2"),
    "no features": (
        lambda d: (d / first(d)[1]["feature_path"]).unlink(),
        ".pt is missing, but metadata.json lists it",
    ),
    "broken": (
        lambda d: (d / first(d)[1]["feature_path"]).write_bytes(b"no tensor"),
        ".pt: expected a tensor that torch.save wrote, found a file that torch can't read (",
    ),
    "empty": (
        lambda d: (d / first(d)[1]["feature_path"]).write_bytes(b""),
        ".pt: expected a tensor that torch.save wrote, found a file that torch can't read (",
    ),
    "code": (
        lambda d: resave(d, lambda x: Path("x")),
        ".pt: expected a tensor that torch.save wrote, found a file that torch can't read (",
    ),
    "no tensor": (lambda d: resave(d, lambda x: [1.0]), ".pt: expected a tensor, found a list"),
    "type": (lambda d: resave(d, lambda x: x.double()), ".pt: found float64 ("),
    "rows": (
        lambda d: resave(d, lambda x: x[:50]),
        ".pt: found float32 (50, 40), expected a float32 tensor (",
    ),
    "columns": (lambda d: resave(d, lambda x: x[:, :39]), "39), expected a float32 tensor ("),
    "not finite": (lambda d: resave(d, _nan), ".pt: found nan in frame 7, mel 3, expected finite numbers"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_reports_the_fault(fault: str, source: Path, tmp_path: Path) -> None:
    """One sentence per fault, with the file, what was found and what was expected."""
    change, message = FAULTS[fault]
    assert message in one_fault(data.check, source, tmp_path / "speakers", change)


def write_noise(folder: Path, counts: list[int], mels: int, lengths: list[int]) -> Path:
    """A folder in the course's format with so many utterances of each speaker, and a test utterance of each length."""
    generator = torch.Generator().manual_seed(0)
    names = [f"id{number}" for number in range(len(counts))]

    def utterance(number: int) -> dict[str, Any]:
        entry = {"feature_path": f"uttr-{number:032x}.pt", "mel_len": lengths[number % len(lengths)]}
        torch.save(torch.randn(entry["mel_len"], mels, generator=generator), folder / str(entry["feature_path"]))
        return entry

    numbers = iter(range(10000))
    entries = {
        name: [utterance(next(numbers)) for _ in range(count)] for name, count in zip(names, counts, strict=True)
    }
    test = [utterance(next(numbers)) for _ in lengths]
    documents = {
        data.MAPPING: {
            "speaker2id": {name: number for number, name in enumerate(names)},
            "id2speaker": {str(number): name for number, name in enumerate(names)},
        },
        data.METADATA: {"n_mels": mels, "speakers": entries},
        data.TESTDATA: {"n_mels": mels, "utterances": test},
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document))
    return folder


def test_other_numbers_of_speakers_and_mels_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three speakers, one of them without utterances, 24 mels, lengths from one frame to more than a crop."""
    monkeypatch.setattr(figures, "LENGTHS", (16, 32))
    for name in ("source", "packed"):
        (tmp_path / name).mkdir()
    folder = write_noise(tmp_path / "source", [5, 0, 4], 24, [1, 30, 200])
    assert data.check(folder) == []
    manifest = data.prepare(folder, tmp_path / "packed", "folder")
    assert manifest["facts"] == {
        "speakers": ["id0", "id1", "id2"],
        "mels": 24,
        "test_ids": [f"uttr-{number:032x}.pt" for number in (9, 10, 11)],
    }
    LAB.fit(LAB.resolve("strong", "tiny", {"epochs": 1}), Run(tmp_path / "run", tmp_path / "packed"))
    assert LAB.check_submission(tmp_path / "run/deliver/output.csv") == []
    assert LAB.score(tmp_path / "run/deliver", tmp_path / "packed") == {}


def test_packed_frames_are_those_of_the_files(source: Path, data_dir: Path) -> None:
    """Each utterance is packed completely, in half precision, with its label."""
    mapping = json.loads((source / data.MAPPING).read_text())["speaker2id"]
    listed = json.loads((source / data.METADATA).read_text())["speakers"]
    entries = [(entry, mapping[name]) for name, found in listed.items() for entry in found]
    packed = crops.Utterances(data_dir, "train")
    (labels,) = shards.ArrowDataset(data_dir, "train", ("label",))[torch.arange(len(packed.rows))]
    assert labels.tolist() == [label for _, label in entries]
    for number in (0, 31, 59):
        frames = torch.load(source / entries[number][0]["feature_path"], weights_only=True)
        found = packed.pad(packed.starts[[number]], packed.lengths[[number]])[0]
        torch.testing.assert_close(found, frames, atol=0.008, rtol=0)


# --- batches ---------------------------------------------------------------------------------------------------------


def test_buckets_contain_every_utterance_once_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches have a bounded number of padded frames; a longer utterance is a batch of its own."""
    monkeypatch.setattr(crops, "BATCH_FRAMES", 100)
    lengths = [30, 250, 10, 33, 34, 40, 9, 100]
    buckets = crops.bucket(lengths)
    assert sorted(number for bucket in buckets for number in bucket.tolist()) == list(range(8))
    for bucket in buckets:
        assert len(bucket) == 1 or len(bucket) * max(lengths[i] for i in bucket.tolist()) <= 100


def test_a_very_long_utterance_is_cut(source: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation uses the first frames of an utterance that would not fit in memory."""
    monkeypatch.setattr(crops, "MAX_FRAMES", 150)
    buckets = crops.Buckets(data_dir, "test")
    assert max(buckets[torch.tensor([i])][0].shape[1] for i in range(len(buckets))) == 150


def test_crops_depend_on_seed_and_epoch_alone(data_dir: Path) -> None:
    """In any order and subset of the utterances each has the same crop; another epoch has other crops."""
    rows = torch.arange(40)
    one, again = (crops.Crops(data_dir, rows, 64, seed=5) for _ in range(2))
    again.redraw(1)
    later = again[rows][0]
    again.redraw(0)
    frames, lengths, labels = one[rows]
    assert (frames.shape, lengths.tolist(), len(labels)) == ((40, 64, 40), [64] * 40, 40)
    assert torch.equal(again[torch.tensor([7, 5, 3])][0], frames[[7, 5, 3]])
    assert not torch.equal(later, frames)


def test_spec_augment_hides_a_span_of_frames_and_one_of_bands() -> None:
    """Hidden is a rectangle of whole frames and one of whole bands, each at most as wide as asked and each width as
    often as any other; they have the mean of the utterance's real frames; the rest is unchanged."""
    torch.manual_seed(0)
    lengths = torch.tensor([30, 12, 3]).repeat(80)
    frames = torch.randn(240, 30, 8) * (torch.arange(30) < lengths[:, None])[:, :, None]
    out = spec_augment(frames, lengths, 5, 3)
    widths = torch.zeros(240, 2, dtype=torch.int64)
    for number, (before, after, length) in enumerate(zip(frames, out, lengths.tolist(), strict=True)):
        changed = (before != after)[:length]
        hidden_frames, hidden_bands = changed.all(1), changed.all(0) & ~changed.all()
        assert torch.equal(changed, hidden_frames[:, None] | hidden_bands)
        for hidden in (hidden_frames, hidden_bands):
            assert hidden.diff().count_nonzero() <= 2  # one span
        torch.testing.assert_close(after[:length][changed], before[:length].mean().expand(int(changed.sum())))
        widths[number] = torch.tensor([hidden_frames.sum(), hidden_bands.sum()])
    counts = widths[lengths == 30, 0].bincount(minlength=6), widths[lengths == 30, 1].bincount(minlength=4)
    for found, expected in zip(counts, (80 / 6, 80 / 4), strict=True):
        assert len(found) == round(80 / expected)
        assert found.tolist() == pytest.approx([expected] * len(found), abs=10)


def test_spec_augment_with_one_mask_leaves_the_other_kind_out() -> None:
    """A longest mask of 0 hides nothing of its kind."""
    torch.manual_seed(0)
    frames, lengths = torch.randn(20, 30, 8), torch.full((20,), 30)
    for masks, axis in (((6, 0), 2), ((0, 4), 1)):
        changed = spec_augment(frames, lengths, *masks) != frames
        assert changed.any()
        assert torch.equal(changed.any(axis), changed.all(axis))
    assert torch.equal(spec_augment(frames, lengths, 0, 0), frames)


def test_test_crops_are_spread_over_the_utterance() -> None:
    """Each is as long as asked, they are evenly spaced, and an utterance that is shorter is whole in each."""
    frames = torch.arange(20.0)[None, :, None].repeat(2, 1, 1)
    found = crops.spread_crops(frames, torch.tensor([20, 5]), 8, 3)
    assert [lengths.tolist() for _, lengths in found] == [[8, 5]] * 3
    assert [crop[0, :, 0].tolist() for crop, _ in found] == [[*range(first, first + 8)] for first in (2, 6, 10)]
    assert all(crop[1, :5, 0].tolist() == [*range(5)] for crop, _ in found)


def test_test_crops_decide_by_their_mean_logits() -> None:
    """A prediction is the softmax of the mean logits of the crops; without crops, of the whole utterance's logits."""
    torch.manual_seed(0)
    frames = torch.randn(2, 40, 40)
    for count in (0, 4):
        net = SpeakerNet(LAB.resolve("strong", "tiny", {"crop": 16, "test_crops": count}), 40, 5).eval()
        views = [frames[:, start : start + 16] for start in (3, 9, 15, 21)] if count else [frames]
        expected = torch.stack([net(view) for view in views]).mean(0).softmax(1)
        torch.testing.assert_close(torch.from_numpy(predict(net, frames.numpy())), expected)


def test_split_is_a_partition(tmp_path: Path) -> None:
    """A tenth is held out, depending on the seed; of two utterances one is held out."""
    held_out, training = hold_out(60, 0.1, seed=1)
    assert sorted([*held_out.tolist(), *training.tolist()]) == list(range(60))
    assert len(held_out) == 6
    assert held_out.tolist() != hold_out(60, 0.1, seed=2)[0].tolist()
    assert [len(part) for part in hold_out(2, 0.1, seed=0)] == [1, 1]


# --- attention, convolution, pooling, margin -------------------------------------------------------------------------


def brute_force(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, attends: Callable[[int, int], bool]
) -> torch.Tensor:
    """Softmax attention of each real frame t over the real frames s for which `attends(t, s)`, frame by frame."""
    out = torch.zeros_like(v)
    batch, heads, length, width = q.shape
    for b in range(batch):
        for h in range(heads):
            for t in range(int(mask[b].sum())):
                others = [s for s in range(length) if mask[b, s] and attends(t, s)]
                weights = (k[b, h, others] @ q[b, h, t] / math.sqrt(width)).softmax(0)
                out[b, h, t] = weights @ v[b, h, others]
    return out


@pytest.fixture
def qkv() -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    return *torch.randn(3, 3, 2, 13, 4, dtype=torch.float64), torch.arange(13) < torch.tensor([[13], [7], [2]])


@pytest.mark.parametrize("window", [1, 3, 5, 20])
def test_local_attention_equals_softmax_over_the_neighbours(qkv: tuple[torch.Tensor, ...], window: int) -> None:
    """Against brute force, for windows that divide the length, that do not, and that exceed it."""
    expected = brute_force(*qkv, lambda t, s: abs(t - s) <= window)
    mask = qkv[3][:, None, :, None]
    torch.testing.assert_close(attention.local(*qkv, window) * mask, expected)


@pytest.mark.parametrize("stride", [1, 3, 5, 20])
def test_strided_attention_equals_softmax_over_every_nth_frame(qkv: tuple[torch.Tensor, ...], stride: int) -> None:
    """Against brute force."""
    expected = brute_force(*qkv, lambda t, s: (t - s) % stride == 0)
    mask = qkv[3][:, None, :, None]
    torch.testing.assert_close(attention.strided(*qkv, stride) * mask, expected)


def test_full_attention_equals_softmax_over_all_frames(qkv: tuple[torch.Tensor, ...]) -> None:
    """Against brute force."""
    expected = brute_force(*qkv, lambda t, s: True)
    torch.testing.assert_close(attention.full(*qkv) * qkv[3][:, None, :, None], expected)


def test_linear_attention_equals_its_quadratic_formula(qkv: tuple[torch.Tensor, ...]) -> None:
    """Against the normalised weights phi(q) . phi(k) of all pairs of frames."""
    q, k, v, mask = qkv
    weights = (F.elu(q) + 1) @ (F.elu(k) + 1).transpose(2, 3) * mask[:, None, None]
    torch.testing.assert_close(attention.linear(*qkv), (weights / weights.sum(3, keepdim=True)) @ v)


def test_subsampling_halves_twice_and_ignores_padding() -> None:
    """Eleven frames become three, padded or not, and the values of the padding have no effect."""
    layer = Subsampling(4, 8)
    frames = torch.randn(1, 11, 4)
    alone, mask = layer(frames, torch.ones(1, 11, dtype=torch.bool))
    longer = torch.cat([frames, torch.full((1, 9, 4), 7.0)], 1)
    padded, padded_mask = layer(longer, torch.arange(20)[None] < 11)
    assert alone.shape == (1, 3, 8)
    assert mask.sum() == padded_mask.sum() == 3
    assert torch.allclose(padded[:, :3], alone, atol=1e-6)


@pytest.mark.parametrize("norm_first", [False, True])
def test_encoder_layer_equals_torchs(norm_first: bool) -> None:
    """With equal weights, `nn.TransformerEncoderLayer` has the same outputs at all real frames."""
    torch.manual_seed(0)
    reference = nn.TransformerEncoderLayer(12, 3, 20, 0.0, batch_first=True, norm_first=norm_first).eval()
    layer = EncoderLayer(lambda: SelfAttention(12, 3, "full", 1, 0.0), 12, 20, 0.0, norm_first)
    theirs = reference.state_dict()
    names = {
        "attention.inputs.weight": "self_attn.in_proj_weight",
        "attention.inputs.bias": "self_attn.in_proj_bias",
        "attention.outputs": "self_attn.out_proj",
        "ff.0": "linear1",
        "ff.3": "linear2",
    }
    renamed = {}
    for name in layer.state_dict():
        start = next((old for old in names if name.startswith(old)), name)
        renamed[name] = theirs[name.replace(start, names.get(start, start))]
    layer.load_state_dict(renamed)
    x, mask = torch.randn(2, 9, 12), torch.arange(9) < torch.tensor([[9], [4]])
    torch.testing.assert_close(layer(x, mask)[mask], reference(x, src_key_padding_mask=~mask)[mask])


def test_convolution_equals_its_formula() -> None:
    """Gated linear unit, depthwise filter, normalisation, Swish: computed directly for a middle frame."""
    torch.manual_seed(0)
    module = Convolution(4, 5, 0.0).eval()
    module.norm2.norm.running_mean.normal_()
    x = torch.randn(1, 9, 4)
    a, b = module.gated(module.norm1(x[0])).split(4, 1)
    gated = a * b.sigmoid()
    window = gated[2:7]
    filtered = torch.stack([window[:, c] @ module.filter.weight[c, 0] + module.filter.bias[c] for c in range(4)])
    swish = F.silu((filtered - module.norm2.norm.running_mean) / (1 + module.norm2.norm.eps) ** 0.5)
    torch.testing.assert_close(module(x, torch.ones(1, 9, dtype=torch.bool))[0, 4], module.outputs(swish))


def test_batch_statistics_are_those_of_the_real_frames() -> None:
    """Neither the values nor the amount of padding change the outputs or the running statistics."""
    torch.manual_seed(0)
    x, mask = 3 + 2 * torch.randn(2, 6, 4), torch.arange(6) < torch.tensor([[6], [2]])
    module, plain = FrameNorm(4), nn.BatchNorm1d(4)
    torch.testing.assert_close(module(x, mask)[mask], plain(torch.cat([x[0], x[1, :2]])))
    torch.testing.assert_close(module.norm.running_mean, plain.running_mean)
    torch.testing.assert_close(module.norm.running_var, plain.running_var)


def test_attentive_weights_sum_to_one_over_the_real_frames() -> None:
    """Padded frames have weight 0, and equal scores give the mean."""
    torch.manual_seed(0)
    x, mask = torch.randn(2, 6, 4), torch.arange(6) < torch.tensor([[6], [2]])
    pooling = AttentivePooling(4)
    weights = pooling.weights(x, mask)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert (weights[mask] > 0).all()
    assert (weights[~mask] == 0).all()
    torch.testing.assert_close(pooling(x, mask)[1], weights[1, 0] * x[1, 0] + weights[1, 1] * x[1, 1])
    nn.init.zeros_(pooling.score[2].weight)
    torch.testing.assert_close(pooling(x, mask), MeanPooling()(x, mask))
    torch.testing.assert_close(MeanPooling()(x, mask)[1], x[1, :2].mean(0))


def test_am_softmax_equals_its_formula() -> None:
    """Against equation 6 of the paper, from cosines of vectors; without a margin it is the cross-entropy."""
    torch.manual_seed(0)
    config = LAB.resolve("boss", "tiny", {"scale": 12.0})
    head = SpeakerNet(config, 40, 5).head[-1]
    x, labels, margin = torch.randn(3, config.d_model), torch.tensor([4, 0, 2]), 0.35
    total = 0.0
    for vector, label in zip(x, labels.tolist(), strict=True):
        cosines = [F.cosine_similarity(vector, direction, 0).item() for direction in head.directions]
        own = math.exp(12 * (cosines[label] - margin))
        others = sum(math.exp(12 * cosine) for j, cosine in enumerate(cosines) if j != label)
        total -= math.log(own / (own + others)) / 3
    assert am_softmax(head(x), labels, margin, 12.0).item() == pytest.approx(total, rel=1e-4)
    torch.testing.assert_close(am_softmax(head(x), labels, 0.0, 12.0), F.cross_entropy(head(x), labels))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preset", LAB.presets)
def test_padding_has_no_effect(preset: str, kind: str) -> None:
    """A padded batch gives each utterance the logits that it has alone, for every kind of attention."""
    torch.manual_seed(0)
    net = SpeakerNet(LAB.resolve(preset, "tiny", {"attention": kind, "window": 7}), 40, 5).eval()
    lengths = [50, 23, 7, 1]
    alone = [torch.randn(1, length, 40) - 8 for length in lengths]
    padded = torch.full((4, 50, 40), 9.0)
    for row, frames in zip(padded, alone, strict=True):
        row[: frames.shape[1]] = frames[0]
    together = net(padded, torch.tensor(lengths))
    torch.testing.assert_close(together, torch.cat([net(frames) for frames in alone]), atol=1e-5, rtol=1e-5)
    together.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_costs_are_measured(kind: Kind) -> None:
    """Memory of the plain kernel grows with the square of the length for full and strided, in proportion otherwise."""
    few, many = (measure(kind, 16, 2, 8, length, torch.device("cpu")) for length in (256, 512))
    ratio = many[COSTS.index("megabytes")] / few[COSTS.index("megabytes")]
    assert ratio > 3.2 if kind == "full" else 2.3 < ratio < 3.2 if kind == "strided" else ratio < 2.1


# --- training --------------------------------------------------------------------------------------------------------


def test_training_delivers_a_valid_submission(finished: Path, source: Path, data_dir: Path) -> None:
    """The submission has a line for each test utterance in the list's order; the cost of attention is delivered too."""
    file = finished / "deliver/output.csv"
    with file.open(newline="") as handle:
        rows = list(csv.reader(handle))
    with (source / data.ANSWERS).open(newline="") as handle:
        truth = list(csv.reader(handle))
    assert LAB.check_submission(file) == []
    assert [row[0] for row in rows] == [row[0] for row in truth]
    with (finished / "deliver/attention_cost.csv").open(newline="") as handle:
        assert tuple(next(csv.reader(handle))) == COSTS
    scores = LAB.score(finished / "deliver", data_dir)
    assert scores["test/accuracy"] == pytest.approx(np.mean([a == b for a, b in zip(rows[1:], truth[1:], strict=True)]))
    assert scores["test/trivial"] == pytest.approx(1 / 6)


def test_the_delivered_predictions_are_those_of_each_utterance_alone(finished: Path, source: Path) -> None:
    """Batching by length leaves each prediction with its utterance."""
    model = LAB.load(finished)
    names = {str(i): name for name, i in json.loads((source / data.MAPPING).read_text())["speaker2id"].items()}
    with (finished / "deliver/output.csv").open(newline="") as handle:
        for name, prediction in list(csv.reader(handle))[1:]:
            frames = torch.load(source / name, weights_only=True).half().float()
            assert prediction == names[str(model(frames[None]).argmax().item())]


def test_the_best_weights_are_kept(data_dir: Path, tmp_path: Path) -> None:
    """The weights of a finished run have the run's best validation accuracy when they are evaluated again."""
    run = Run(tmp_path, data_dir, seed=4)
    LAB.fit(LAB.resolve("strong", "tiny"), run, test=False)
    best = json.loads((tmp_path / "result.json").read_text())["metrics"]["best/value"]
    (labels,) = shards.ArrowDataset(data_dir, "train", ("label",))[torch.arange(60)]
    held_out, _ = hold_out(60, 0.1, 4)
    buckets = crops.Buckets(data_dir, "train", held_out)
    assert evaluate(LAB.load(tmp_path), buckets, labels[held_out], run) == best


def test_two_workers_train_the_same_weights_as_one(data_dir: Path, tmp_path: Path) -> None:
    """Three steps on the same global batches: both ranks have equal weights, within 1e-5 of one worker's, and the same
    validation accuracy."""
    # Without dropout, whose masks differ between workers, and without the Conformer's batch norm, whose statistics do.
    fields = {"epochs": 1, "batch_size": 18, "dropout": 0.0, "lr": 1e-4}
    config = LAB.resolve("boss", "tiny", {**fields, "encoder": "transformer", "subsampling": False})
    (one,) = train_on(1, "self-attention", config, data_dir, tmp_path / "one")
    two = train_on(2, "self-attention", config, data_dir, tmp_path / "two")
    assert all(torch.equal(two[0][name], two[1][name]) for name in one)
    for name, expected in one.items():
        if name.endswith("attention.inputs.bias"):
            # The softmax does not depend on the keys' bias: its gradient is rounding error, which Adam scales up.
            keys = slice(len(expected) // 3, 2 * len(expected) // 3)
            expected.data[keys] = two[0][name][keys]
        torch.testing.assert_close(two[0][name], expected, atol=1e-5, rtol=1e-4)
    assert last_metrics(tmp_path / "two") == pytest.approx(last_metrics(tmp_path / "one"), rel=1e-5)
    first, second = train_on(2, "self-attention", LAB.resolve("boss", "tiny", fields), data_dir, tmp_path / "boss")
    assert all(torch.equal(first[name], second[name]) for name in first)


# --- messages --------------------------------------------------------------------------------------------------------

NAME = f"uttr-{7:032x}.pt"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,category\n", "line 1: the header must be 'Id,Category'"),
        ("Id,Category\n7.pt\n", "line 2: expected '<feature file>,<speaker>', found '7.pt'"),
        (f"Id,Category\n{NAME},\n", f"line 2: expected '<feature file>,<speaker>', found '{NAME},'"),
        (f"Id,Category\n{NAME},id5\n{NAME},id5\n", f"line 3: {NAME} is on an earlier line as well"),
        ("Id,Category\n", "has no predictions"),
    ],
)
def test_an_invalid_submission_is_reported(text: str, message: str, tmp_path: Path) -> None:
    """Each fault of a submission file is a sentence with its line."""
    assert message in fault_of_submission(LAB, tmp_path, text)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"attention": "sparse"}, "field 'attention' is 'sparse'"),
        ({"heads": 3}, "d_model 16 must be a multiple of heads 3"),
        ({"conv_kernel": 8}, "conv_kernel 8 must be odd"),
    ],
)
def test_an_invalid_field_is_reported(overrides: dict[str, Any], message: str) -> None:
    """The message has the field, its value and what was expected."""
    with pytest.raises(BadInput, match=message):
        LAB.resolve("simple", "tiny", overrides)
