"""Pre-trained models of Hugging Face: from a local folder or by name, weights as safetensors, without the network where
they are here already. transformers takes seconds to import, so it is imported where it is used."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import SafetensorError

from labs.core.errors import BadInput

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PretrainedConfig, PreTrainedModel

VOCABULARY, LARGE = 21128, {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
SHAPES: dict[str, dict[str, int]] = {
    "bert-base-chinese": {},
    "hfl/chinese-bert-wwm-ext": {},
    "hfl/chinese-macbert-base": {},
    "hfl/chinese-macbert-large": {**LARGE, "intermediate_size": 4096},
}
"""Public models of which BERT's shape is known without a download, as far as it differs from BERT's own."""


class Marks(NamedTuple):
    """Numbers of the tokens with a meaning of their own; each vocabulary has others."""

    pad: int
    cls: int
    sep: int


def shape(name: str) -> "PretrainedConfig":
    """Sizes of a checkpoint's model, without a download where they are known."""
    from transformers import BertConfig

    if name in SHAPES:
        return BertConfig(vocab_size=VOCABULARY, **SHAPES[name])
    from transformers import AutoConfig

    config: PretrainedConfig = _fetch(AutoConfig, name)
    return config


def tokenizer(name: str) -> tuple["Tokenizer", Marks]:
    """How a checkpoint cuts text into tokens.

    Raises:
        BadInput: it can't be had, or lacks what separates a question from a paragraph.
    """
    from transformers import AutoTokenizer

    whole = _fetch(AutoTokenizer, name)
    marks = whole.pad_token_id, whole.cls_token_id, whole.sep_token_id
    if None in marks or not whole.is_fast:
        raise BadInput(f"checkpoint {name!r}: expected a fast tokenizer with tokens for padding, the beginning and "
                       "separation, as BERT has")  # fmt: skip
    backend: Tokenizer = whole.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return backend, Marks(*marks)


def reader(name: str) -> "PreTrainedModel":
    """A checkpoint's model with a new head, still untrained, for the first and the last token of an answer."""
    from transformers import AutoModelForQuestionAnswering

    model: PreTrainedModel = _fetch(AutoModelForQuestionAnswering, name, use_safetensors=True, dtype=torch.float32)
    for path, weight in model.named_parameters():
        if "embed_positions" in path:  # a table of sines; loading forgets that it is not to be learnt
            weight.requires_grad_(False)
    return model


def blank_reader(config: "PretrainedConfig") -> "PreTrainedModel":
    """The same with weights drawn afresh."""
    from transformers import AutoModelForQuestionAnswering

    model: PreTrainedModel = AutoModelForQuestionAnswering.from_config(config, dtype=torch.float32)
    return model


def quiet() -> None:
    """No word of transformers about heads that are new, as they should be, or about how many files it has read."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _fetch(kind: Any, name: str, **more: Any) -> Any:
    """What the folder or the cache has; else what the hub has."""
    quiet()
    try:
        return kind.from_pretrained(name, local_files_only=True, trust_remote_code=False, **more)
    except (OSError, ValueError, SafetensorError) as error:
        fault = error
    if not Path(name).exists():
        try:
            return kind.from_pretrained(name, trust_remote_code=False, **more)
        except (OSError, ValueError, SafetensorError) as error:
            fault = error
    raise BadInput(f"checkpoint {name!r} can't be had: expected a folder with config.json, model.safetensors and a "
                   "tokenizer, or the name of a model that is in the Hugging Face cache or can be downloaded "
                   f"({type(fault).__name__})")  # fmt: skip
