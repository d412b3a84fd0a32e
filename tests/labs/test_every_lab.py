"""Promises that every lab keeps: its data, its interrupted run, its submission, its served model, its search space."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import labs
from labs.core import delivery, events
from labs.core.run import STOP, Interrupted
from tests.labs.folders import contents, made
from tests.labs.store import Store

WITH_DATA = [name for name in labs.names() if name != "rl"]
"""Labs with a data set; the lunar lander's lab has a simulator instead."""
RUNS = [
    ("regression", "boss"),
    ("classification", "strong"),
    ("classification", "boss"),
    ("cnn", "strong"),
    ("cnn", "boss"),
    ("self-attention", "boss"),
    ("transformer", "boss"),
    ("gan", "boss"),
    ("gan", "cycle"),
    ("bert-pretrain", "spans"),
    ("bert", "boss"),
    ("anomaly", "boss"),
    ("explain", "smoothgrad"),
    ("attack", "boss"),
    ("adaptation", "mcd"),
    ("adaptation", "boss"),
    ("compression", "boss"),
    ("lifelong", "rwalk"),
    ("meta", "simple"),
    ("meta", "boss"),
]
"""Lab and preset of the finished runs: the most techniques, and another preset where it takes another way."""
SAME_FOR_EVERY_SEED = {"transformer": {"test/test.zh"}}
"""Lab -> files of its made data without anything random: a full stop stands for each translation."""
CLASSES = {
    "cnn": 11,
    "self-attention": 6,
    "attack": 10,
    "adaptation": 10,
    "compression": 11,
    "lifelong": 10,
    "meta": 5,
}
"""Lab whose served model gives class probabilities -> classes of its tiny data."""
PAIRS = pytest.mark.parametrize(("lab", "preset"), RUNS, ids=map("-".join, RUNS))


# --- data ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lab", WITH_DATA)
def test_make_is_deterministic(lab: str, store: Store, tmp_path: Path) -> None:
    """The same data seed writes the same bytes; another one shares no file with it, but for those of the table."""
    data, first = labs.get(lab).data, contents(store.source(lab))
    assert contents(made(data, tmp_path / "same")) == first
    other = contents(made(data, tmp_path / "other", seed=1))
    assert {name for name in first if first[name] == other.get(name)} == SAME_FOR_EVERY_SEED.get(lab, set())


@pytest.mark.parametrize("lab", WITH_DATA)
def test_check_accepts_what_make_writes(lab: str, store: Store) -> None:
    """Embedded data have the course's format."""
    assert labs.get(lab).data.check(store.source(lab)) == []


# --- a finished run --------------------------------------------------------------------------------------------------


def plain(tree: Any) -> Any:
    """A tree with the bytes of its tensors in their place, so that two of them can be compared."""
    if isinstance(tree, torch.Tensor):
        return tree.dtype, tree.shape, tree.numpy().tobytes()
    if isinstance(tree, dict):
        return {name: plain(part) for name, part in tree.items()}
    return [plain(part) for part in tree] if isinstance(tree, list | tuple) else tree


def lasting(folder: Path) -> dict[str, object]:
    """What a training leaves, without times: metrics of each epoch and of its end, its last state, and name -> bytes
    of its files. What is delivered is made from these alone."""
    result = json.loads((folder / "result.json").read_text())
    last = f"checkpoints/step-{result['steps']:06d}"
    state = plain(torch.load(folder / last / "state.pt", weights_only=True))
    epochs = [(event["step"], trained(event["metrics"])) for event in events.read(folder) if "of" in event]
    files = {
        name: content
        for name, content in contents(folder).items()
        if name not in ("events.jsonl", "result.json", delivery.DIGESTS)
        and not name.startswith(("checkpoints/", "deliver/"))
    }
    return {"metrics": trained(result["metrics"]), "epochs": epochs, "state": state, **files}


def trained(metrics: dict[str, float]) -> dict[str, float]:
    """Without times and the scores of what is delivered."""
    return {name: value for name, value in metrics.items() if not name.startswith(("time/", "perf/", "test/"))}


@PAIRS
def test_an_interrupted_run_ends_with_the_same_numbers(lab: str, preset: str, store: Store, tmp_path: Path) -> None:
    """Interrupted after the first and after the second epoch and started again, a run ends with the weights, the state
    of the training, the metrics and the files of an undisturbed one, to the bit."""
    record, whole, run_in = labs.get(lab), store.finished(lab, preset), store.runs(lab)
    config, steps = record.resolve(preset, "tiny"), json.loads((whole / "result.json").read_text())["steps"]
    (tmp_path / STOP).touch()
    for _ in range(min(2, steps - 1)):
        with pytest.raises(Interrupted):
            record.fit(config, run_in(tmp_path), test=False)
    (tmp_path / STOP).unlink()
    record.fit(config, run_in(tmp_path), test=False)
    undisturbed, interrupted = lasting(whole), lasting(tmp_path)
    assert interrupted["metrics"] == undisturbed["metrics"]
    assert interrupted["epochs"] == undisturbed["epochs"]
    assert interrupted.keys() == undisturbed.keys()
    assert [name for name in undisturbed if interrupted[name] != undisturbed[name]] == []


@PAIRS
def test_training_delivers_a_valid_submission(lab: str, preset: str, store: Store) -> None:
    """The check accepts the submission, and there are scores of the test set."""
    record, folder = labs.get(lab), store.finished(lab, preset)
    assert record.check_submission(folder / "deliver" / record.submission) == []
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    assert np.isfinite([metrics[f"test/{name}"] for name in (record.metric.name, "trivial")]).all()


@pytest.mark.parametrize("lab", [name for name in WITH_DATA if name != "lifelong"])
def test_without_answers_nothing_is_scored(lab: str, store: Store, tmp_path: Path) -> None:
    """The course does not publish the answers of its test sets; MNIST's test set, lifelong's, has them."""
    preset = dict(RUNS)[lab]
    assert labs.get(lab).score(store.finished(lab, preset) / "deliver", tmp_path) == {}


@pytest.mark.parametrize(("lab", "preset"), [pair for pair in RUNS if pair != ("gan", "cycle")])
def test_the_trained_model_loads_and_predicts(lab: str, preset: str, store: Store) -> None:
    """The served model gives each input of the example an output; class probabilities sum to 1. CycleGAN's model, which
    takes images where the lab's example is noise, has a test of its own."""
    record, inputs = labs.get(lab), labs.get(lab).example(store.data_dir(lab))
    outputs = record.predict(record.load(store.finished(lab, preset)), inputs)
    assert len(outputs) == len(inputs) >= 2
    if lab in CLASSES:
        assert (outputs.dtype, outputs.shape[-1]) == (np.float32, CLASSES[lab])
        assert outputs.sum(-1) == pytest.approx(1, abs=1e-5)


# --- search space ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lab", labs.names())
def test_every_sample_of_the_space_is_valid(lab: str) -> None:
    """A thousand draws of the fields that have a list of values."""
    record, draw = labs.get(lab), random.Random(0)
    choices = {field: values["values"] for field, values in record.space().items() if "values" in values}
    samples = [{field: draw.choice(values) for field, values in choices.items()} for _ in range(1000)]
    for sample in {str(sample): sample for sample in samples}.values():
        record.config.model_validate(sample)
