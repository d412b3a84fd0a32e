"""Promises of the bert-pretrain lab: its text, its masking, its training, and the folder that it writes."""

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

from labs.bert import corpus, packed_texts, tiny_bert
from labs.bert.pretraining import IGNORED, LAB, mask, predict
from labs.bert.tiny_bert import CLS, MASK, PAD, SEP, SPECIAL, UNK, new_tokenizer
from labs.core import shards
from labs.core.errors import BadInput
from labs.core.run import Run
from tests.labs.folders import one_fault
from tests.labs.store import Store
from tests.labs.workers import last_metrics, train_on


@pytest.fixture(scope="module")
def finished(store: Store) -> Path:
    return store.finished("bert-pretrain", "spans")


# --- data ------------------------------------------------------------------------------------------------------------


def test_made_text_is_biographies(source: Path) -> None:
    """As many as stated, none of them twice."""
    lines = [(source / name).read_text().splitlines() for name in (*corpus.FILES.values(), corpus.ANSWERS)]
    assert [len(part) for part in lines] == list(corpus.COUNTS["tiny"].values())
    assert len({line for part in lines for line in part}) == sum(len(part) for part in lines)


def test_a_first_sentence_repeats_facts_of_the_rest(source: Path) -> None:
    """Its first three characters, a person, or its last three, a value, mostly occur in the rest as well."""
    pairs = [corpus.split_first_sentence(line) for line in (source / "train.txt").read_text().splitlines()]
    assert all(first.endswith("。") and first.count("。") == 1 for first, _ in pairs)
    names = [(first[:3] in rest or first[-4:-1] in rest) for first, rest in pairs]
    assert sum(names) > 0.8 * len(names)


def test_statements_are_learnt_without_the_questions_of_the_fine_tuning(source: Path) -> None:
    """Whole facts are left out, with their answers; the rest of a text stays as it is."""
    lines = (source / "train.txt").read_text().splitlines()
    kept, whole = (
        [corpus.split_first_sentence(line, questions=LAB.resolve(preset, "tiny").questions) for line in lines]
        for preset in ("statements", "spans")
    )
    assert sum("？" in first for first, _ in whole) > len(lines) / 2
    assert not any("？" in first for first, _ in kept)
    assert [rest for _, rest in kept] == [rest for _, rest in whole]
    facts, statements = ([first.rstrip("。").split("，") for first, _ in part] for part in (whole, kept))
    assert [[fact for fact in text if "？" not in fact] for text in facts] == [
        [*filter(None, text)] for text in statements
    ]


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
    change, message = FAULTS[fault]
    assert one_fault(corpus.check, source, tmp_path / "corpus", change).endswith(message)


def test_packed_text_is_the_file_s(source: Path, data_dir: Path) -> None:
    """Every line is read back, in order; the characters are those of the training text."""
    for split, name in corpus.FILES.items():
        assert packed_texts.read(data_dir, split) == (source / name).read_text().splitlines()
    characters = shards.manifest(data_dir)["facts"]["characters"]
    assert set(characters) == set((source / "train.txt").read_text()) - {"\n"}


# --- tokenizer, masking and network ----------------------------------------------------------------------------------


def test_each_character_is_a_token() -> None:
    """Digits included; a character that the vocabulary lacks is [UNK], and the offsets say which one it is."""
    characters = new_tokenizer("林德生於年0123456789。")
    found = characters("林彧德生於1874年。", add_special_tokens=False, return_offsets_mapping=True)
    assert found["offset_mapping"] == [(i, i + 1) for i in range(11)]
    tokens = characters.convert_ids_to_tokens(found["input_ids"])
    assert tokens == ["林", "[UNK]", "德", "生", "於", "1", "##8", "##7", "##4", "年", "。"]
    names = ("pad", "unk", "cls", "sep", "mask")
    assert [getattr(characters, f"{name}_token_id") for name in names] == [PAD, UNK, CLS, SEP, MASK]


def test_masking_is_bert_s() -> None:
    """15 % of the characters are masked, of which 80 % are [MASK], 10 % random and 10 % unchanged; special tokens and
    padding are never masked."""
    tokens = torch.randint(len(SPECIAL), 50, (400, 100), generator=torch.Generator().manual_seed(0))
    tokens[:, 0], tokens[:, 90:] = CLS, PAD
    config = LAB.resolve("characters", "course")
    inputs, labels = mask(tokens, config, 50, torch.Generator().manual_seed(1))
    masked = labels != IGNORED
    assert torch.equal(labels[masked], tokens[masked])
    assert torch.equal(inputs[~masked], tokens[~masked])
    assert not masked[tokens < len(SPECIAL)].any()
    assert masked[:, 1:90].float().mean().item() == pytest.approx(0.15, abs=0.01)
    assert (inputs[masked] == MASK).float().mean().item() == pytest.approx(0.8, abs=0.02)
    # One in 45 of the random characters is the original one.
    assert (inputs[masked] == tokens[masked]).float().mean().item() == pytest.approx(0.1 + 0.1 / 45, abs=0.02)


def test_spans_mask_neighbours() -> None:
    """As many characters are masked, but most of them have a masked neighbour; runs are mostly of 1 to 4 characters."""
    tokens = torch.full((400, 100), 9)
    runs = {}
    for preset, fraction in (("characters", 0.05), ("spans", 0.05)):
        config = LAB.resolve(preset, "course", {"mask_fraction": fraction})
        masked = mask(tokens, config, 50, torch.Generator().manual_seed(0))[1] != IGNORED
        assert masked.float().mean().item() == pytest.approx(fraction, abs=0.01)
        edges = masked.int().diff(prepend=torch.zeros(400, 1), append=torch.zeros(400, 1), dim=1)
        runs[preset] = ((edges == -1).nonzero()[:, 1] - (edges == 1).nonzero()[:, 1]).float()
    assert runs["characters"].mean() < 1.1
    assert runs["spans"].mean() > 2.2
    assert (runs["spans"] <= 4).float().mean() > 0.85


def test_a_new_model_attends_to_equal_tokens() -> None:
    """In the first layer a token that occurs twice attends most to its copy, and W_o W_v has a large trace, so that it
    passes on what the copy is."""
    torch.manual_seed(0)
    model = tiny_bert.new_model(tiny_bert.model_config(60, 1, 64, 1, 64, 0.0)).eval()
    tokens = torch.arange(10, 26)[None].clone()
    tokens[0, 9] = tokens[0, 6]
    model.set_attn_implementation("eager")
    attention = model(input_ids=tokens, output_attentions=True).attentions[0][0, 0]
    others = [attention[6, place].item() for place in range(16) if place not in (6, 9)]
    assert attention[6, 9] > 2 * max(others)
    layer = model.roformer.encoder.layer[0].attention
    product = layer.output.dense.weight @ layer.self.value.weight
    assert product.trace() > 5 * (product - product.diag().diag()).abs().mean() * 64


# --- training --------------------------------------------------------------------------------------------------------


def test_training_writes_a_folder_for_hugging_face(finished: Path) -> None:
    """Model and tokenizer load from it, without a pickle, and the model is the trained one."""
    folder = finished / "deliver"
    assert LAB.check_submission(folder / LAB.submission) == []
    assert not list(folder.glob("*.bin"))
    model, tokens = AutoModelForMaskedLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    own = LAB.load(finished).state_dict()
    assert all(torch.equal(weight, own[name]) for name, weight in model.state_dict().items())
    assert len(tokens) == model.config.vocab_size


def test_scores_are_those_of_the_masked_characters(finished: Path, data_dir: Path, tmp_path: Path) -> None:
    """Fractions of them; without the test texts nothing is scored."""
    scores = LAB.score(finished / "deliver", data_dir)
    assert 0 <= scores["test/accuracy"] < 1
    assert 0 < scores["test/trivial"] < 0.2
    assert LAB.score(finished / "deliver", tmp_path) == {}


def test_masked_characters_can_be_learnt(data_dir: Path, tmp_path: Path) -> None:
    """The loss falls below that of a uniform choice among all characters."""
    LAB.fit(LAB.resolve("characters", "tiny", {"epochs": 12, "lr": 0.01}), Run(tmp_path, data_dir), test=False)
    characters = len(shards.manifest(data_dir)["facts"]["characters"])
    loss = json.loads((tmp_path / "result.json").read_text())["metrics"]["train/loss"]
    assert loss < math.log(characters) - 0.25


def test_two_workers_learn_what_one_learns(data_dir: Path, tmp_path: Path) -> None:
    """The ranks are bit-equal, and equal to one worker to 1e-5, though the workers mask unequal numbers of characters;
    so is the validation accuracy."""
    config = LAB.resolve("spans", "tiny", {"epochs": 1, "clip": 0.5})
    (one,) = train_on(1, "bert-pretrain", config, data_dir, tmp_path / "one")
    two = train_on(2, "bert-pretrain", config, data_dir, tmp_path / "two")
    assert all(torch.equal(two[0][name], two[1][name]) for name in one)
    for name, expected in one.items():
        torch.testing.assert_close(two[0][name], expected, atol=1e-5, rtol=1e-4)
    assert last_metrics(tmp_path / "two") == pytest.approx(last_metrics(tmp_path / "one"), rel=1e-5)


def test_the_trained_model_loads_and_predicts(finished: Path, data_dir: Path) -> None:
    """A predicted token for each position."""
    inputs = LAB.example(data_dir)
    output = predict(LAB.load(finished), inputs)
    assert (inputs == MASK).any()
    assert output.shape == inputs.shape
    assert output.dtype == np.int64


# --- messages --------------------------------------------------------------------------------------------------------


def test_a_bad_folder_is_named(finished: Path, tmp_path: Path) -> None:
    """A model without its config is refused, and so is a truncated one."""
    shutil.copytree(finished / "deliver", tmp_path / "cut")
    weights = (finished / "deliver/model.safetensors").read_bytes()
    for name, content in (("alone", weights), ("cut", weights[: len(weights) // 2])):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "model.safetensors").write_bytes(content)
        (fault,) = LAB.check_submission(tmp_path / name / "model.safetensors")
        assert fault.startswith("model.safetensors: expected a model in a folder with its config.json and tokenizer")


def test_a_wrong_field_is_named() -> None:
    """The message has the field, its value and what is expected."""
    with pytest.raises(BadInput, match="hidden_size 18 must be an even multiple of heads 2"):
        LAB.resolve("spans", "tiny", {"hidden_size": 18})
