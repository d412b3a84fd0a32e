"""Checkpoints of Chinese BERTs in a folder, as most are published: `pytorch_model.bin`, `vocab.txt`, `config.json`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertModel

from labs.bert import pretrained_models
from labs.bert.lesson import LAB, inference_settings
from labs.core.errors import BadInput
from labs.core.run import Run
from pipelines.spec import Node, default_needs
from tests.fuzz import pickles
from tests.labs.test_hostile_files import HOSTILE, zipped

VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"年生於的在")
Weights = Mapping[str, torch.Tensor]


def model(kind: Any = BertForMaskedLM) -> Any:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    return kind(BertConfig(vocab_size=len(VOCABULARY), max_position_embeddings=60, **sizes))


def published(folder: Path, weights: object, **options: Any) -> Path:
    """The folder, with a model as the hub has it."""
    folder.mkdir()
    model().config.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    torch.save(weights, folder / "pytorch_model.bin", **options)
    return folder


def loaded(folder: Path) -> Weights:
    """The weights that a reader of the folder has, without its head."""
    reader, _ = pretrained_models.load_reader(str(folder), 1, inference_settings(LAB.resolve("simple", "tiny")))
    body: Any = reader.members[0].bert
    return dict(body.state_dict())


def old_names(weights: Weights) -> dict[str, torch.Tensor]:
    """As checkpoints from TensorFlow name the weights of a layer norm, and with a buffer that is none of them now."""
    named = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in weights.items()
    }
    return {**named, "bert.embeddings.position_ids": torch.arange(60)[None]}


def test_a_checkpoint_with_pytorch_model_bin_alone_is_fine_tuned(data_dir: Path, tmp_path: Path) -> None:
    """Without another run: no small BERT is trained first."""
    whole = model()
    folder = published(tmp_path / "bert", whole.state_dict())
    overrides = {"pretrained_model": str(folder), "lr": 1e-30, "weight_decay": 0, "epochs": 1}
    config = LAB.resolve("simple", "tiny", overrides)
    assert [node.name for node in default_needs(Node("bert", "bert", "simple", "tiny", config))] == ["bert"]
    LAB.fit(config, Run(tmp_path / "run", data_dir))
    trained = LAB.load(tmp_path / "run").members[0].bert.state_dict()
    torch.testing.assert_close(trained, whole.bert.state_dict())


@pytest.mark.parametrize("form", ["plain", "legacy file", "old names", "without a head"])
def test_forms_of_a_checkpoint_are_read(form: str, tmp_path: Path) -> None:
    """The weights are those of the file, whichever way they were written."""
    whole = model(BertModel if form == "without a head" else BertForMaskedLM)
    weights = old_names(whole.state_dict()) if form == "old names" else whole.state_dict()
    found = loaded(published(tmp_path / "bert", weights, _use_new_zipfile_serialization=form != "legacy file"))
    expected = whole.state_dict() if form == "without a head" else whole.bert.state_dict()
    torch.testing.assert_close(found, {name: expected[name] for name in found})


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("config.json", r"in this folder config\.json is missing"),
        ("pytorch_model.bin", r"in this folder model\.safetensors or pytorch_model\.bin is missing"),
        ("vocab.txt", r"vocab\.txt or tokenizer\.json is missing"),
    ],
)
def test_what_a_folder_lacks_is_named(removed: str, message: str, tmp_path: Path) -> None:
    """A tokenizer without a vocabulary would make every character an unknown one."""
    folder = published(tmp_path / "bert", model().state_dict())
    (folder / removed).unlink()
    with pytest.raises(BadInput, match=message):
        loaded(folder)


@pytest.mark.parametrize("kept", ["nothing", "embeddings"])
def test_weights_that_a_file_lacks_are_named(kept: str, tmp_path: Path) -> None:
    """They would be random numbers without a word."""
    weights = {name: value for name, value in model().state_dict().items() if f".{kept}." in name}
    with pytest.raises(BadInput, match="its file has no weights for 'bert"):
        loaded(published(tmp_path / "bert", weights))


@pytest.mark.parametrize("content", [[1, 2], torch.eye(2), {1: torch.eye(2)}], ids=["list", "tensor", "numbers"])
def test_a_file_that_holds_no_weights_is_named(content: object, tmp_path: Path) -> None:
    """Whatever transformers raises for it."""
    with pytest.raises(BadInput, match="can't be loaded"):
        loaded(published(tmp_path / "bert", content))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("pickled", HOSTILE.values(), ids=HOSTILE)
def test_a_checkpoint_that_would_never_be_read_is_named(pickled: bytes, tmp_path: Path) -> None:
    """No signal ended a training that had begun to read it. The check of a submission reads models, too."""
    folder = published(tmp_path / "bert", {})
    (folder / "pytorch_model.bin").write_bytes(zipped(pickled))
    with pytest.raises(BadInput, match=r"can't be loaded: pytorch_model\.bin: expected tensors or lists"):
        loaded(folder)
    (fault,) = pretrained_models.check_folder(folder)
    assert "pytorch_model.bin: expected tensors or lists" in fault


def test_weights_that_are_no_finite_numbers_are_named(tmp_path: Path) -> None:
    weights = model().state_dict()
    weights["bert.embeddings.word_embeddings.weight"][0] = torch.nan
    with pytest.raises(BadInput, match=r"expected finite numbers, found others in 'bert\.embeddings.word_embeddings"):
        loaded(published(tmp_path / "bert", weights))


def test_a_vocabulary_that_is_larger_than_the_model_s_is_named(tmp_path: Path) -> None:
    """With a byte-order mark the first token was another one, and training ended in an IndexError."""
    folder = published(tmp_path / "bert", model().state_dict())
    (folder / "vocab.txt").write_text("\ufeff" + "\n".join(VOCABULARY), encoding="utf-8")
    with pytest.raises(BadInput, match=r"its tokenizer has 11 tokens, but its config\.json a vocab_size of 10"):
        loaded(folder)


def test_no_code_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    folder = published(tmp_path / "bert", {})
    for content in pickles(tmp_path / "marker"):
        (folder / "pytorch_model.bin").write_bytes(content)
        with pytest.raises(BadInput, match="can't be loaded"):
            loaded(folder)
    assert not (tmp_path / "marker").exists()
