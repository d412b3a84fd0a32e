"""Promises of the bert-pretrain lab: its text, its gaps, its training, and the folder that it leaves."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from labs.bert import corpus, tiny_bert
from labs.bert.pretraining import IGNORED, LAB, hide, predict
from labs.bert.tiny_bert import CLS, MASK, PAD, SEP, SPECIAL, UNK, tokenizer
from labs.core import shards
from labs.core.errors import BadInput
from labs.core.run import STOP, Interrupted, Run
from labs.shared.text import texts
from tests.labs.folders import contents, made
from tests.labs.workers import last_metrics, train_on


@pytest.fixture(scope="module")
def finished(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    LAB.fit(LAB.resolve("spans", "tiny"), Run(folder, data_dir, seed=3))
    return folder


# --- data ------------------------------------------------------------------------------------------------------------


def test_make_is_deterministic(source: Path, tmp_path: Path) -> None:
    """The same seed writes the same bytes, another seed others."""
    assert contents(made(corpus, tmp_path / "same")) == contents(source)
    other = contents(made(corpus, tmp_path / "other", seed=1))
    assert all(other[name] != content for name, content in contents(source).items())


def test_check_accepts_what_make_writes(source: Path) -> None:
    """Lives, as many as stated, none of them twice."""
    assert corpus.check(source) == []
    lines = [(source / name).read_text().splitlines() for name in (*corpus.FILES.values(), corpus.ANSWERS)]
    assert [len(part) for part in lines] == list(corpus.COUNTS["tiny"].values())
    assert len({line for part in lines for line in part}) == sum(len(part) for part in lines)


def test_a_first_sentence_says_again_what_the_rest_tells(source: Path) -> None:
    """Its last two characters, of a name, a place or a year, mostly stand in the rest as well."""
    pairs = [corpus.cut(line) for line in (source / "train.txt").read_text().splitlines()]
    assert all(first.endswith("。") and first.count("。") == 1 for first, _ in pairs)
    names = [(first[:3] in rest or first[-4:-1] in rest) for first, rest in pairs]
    assert sum(names) > 0.8 * len(names)


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no file": (lambda d: (d / "dev.txt").unlink(), "dev.txt is missing"),
    "empty": (lambda d: (d / "train.txt").write_text(""), "train.txt has no lines, expected at least 1"),
    "encoding": (
        lambda d: (d / "train.txt").write_bytes(b"\xff"),
        "train.txt: expected UTF-8, found a fault at byte 0: invalid start byte",
    ),
    "one sentence": (
        lambda d: (d / "dev.txt").write_text("甲。乙。\n甲。\n"),
        "dev.txt line 2: expected a sentence, a full stop 。 and more text",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_names_the_fault(fault: str, source: Path, tmp_path: Path) -> None:
    """One sentence per fault, with the file, the line and what was expected."""
    shutil.copytree(source, tmp_path / "corpus")
    spoil, message = FAULTS[fault]
    spoil(tmp_path / "corpus")
    faults = corpus.check(tmp_path / "corpus")
    assert len(faults) == 1
    assert faults[0].endswith(message)


def test_packed_text_is_the_file_s(source: Path, data_dir: Path) -> None:
    """Every line comes back, in order; the characters are the training text's."""
    for split, name in corpus.FILES.items():
        assert texts.read(data_dir, split) == (source / name).read_text().splitlines()
    characters = shards.manifest(data_dir)["facts"]["characters"]
    assert set(characters) == set((source / "train.txt").read_text()) - {"\n"}


# --- tokenizer, gaps and network -------------------------------------------------------------------------------------


def test_the_tokenizer_cuts_characters() -> None:
    """Numbers included; a character that the vocabulary lacks is [UNK], and the offsets say which it was."""
    cut = tokenizer("林德生於年0123456789。")
    found = cut("林彧德生於1874年。", add_special_tokens=False, return_offsets_mapping=True)
    assert found["offset_mapping"] == [(i, i + 1) for i in range(11)]
    tokens = cut.convert_ids_to_tokens(found["input_ids"])
    assert tokens == ["林", "[UNK]", "德", "生", "於", "1", "##8", "##7", "##4", "年", "。"]
    assert [cut.pad_token_id, cut.unk_token_id, cut.cls_token_id, cut.sep_token_id, cut.mask_token_id] == [
        PAD, UNK, CLS, SEP, MASK,
    ]  # fmt: skip


def test_gaps_are_bert_s() -> None:
    """Of 15 in 100 characters 8 in 10 are masked, 1 in 10 is another, 1 in 10 stays; marks and padding never are."""
    tokens = torch.randint(len(SPECIAL), 50, (400, 100), generator=torch.Generator().manual_seed(0))
    tokens[:, 0], tokens[:, 90:] = CLS, PAD
    config = LAB.resolve("characters", "course")
    shown, labels = hide(tokens, config, 50, torch.Generator().manual_seed(1))
    hidden = labels != IGNORED
    assert torch.equal(labels[hidden], tokens[hidden])
    assert torch.equal(shown[~hidden], tokens[~hidden])
    assert not hidden[tokens < len(SPECIAL)].any()
    assert hidden[:, 1:90].float().mean().item() == pytest.approx(0.15, abs=0.01)
    assert (shown[hidden] == MASK).float().mean().item() == pytest.approx(0.8, abs=0.02)
    # One in 45 of the other characters is the same one again.
    assert (shown[hidden] == tokens[hidden]).float().mean().item() == pytest.approx(0.1 + 0.1 / 45, abs=0.02)


def test_spans_hide_neighbours() -> None:
    """As many characters, but a hidden one mostly has a hidden neighbour, and no span that stands alone is longer."""
    tokens = torch.full((400, 100), 9)
    runs = {}
    for preset, share in (("characters", 0.05), ("spans", 0.05)):
        config = LAB.resolve(preset, "course", {"share": share})
        hidden = hide(tokens, config, 50, torch.Generator().manual_seed(0))[1] != IGNORED
        assert hidden.float().mean().item() == pytest.approx(share, abs=0.01)
        edges = hidden.int().diff(prepend=torch.zeros(400, 1), append=torch.zeros(400, 1), dim=1)
        runs[preset] = ((edges == -1).nonzero()[:, 1] - (edges == 1).nonzero()[:, 1]).float()
    assert runs["characters"].mean() < 1.1
    assert runs["spans"].mean() > 2.2
    assert (runs["spans"] <= 4).float().mean() > 0.85


def test_attention_begins_by_looking_at_equal_tokens() -> None:
    """A fresh model's first layer looks more at a token that is there twice than at others, and passes on what it is:
    the product of value and output has a large trace."""
    torch.manual_seed(0)
    model = tiny_bert.blank(tiny_bert.shape(60, 1, 64, 1, 64, 0.0)).eval()
    tokens = torch.arange(10, 26)[None].clone()
    tokens[0, 9] = tokens[0, 6]
    model.set_attn_implementation("eager")
    look = model(input_ids=tokens, output_attentions=True).attentions[0][0, 0]
    others = [look[6, place].item() for place in range(16) if place not in (6, 9)]
    assert look[6, 9] > 2 * max(others)
    attention = model.roformer.encoder.layer[0].attention
    passed = attention.output.dense.weight @ attention.self.value.weight
    assert passed.trace() > 5 * (passed - passed.diag().diag()).abs().mean() * 64


# --- training --------------------------------------------------------------------------------------------------------


def test_training_leaves_a_folder_for_hugging_face(finished: Path) -> None:
    """Model and tokenizer load from it, without a pickle, and the model is the trained one."""
    folder = finished / "deliver"
    assert LAB.check_submission(folder / LAB.submission) == []
    assert not list(folder.glob("*.bin"))
    model, tokens = AutoModelForMaskedLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    own = LAB.load(finished).state_dict()
    assert all(torch.equal(weight, own[name]) for name, weight in model.state_dict().items())
    assert len(tokens) == model.config.vocab_size
    assert (folder / "curves.png").stat().st_size > 5000


def test_scores_are_those_of_the_hidden_characters(finished: Path, data_dir: Path, tmp_path: Path) -> None:
    """A share each; without the text that was kept apart there is none."""
    scores = LAB.score(finished / "deliver", data_dir)
    assert 0 <= scores["test/accuracy"] < 1
    assert 0 < scores["test/trivial"] < 0.2
    assert LAB.score(finished / "deliver", tmp_path) == {}


def test_gaps_can_be_learnt_to_fill(data_dir: Path, tmp_path: Path) -> None:
    """The loss falls below that of guessing among all characters."""
    LAB.fit(LAB.resolve("characters", "tiny", {"epochs": 12, "lr": 0.01}), Run(tmp_path, data_dir), test=False)
    characters = len(shards.manifest(data_dir)["facts"]["characters"])
    loss = json.loads((tmp_path / "result.json").read_text())["metrics"]["train/loss"]
    assert loss < math.log(characters) - 0.25


def test_an_interrupted_run_ends_with_the_same_numbers(finished: Path, data_dir: Path, tmp_path: Path) -> None:
    """Stopped after an epoch and started again, a run ends as an undisturbed one."""
    (tmp_path / STOP).touch()
    with pytest.raises(Interrupted):
        LAB.fit(LAB.resolve("spans", "tiny"), Run(tmp_path, data_dir, seed=3))
    (tmp_path / STOP).unlink()
    LAB.fit(LAB.resolve("spans", "tiny"), Run(tmp_path, data_dir, seed=3))
    for name in ("weights.safetensors", "deliver/model.safetensors"):
        assert (tmp_path / name).read_bytes() == (finished / name).read_bytes()


def test_two_workers_learn_what_one_learns(data_dir: Path, tmp_path: Path) -> None:
    """The ranks bit-equal, and one worker's weights to 1e-5, though the workers hide unequal numbers of characters;
    the same validation accuracy."""
    config = LAB.resolve("spans", "tiny", {"epochs": 1, "clip": 0.5})
    (one,) = train_on(1, "bert-pretrain", config, data_dir, tmp_path / "one")
    two = train_on(2, "bert-pretrain", config, data_dir, tmp_path / "two")
    assert all(torch.equal(two[0][name], two[1][name]) for name in one)
    for name, expected in one.items():
        torch.testing.assert_close(two[0][name], expected, atol=1e-5, rtol=1e-4)
    assert last_metrics(tmp_path / "two") == pytest.approx(last_metrics(tmp_path / "one"), rel=1e-5)


def test_the_trained_model_loads_and_predicts(finished: Path, data_dir: Path) -> None:
    """A token for each place."""
    inputs = LAB.example(data_dir)
    output = predict(LAB.load(finished), inputs)
    assert (inputs == MASK).any()
    assert output.shape == inputs.shape
    assert output.dtype == np.int64


@pytest.mark.parametrize("preset", LAB.presets)
def test_course_size_takes_two_steps(preset: str) -> None:
    """Every preset builds at the course's size and moves twice on two samples."""
    model = LAB.network(LAB.resolve(preset, "course"))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = model.roformer.encoder.layer[0].attention.self.query.weight.clone()
    tokens = torch.randint(5, 6000, (2, 193), generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        loss = model(input_ids=tokens, labels=tokens).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss)
    assert not torch.equal(before, model.roformer.encoder.layer[0].attention.self.query.weight)


# --- messages --------------------------------------------------------------------------------------------------------


def test_a_bad_folder_is_named(finished: Path, tmp_path: Path) -> None:
    """A model without its config is not one, and neither is one that was cut off."""
    shutil.copytree(finished / "deliver", tmp_path / "cut")
    weights = (finished / "deliver/model.safetensors").read_bytes()
    for name, content in (("alone", weights), ("cut", weights[: len(weights) // 2])):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "model.safetensors").write_bytes(content)
        (fault,) = LAB.check_submission(tmp_path / name / "model.safetensors")
        assert fault.startswith("model.safetensors: expected a model in a folder with its config.json and tokenizer")


def test_a_wrong_field_is_named() -> None:
    """The message has the field, its value and what would be right."""
    with pytest.raises(BadInput, match="hidden 18 must be an even multiple of heads 2"):
        LAB.resolve("spans", "tiny", {"hidden": 18})


def test_every_sample_of_the_space_is_valid() -> None:
    """Whatever is sampled, the heads divide the channels."""
    space = LAB.space()
    for hidden in space["hidden"]["values"]:
        for heads in space["heads"]["values"]:
            LAB.config(hidden=hidden, heads=heads)
