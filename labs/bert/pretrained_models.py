"""Pre-trained models of Hugging Face, by a local folder or by name.

Weights are read as safetensors or, where there are none, from `pytorch_model.bin` by `torch.load` with
`weights_only=True`: no code in a file is ever run. The local cache is used before the hub is asked. transformers takes
seconds to import, so it is imported inside the functions that use it.
"""

import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from labs.core.errors import BadInput, cut, shown
from labs.core.listing import visible
from labs.core.pickle_scan import refuse_hostile_weights
from labs.shared.text.reader import InferenceSettings, Reader, SpecialTokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PretrainedConfig, PreTrainedModel

VOCABULARY_SIZE, LARGE = 21128, {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
PARTS = {"config.json": {"config.json"}, " or ".join(WEIGHTS): {*WEIGHTS, *(f"{name}.index.json" for name in WEIGHTS)}}
"""What a folder with a pre-trained model needs beside a tokenizer, as messages name it, and the files that are it."""
KNOWN_CONFIGS: dict[str, dict[str, int]] = {
    "bert-base-chinese": {},
    "hfl/chinese-bert-wwm-ext": {},
    "hfl/chinese-macbert-base": {},
    "hfl/chinese-macbert-large": {**LARGE, "intermediate_size": 4096},
}
"""Public models whose config is known without a download: the fields that differ from BERT-base."""


def load_reader(name: str, members: int, settings: InferenceSettings) -> tuple[Reader, "PretrainedConfig"]:
    """A reader of several members, each the same pre-trained model with an untrained head of its own, and their config.

    Raises:
        BadInput: the model can't be loaded, or its maximum input is shorter than a question and a window.
    """
    config = load_config(name)
    maximum = getattr(config, "max_position_embeddings", None)
    needed = settings.question_tokens + settings.paragraph_tokens + 3
    if not isinstance(maximum, int):
        raise BadInput(f"pretrained_model {name!r}: expected a model like BERT, with a whole number as "
                       f"max_position_embeddings in its config.json, found {shown(maximum)}")  # fmt: skip
    if needed > maximum:
        raise BadInput(f"question_tokens {settings.question_tokens}, paragraph_tokens {settings.paragraph_tokens} and "
                       f"3 special tokens are {needed} tokens, but the maximum of pretrained_model {name!r} is "
                       f"{maximum}")  # fmt: skip
    tokenizer, special_tokens = load_tokenizer(name)
    if tokenizer.get_vocab_size() > config.vocab_size:
        raise BadInput(f"pretrained_model {name!r}: its tokenizer has {tokenizer.get_vocab_size()} tokens, but its "
                       f"config.json a vocab_size of {config.vocab_size}; a byte-order mark before the first line of "
                       "vocab.txt makes that one unknown")  # fmt: skip
    models = [load_model(name).train() for _ in range(members)]
    return Reader(models, tokenizer, special_tokens, settings), config


def new_reader(
    members: int, settings: InferenceSettings, model: dict[str, Any], tokenizer: str, special_tokens: list[int]
) -> Reader:
    """A reader with random weights, to be filled with trained ones.

    Args:
        members: models of the ensemble.
        settings: how an answer is searched for.
        model: the members' config as a dict.
        tokenizer: as a JSON string.
        special_tokens: ids of padding, [CLS] and [SEP].
    """
    from tokenizers import Tokenizer
    from transformers import AutoConfig

    models = [new_model(AutoConfig.for_model(**model)) for _ in range(members)]
    return Reader(models, Tokenizer.from_str(tokenizer), SpecialTokens(*special_tokens), settings)


def load_config(name: str) -> "PretrainedConfig":
    """Config of a pre-trained model, which has its sizes; without a download where it is known.

    Raises:
        BadInput: it can't be loaded.
    """
    from transformers import BertConfig

    if name in KNOWN_CONFIGS:
        return BertConfig(vocab_size=VOCABULARY_SIZE, **KNOWN_CONFIGS[name])
    from transformers import AutoConfig

    config: PretrainedConfig = _load(AutoConfig, name)
    return config


def load_tokenizer(name: str) -> tuple["Tokenizer", SpecialTokens]:
    """Tokenizer of a pre-trained model, which neither truncates nor pads, and its special tokens.

    Raises:
        BadInput: it can't be loaded, or lacks one of the special tokens.
    """
    from transformers import AutoTokenizer

    tokenizer = _load(AutoTokenizer, name)
    special_tokens = tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id
    if None in special_tokens or not tokenizer.is_fast:
        raise BadInput(f"pretrained_model {name!r}: expected a fast tokenizer with the special tokens for padding, "
                       "beginning and separation, such as BERT's [PAD], [CLS] and [SEP]")  # fmt: skip
    if {*tokenizer.get_vocab()} <= {*tokenizer.all_special_tokens}:
        raise BadInput(f"pretrained_model {name!r} can't be loaded: vocab.txt or tokenizer.json is missing")
    backend: Tokenizer = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return backend, SpecialTokens(*special_tokens)


def load_model(name: str) -> "PreTrainedModel":
    """A pre-trained model with a new, untrained head that gives start and end logits.

    Raises:
        BadInput: it can't be loaded, or its file lacks weights.
    """
    from transformers import AutoModelForQuestionAnswering

    try:
        _refuse_hostile(Path(name))
    except Exception as error:  # as in `_load`
        raise BadInput(f"pretrained_model {name!r} can't be loaded: {_reason(Path(name), error)}") from None
    options = {"weights_only": True, "dtype": torch.float32, "output_loading_info": True}
    model, loaded = _load(AutoModelForQuestionAnswering, name, **options)
    body = f"{model.base_model_prefix}."  # the head is new
    if missing := sorted(weight for weight in loaded["missing_keys"] if weight.startswith(body)):
        raise BadInput(f"pretrained_model {name!r} can't be loaded: its file has no weights for {missing[0]!r} and "
                       f"{len(missing) - 1} others of a {type(model).__name__}")  # fmt: skip
    for path, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise BadInput(
                f"pretrained_model {name!r} can't be loaded: expected finite numbers, found others in {path!r}"
            )
        if "embed_positions" in path:  # RoFormer's fixed sinusoidal table: loading marks it as trainable
            weight.requires_grad_(False)
    return model


def new_model(config: "PretrainedConfig") -> "PreTrainedModel":
    """A model for question answering with random weights."""
    from transformers import AutoModelForQuestionAnswering

    model: PreTrainedModel = AutoModelForQuestionAnswering.from_config(config, dtype=torch.float32)
    return model


def check_folder(folder: Path) -> list[str]:
    """The first fault of a folder with a masked language model and its tokenizer; empty if both can be loaded."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    silence()
    try:
        _refuse_hostile(folder)
        for kind in (AutoModelForMaskedLM, AutoTokenizer):
            kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # of any class: a file of the folder can have any content
        said = " ".join(str(error).split())
        return [f"expected a model in a folder with its config.json and tokenizer, found a fault: {cut(said)}"]
    return []


def silence() -> None:
    """Turn off transformers' warnings about new heads, which fine-tuning expects, and its progress bars."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _load(kind: Any, name: str, **options: Any) -> Any:
    """From the folder or the cache; if it is in neither, from the hub.

    The hub's converter of weights to safetensors is not asked to write a copy for whoever has a `.bin`.
    """
    silence()
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    try:
        return kind.from_pretrained(name, local_files_only=True, trust_remote_code=False, **options)
    except Exception as error:  # of any class: a file of the folder can have any content
        fault = error
    if not Path(name).exists():
        try:
            return kind.from_pretrained(name, trust_remote_code=False, **options)
        except Exception as error:
            fault = error
    raise BadInput(f"pretrained_model {name!r} can't be loaded: {_reason(Path(name), fault)}")


def _refuse_hostile(folder: Path) -> None:
    """Look at the pickles in a folder's weights, if it is one.

    Raises:
        BadInput: one would keep its reader busy for ever, or fill the memory; the message is the end of a sentence.
        pickle.UnpicklingError: one is no pickle.
    """
    for file in sorted(folder.glob("pytorch_model*.bin")):
        try:
            refuse_hostile_weights(file)
        except BadInput as error:
            raise BadInput(f"{file.name}: {error}") from None


def _reason(folder: Path, fault: Exception) -> str:
    """What a pre-trained model lacks, as the end of a sentence."""
    if not folder.is_dir():
        return (
            f"expected a folder with {', '.join(PARTS)} and a tokenizer, or the name of a model that is in the Hugging "
            f"Face cache or can be downloaded ({type(fault).__name__})"
        )
    found = {path.name for path in visible(folder)}
    if missing := [part for part, names in PARTS.items() if not found & names]:
        return f"in this folder {' and '.join(missing)} is missing"
    if isinstance(fault, BadInput):
        return str(fault)
    if isinstance(fault, pickle.UnpicklingError):
        return ("pytorch_model.bin holds other objects than tensors or is broken: other objects need pickle, which can "
                "run any code, and are not read")  # fmt: skip
    said = " ".join(str(fault).split())
    return f"a file in this folder is broken or of another model ({type(fault).__name__}: {cut(said)})"
