"""Before homework 7: a small BERT is pre-trained by masked language modelling, to be fine-tuned on few questions.

Task
    Predict the masked characters of a text. The result is a folder that Hugging Face's libraries can load: the
    pre-trained model of the bert lab where none can be downloaded from the hub.
Data
    `labs.bert.corpus`: texts whose first sentence repeats facts of the rest. A text is encoded as the fine-tuned model
    will see a question and its paragraph: [CLS] first sentence [SEP] rest [SEP].
Metric
    Accuracy, the fraction of the masked characters that are predicted; higher is better. The course has no thresholds.
Presets
    spans        spans of characters are masked, so that a name or a year has to be copied from where the text repeats
                 it (SpanBERT; whole-word masking without a dictionary).
    characters   each character is masked independently, as in BERT.
    statements   as spans, without the questions and answers that generated text repeats half of its facts in.
    Two choices make one minute of training enough to learn to copy. Position embeddings are rotary (RoFormer), and
    attention is initialised so that a token attends to equal tokens and copies them (mimetic initialisation).
Papers
    Devlin et al., BERT (arXiv:1810.04805); Joshi et al., SpanBERT (arXiv:1907.10529); Cui et al., Whole Word Masking
    for Chinese BERT (arXiv:1906.08101); Su et al., RoFormer (arXiv:2104.09864);
    Trockman and Kolter, Mimetic Initialization of Self-Attention Layers (arXiv:2305.09828).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from labs import COURSE
from labs.bert import corpus, packed_texts, pretrained_models, tiny_bert
from labs.bert.pretraining_demo import DEMO
from labs.bert.tiny_bert import MASK, PAD, SPECIAL, SPECIAL_TOKENS, new_tokenizer
from labs.core import curves, shards
from labs.core.config import Config
from labs.core.lab import Lab
from labs.core.meter import Meter
from labs.core.report import Report
from labs.core.run import Run
from labs.core.schedule import set_rate, warmup_cosine
from labs.core.weights import load_shape, load_weights, unwrap
from labs.shared.text.reader import encode_pairs, model_inputs

if TYPE_CHECKING:
    from transformers import BertTokenizer, RoFormerForMaskedLM

METRIC = COURSE["bert-pretrain"].metric
IGNORED = -100
"""Label of a token that is not masked, which the loss ignores."""
COURSE_CHARACTERS = 6000
"""Approximate number of characters in Traditional Chinese text, for counting parameters."""


class PretrainingConfig(Config):
    masking: Literal["characters", "spans"] = "characters"
    """What is masked: characters independently, or spans of characters."""
    mask_fraction: float = Field(0.15, gt=0, lt=1)
    """Fraction of the characters that is masked; with spans a little less, because spans overlap."""
    questions: bool = True
    """Whether the texts' questions and their answers are kept; without them, fine-tuning has the first questions."""
    max_span: int = Field(4, ge=1)
    """Maximum length of a span in characters, drawn uniformly from 1 on; no effect with `masking=characters`."""
    layers: int = Field(6, ge=1)
    """Layers of the encoder."""
    hidden_size: int = Field(384, ge=2)
    """Channels of a token's hidden state, an even multiple of `heads`."""
    heads: int = Field(6, ge=1)
    """Attention heads of a layer."""
    intermediate_size: int = Field(1536, ge=1)
    """Channels between the two linear layers of a feed-forward network."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout of hidden states and of attention weights."""
    first_sentence_tokens: int = Field(40, ge=1)
    """Maximum length of a text's first sentence in tokens; longer sentences are truncated."""
    rest_tokens: int = Field(150, ge=1)
    """Maximum length of the rest of a text in tokens; longer texts are truncated."""
    lr: float = Field(5e-4, gt=0)
    """Peak learning rate of AdamW, which rises linearly for 0.05 of the training and falls to 0 on a cosine."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay of AdamW."""
    clip: float = Field(1.0, gt=0)
    """Maximum norm of the gradient."""
    batch_size: int = Field(64, ge=1)
    """Texts of a global batch, over all workers."""
    epochs: int = Field(10, ge=1)
    """Passes over the texts, each with other masked characters."""

    @model_validator(mode="after")
    def _heads_divide_the_channels(self) -> Self:
        if self.hidden_size % (2 * self.heads):
            raise ValueError(f"hidden_size {self.hidden_size} must be an even multiple of heads {self.heads}")
        return self


def network(config: PretrainingConfig, vocabulary_size: int) -> "RoFormerForMaskedLM":
    """A masked language model with random weights."""
    model_config = tiny_bert.model_config(
        vocabulary_size, config.layers, config.hidden_size, config.heads, config.intermediate_size, config.dropout
    )
    return tiny_bert.new_model(model_config)


def mask(
    input_ids: torch.Tensor, config: PretrainingConfig, vocabulary_size: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Masked `input_ids` (N, T), and labels (N, T): the original tokens where masked, elsewhere `IGNORED`.

    As in BERT, of the masked tokens 80 % become [MASK], 10 % a random token, and 10 % stay as they are.
    """
    shape = input_ids.shape
    masked = torch.rand(shape, generator=generator) < config.mask_fraction
    if config.masking == "spans":
        # A span starts at a token with probability mask_fraction / E[length], where E[length] = (1 + max_span) / 2.
        starts = torch.rand(shape, generator=generator) < config.mask_fraction / ((1 + config.max_span) / 2)
        lengths = torch.randint(1, config.max_span + 1, shape, generator=generator)
        masked = starts.clone()
        for offset in range(1, config.max_span):
            masked[:, offset:] |= (starts & (lengths > offset))[:, :-offset]
    masked &= input_ids >= len(SPECIAL)
    choice = torch.rand(shape, generator=generator)
    random_tokens = torch.randint(len(SPECIAL), vocabulary_size, shape, generator=generator)
    inputs = torch.where(masked & (choice < 0.8), MASK, input_ids)
    inputs = torch.where(masked & (choice >= 0.9), random_tokens, inputs)
    return inputs, torch.where(masked, input_ids, IGNORED)


def masked_texts(
    columns: tuple[torch.Tensor, ...], config: PretrainingConfig, vocabulary_size: int, seed: int
) -> TensorDataset:
    """`columns` of `encode`, masked by the seed: `input_ids`, `token_type_ids`, `attention_mask` and labels, (N, T)."""
    input_ids, token_type_ids, attention_mask = columns
    masked, labels = mask(input_ids, config, vocabulary_size, torch.Generator().manual_seed(seed))
    return TensorDataset(masked, token_type_ids, attention_mask, labels)


def encode(lines: list[str], config: PretrainingConfig, tokenizer: "BertTokenizer") -> tuple[torch.Tensor, ...]:
    """`input_ids`, `token_type_ids` and `attention_mask` of the texts, (N, T) each."""
    texts = zip(*(corpus.split_first_sentence(line, questions=config.questions) for line in lines), strict=True)
    backend = tokenizer.backend_tokenizer
    first, rest = (backend.encode_batch(list(part), add_special_tokens=False) for part in texts)
    pairs = [
        (torch.tensor(a.ids[: config.first_sentence_tokens]), torch.tensor(b.ids[: config.rest_tokens]))
        for a, b in zip(first, rest, strict=True)
    ]
    return encode_pairs(pairs, SPECIAL_TOKENS)


def train(config: PretrainingConfig, run: Run) -> None:
    characters = shards.manifest(run.data_dir)["facts"]["characters"]
    run.write_shape(characters=characters)
    tokenizer = new_tokenizer(characters)
    training, dev = (encode(packed_texts.read(run.data_dir, split), config, tokenizer) for split in ("train", "dev"))
    validation = masked_texts(dev, config, len(tokenizer), seed=0)
    model = run.wrap(network(config, len(tokenizer)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)

    for epoch in run.epochs(config.epochs, state={"model": model, "optimizer": optimizer}):
        # 1. Mask other characters in each epoch.
        dataset = masked_texts(training, config, len(tokenizer), seed=run.seed * 10_000 + epoch)
        batches = run.loader(dataset, config.batch_size, train=True)
        losses = Meter()
        for step, (*inputs, labels) in enumerate(batches):
            # 2. Set the learning rate: lr * (1 + cos(pi * t)) / 2 after the warmup, t from 0 to 1.
            done = (epoch + step / len(batches)) / config.epochs
            set_rate(optimizer, config.lr * warmup_cosine(done, warmup=0.05))

            # 3. L = -1/|M| sum over the masked positions M of log p(original token | masked text)
            logits = model(**model_inputs(unwrap(model), *inputs)).logits
            loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")
            masked_count = (labels != IGNORED).sum().float()

            # 4. Update the weights. |M| is the workers' mean, since the workers mask unequal numbers of characters.
            optimizer.zero_grad()
            run.backward(loss / run.average(masked_count).clamp(min=1))
            run.clip_gradients(optimizer, config.clip)
            run.step(optimizer)
            losses.add_sum(loss, masked_count)

        # 5. Validate, and keep the weights with the best accuracy.
        loss_mean = run.mean(losses.sum, losses.count)
        run.log({"train/loss": loss_mean, "val/accuracy": evaluate(model, validation, run)})
        run.best(METRIC, model)


def evaluate(model: nn.Module, dataset: TensorDataset, run: Run) -> float:
    """Fraction of the masked characters that are predicted."""
    correct = Meter()
    with run.evaluation(model) as net:
        for *inputs, labels in run.loader(dataset, 256):
            predictions = net(**model_inputs(net, *inputs)).logits.argmax(2)
            correct.add_sum((predictions == labels).sum(), (labels != IGNORED).sum())
    return run.mean(correct.sum, correct.count)


def load(folder: Path) -> "RoFormerForMaskedLM":
    characters = load_shape(folder)["characters"]
    model = network(LAB.read_config(folder), len(new_tokenizer(characters)))
    return load_weights(folder, model)


def predict(model: "RoFormerForMaskedLM", inputs: np.ndarray) -> np.ndarray:
    """`input_ids` (B, T) int64, some of them [MASK] -> the most probable token at each position, (B, T) int64."""
    input_ids = torch.from_numpy(inputs).to(model.device)
    with torch.no_grad():
        logits = model(input_ids=input_ids, attention_mask=input_ids.ne(PAD).long()).logits
    predictions: np.ndarray = logits.argmax(2).cpu().numpy()
    return predictions


def example(data_dir: Path) -> np.ndarray:
    config = PretrainingConfig.model_validate({})
    tokenizer = new_tokenizer(shards.manifest(data_dir)["facts"]["characters"])
    columns = encode(packed_texts.read(data_dir, "dev")[:2], config, tokenizer)
    return np.asarray(masked_texts(columns, config, len(tokenizer), seed=0).tensors[0])


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write the model and its tokenizer as a folder of Hugging Face's libraries, and a report with learning curves."""
    out.mkdir(parents=True, exist_ok=True)
    pretrained_models.silence()
    model = load(folder)
    model.config.masking = LAB.read_config(folder).masking  # which reports of fine-tuned models name
    model.save_pretrained(out)
    new_tokenizer(load_shape(folder)["characters"]).save_pretrained(out)
    report = Report(LAB, folder, out)
    panels = [("loss, nats", {"train/loss": "training loss"}), ("accuracy", {"val/accuracy": "masked characters"})]
    report.figure("curves", curves.figure(folder, "Pre-training", panels), "Learning curves.")
    report.write()


def check_submission(file: Path) -> list[str]:
    """Whether Hugging Face's libraries can load the file's folder."""
    return [f"{file.name}: {fault}" for fault in pretrained_models.check_folder(file.parent)]


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    """Accuracy on the test texts; `test/trivial` is that of always predicting the most frequent masked character."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    lines = corpus.read_answers(data_dir)
    if lines is None:
        return {}
    tokenizer, config = AutoTokenizer.from_pretrained(delivered), PretrainingConfig.model_validate({})
    dataset = masked_texts(encode(lines, config, tokenizer), config, len(tokenizer), seed=0)
    model, hits = AutoModelForMaskedLM.from_pretrained(delivered).eval(), 0
    with torch.no_grad():
        for rows in torch.arange(len(dataset)).split(64):
            *inputs, labels = dataset[rows]
            predictions = model(**model_inputs(model, *inputs)).logits.argmax(2)
            hits += int((predictions == labels).sum())
    labels = dataset.tensors[3]
    masked = labels[labels != IGNORED]
    return {"test/accuracy": hits / len(masked), "test/trivial": float(masked.bincount().max()) / len(masked)}


def space() -> dict[str, dict[str, object]]:
    return {  # every hidden_size is an even multiple of every number of heads
        "masking": {"type": "choice", "values": ["characters", "spans"]},
        "mask_fraction": {"type": "uniform", "low": 0.1, "high": 0.4},
        "max_span": {"type": "randint", "low": 2, "high": 7, "when": {"masking": "spans"}},
        "layers": {"type": "randint", "low": 2, "high": 5},
        "hidden_size": {"type": "choice", "values": [64, 96, 128]},
        "heads": {"type": "choice", "values": [2, 4]},
        "lr": {"type": "loguniform", "low": 2e-4, "high": 4e-3},
        "batch_size": {"type": "choice", "values": [16, 32, 64]},
    }


SPANS = {"masking": "spans", "mask_fraction": 0.2}
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"layers": 1, "hidden_size": 16, "heads": 2, "intermediate_size": 32, "dropout": 0.0,
             "first_sentence_tokens": 40, "rest_tokens": 40, "lr": 2e-3, "batch_size": 16, "epochs": 2},
    "small": {"layers": 2, "hidden_size": 96, "heads": 4, "intermediate_size": 192, "dropout": 0.0,
              "first_sentence_tokens": 40, "rest_tokens": 56, "lr": 1.2e-3, "batch_size": 16, "epochs": 5,
              "mask_fraction": 0.2},
    "course": {},
}  # fmt: skip
LAB = Lab(
    heading=COURSE["bert-pretrain"],
    config=PretrainingConfig,
    presets={"spans": SPANS, "characters": {}, "statements": {**SPANS, "questions": False}},
    sizes=SIZES,
    train=train,
    load=load,
    predict=predict,
    example=example,
    demo=DEMO,
    deliver=deliver,
    check_submission=check_submission,
    score=score,
    submission="model.safetensors",
    space=space,
    network=lambda config: network(config, len(SPECIAL) + COURSE_CHARACTERS),
    data=corpus,
    seconds={"tiny": 2, "small": 60, "course": 14400},
)
