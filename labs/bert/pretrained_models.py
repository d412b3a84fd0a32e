"""Pre-trained models of Hugging Face, by a local folder or by name; weights are read as safetensors only.

The local cache is used before the hub is asked. transformers takes seconds to import, so it is imported inside the
functions that use it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from labs.core.errors import BadInput
from labs.shared.text.reader import InferenceSettings, Reader, SpecialTokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PretrainedConfig, PreTrainedModel

VOCABULARY_SIZE, LARGE = 21128, {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
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
    maximum, needed = config.max_position_embeddings, settings.question_tokens + settings.paragraph_tokens + 3
    if needed > maximum:
        raise BadInput(f"question_tokens {settings.question_tokens}, paragraph_tokens {settings.paragraph_tokens} and "
                       f"3 special tokens are {needed} tokens, but the maximum of pretrained_model {name!r} is "
                       f"{maximum}")  # fmt: skip
    tokenizer, special_tokens = load_tokenizer(name)
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
    backend: Tokenizer = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return backend, SpecialTokens(*special_tokens)


def load_model(name: str) -> "PreTrainedModel":
    """A pre-trained model with a new, untrained head that gives start and end logits.

    Raises:
        BadInput: it can't be loaded.
    """
    from transformers import AutoModelForQuestionAnswering

    model: PreTrainedModel = _load(AutoModelForQuestionAnswering, name, use_safetensors=True, dtype=torch.float32)
    for path, weight in model.named_parameters():
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
        for kind in (AutoModelForMaskedLM, AutoTokenizer):
            kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        return [f"expected a model in a folder with its config.json and tokenizer, found a fault: {error}"]
    return []


def silence() -> None:
    """Turn off transformers' warnings about new heads, which fine-tuning expects, and its progress bars."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _load(kind: Any, name: str, **options: Any) -> Any:
    """From the folder or the cache; if it is in neither, from the hub."""
    silence()
    try:
        return kind.from_pretrained(name, local_files_only=True, trust_remote_code=False, **options)
    except (OSError, ValueError, SafetensorError) as error:
        fault = error
    if not Path(name).exists():
        try:
            return kind.from_pretrained(name, trust_remote_code=False, **options)
        except (OSError, ValueError, SafetensorError) as error:
            fault = error
    raise BadInput(f"pretrained_model {name!r} can't be loaded: expected a folder with config.json, model.safetensors "
                   "and a tokenizer, or the name of a model that is in the Hugging Face cache or can be downloaded "
                   f"({type(fault).__name__})")  # fmt: skip
