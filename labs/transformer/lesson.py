"""Homework 5, Transformer: translation from English to Traditional Chinese.

Task
    Translate English sentences, without other text and without pre-trained weights.
Data
    `labs.transformer.data`: 398,066 pairs of TED talks, 4000 sentences to translate; for boss, a monolingual corpus.
Metric
    BLEU in characters (sacrebleu, tokenizer `zh`), 0 to 100, higher is better. Course's public thresholds: simple
    14.58, medium 18.04, strong 25.20, boss 29.13.
Ladder
    simple   the course's sample: GRU encoder and decoder with attention, a constant learning rate, label smoothing,
             gradient accumulation and clipping, weights averaged over the last epochs, beam search.
    medium   the learning rate warms up and decays with the inverse square root of the step; as in the course, twice as
             many epochs. With equally many epochs the schedule alone showed no gain on one seed.
    strong   a Transformer; at size `course` as wide as transformer-base.
    boss     back-translation: a Chinese-to-English model translates the monolingual corpus; the Transformer is trained
             on these synthetic pairs as well, whose sources begin with a tag.
    Scheduled sampling is off in all presets; the field `scheduled_sampling` turns it on.
Report
    (a)  How similar are the position encodings of the decoder to each other?
    (b)  How large is the gradient in each step, and where does clipping act?
Papers
    Bahdanau et al., translation with attention (arXiv:1409.0473); Vaswani et al., Attention Is All You Need
    (arXiv:1706.03762); Sennrich et al., back-translation (arXiv:1511.06709); Caswell et al., Tagged Back-Translation
    (arXiv:1906.06442); Mihaylova and Martins, Scheduled Sampling for Transformers (arXiv:1906.07651).
"""

import json
import math
from functools import partial
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator

from labs import COURSE
from labs.core import shards
from labs.core.config import Config
from labs.core.events import write_text
from labs.core.lab import Lab
from labs.core.meter import Meter
from labs.core.run import Run
from labs.core.schedule import set_rate
from labs.core.weights import load_shape, load_weights
from labs.transformer import data, demo, report
from labs.transformer.back_translation import back_translate, require_corpus, with_synthetic
from labs.transformer.bleu import check_submission, score_submission
from labs.transformer.decoding import beam_search, max_lengths, scheduled_sampling
from labs.transformer.inference import evaluate, translate_test_set
from labs.transformer.networks import Network, Recurrent, Transformer
from labs.transformer.token_batches import PAD, Pairs, Sentences, TokenBatches, read_pairs, regroup
from labs.transformer.training import TrainingState, smoothed_loss

METRIC = COURSE["transformer"].metric
BEAM_SIZE, LENGTH_PENALTY = 5, 1.0
"""The sample's beam search."""


class TransformerConfig(Config):
    architecture: Literal["gru", "transformer"] = "gru"
    """GRUs with attention, or a Transformer."""
    layers: int = Field(1, ge=1)
    """Layers of the encoder, and of the decoder."""
    d_model: int = Field(256, ge=2)
    """Channels of an embedding; with `architecture=transformer` also of every layer, even and a multiple of `heads`."""
    hidden_size: int = Field(512, ge=1)
    """Units of the encoder's GRU in each direction; the decoder has twice as many. No effect on a Transformer."""
    heads: int = Field(4, ge=1)
    """Attention heads of a layer; no effect with `architecture=gru`."""
    d_ff: int = Field(1024, ge=1)
    """Channels between the two linear layers of a feed-forward network; no effect with `architecture=gru`."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Dropout of activations and of the Transformer's attention weights."""
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    """Fraction of the target distribution that is spread evenly over the vocabulary."""
    schedule: Literal["constant", "inverse-sqrt"] = "constant"
    """Learning rate: constant, or linear warmup to `lr` and then decay with the inverse square root of the step."""
    lr: float = Field(2e-3, gt=0)
    """Peak learning rate of AdamW."""
    warmup: int = Field(4000, ge=1)
    """Steps in which the learning rate rises; no effect with `schedule=constant`."""
    weight_decay: float = Field(1e-4, ge=0)
    """Decoupled weight decay of AdamW."""
    clip: float = Field(1.0, gt=0)
    """Maximum norm of the gradient."""
    batch_tokens: int = Field(8192, ge=1)
    """Maximum tokens of a padded micro-batch of sentences of similar length; a longer sentence is one by itself."""
    accumulation: int = Field(2, ge=1)
    """Micro-batches whose gradients add up to one step, over all workers."""
    epochs: int = Field(15, ge=1)
    """Passes over the pairs."""
    averaged_epochs: int = Field(5, ge=1)
    """Last epochs whose weights are averaged, for validation and for the final model."""
    scheduled_sampling: float = Field(0.0, ge=0, le=1)
    """Fraction of the decoder's inputs that are its own predictions, rising linearly from 0 towards this value."""
    synthetic_ratio: float = Field(0.0, ge=0)
    """Synthetic pairs from back-translation for each real pair, at most the monolingual corpus; 0 for none."""
    reverse_epochs: int = Field(15, ge=1)
    """Passes over the pairs for the back-translation model; no effect with `synthetic_ratio=0`."""
    beam_size: int = Field(BEAM_SIZE, ge=1)
    """Hypotheses in the beam for the submission; validation and back-translation use greedy search."""
    length_penalty: float = Field(LENGTH_PENALTY, ge=0)
    """Exponent of the length that a translation's log-probability is divided by."""
    validation_fraction: float = Field(0.01, gt=0, lt=1)
    """Fraction of the pairs that is held out for validation, drawn by the seed."""

    @model_validator(mode="after")
    def _heads_divide_the_channels(self) -> Self:
        if self.architecture == "transformer" and (self.d_model % self.heads or self.d_model % 2):
            raise ValueError(f"d_model {self.d_model} must be even and a multiple of heads {self.heads}")
        return self


def network(config: TransformerConfig, vocabulary_size: int) -> Network:
    """Sources (B, S) and decoder inputs (B, T), token ids -> logits of the next tokens (B, T, vocabulary)."""
    if config.architecture == "gru":
        return Recurrent(vocabulary_size, config.d_model, config.hidden_size, config.layers, config.dropout)
    return Transformer(vocabulary_size, config.d_model, config.heads, config.d_ff, config.layers, config.dropout)


def learning_rate(config: TransformerConfig, step: int) -> float:
    """Learning rate of a step, counted from 1; the sample's factor of 2 is `lr` 2e-3 with the defaults."""
    if config.schedule == "constant":
        return config.lr
    # lr(t) = lr * min(t / warmup, sqrt(warmup / t))   (Vaswani et al., arXiv:1706.03762, equation 3, scaled to peak lr)
    return config.lr * min(step / config.warmup, math.sqrt(config.warmup / step))


def train(config: TransformerConfig, run: Run) -> None:
    require_corpus(run.data_dir, config.synthetic_ratio)
    vocabulary_size = shards.manifest(run.data_dir)["facts"]["vocabulary_size"]
    run.write_shape(vocabulary_size=vocabulary_size)
    real, validation = read_pairs(run.data_dir, config.validation_fraction, run.seed)
    pairs, make = real, partial(network, config, vocabulary_size)
    new_state = partial(TrainingState, make, run, config.weight_decay, config.averaged_epochs)
    reverse = new_state() if config.synthetic_ratio else None
    forward = new_state()
    state = {"reverse": reverse, "forward": forward} if reverse else {"forward": forward}
    reverse_epochs = config.reverse_epochs if reverse else 0

    for epoch in run.epochs(reverse_epochs + config.epochs, state=state):
        # 1. For back-translation, first train the reverse model, from Chinese to English.
        if reverse and epoch < reverse_epochs:
            run.log({"train/reverse_loss": train_epoch(config, run, reverse, (real[1], real[0]), epoch)})
            continue

        # 2. Once: write sources for sentences of the monolingual corpus. A continued run reads them from its folder.
        if reverse and pairs is real:
            if epoch == reverse_epochs:
                count = round(config.synthetic_ratio * len(real[0]))
                with run.evaluation(reverse.averaged) as net, run.autocast():
                    back_translate(net, run, count, config.batch_tokens, config.length_penalty)
            pairs = with_synthetic(real, run)

        # 3. Train the forward model on all pairs; scheduled sampling rises linearly.
        sampled = config.scheduled_sampling * (epoch - reverse_epochs) / config.epochs
        run.log({"train/loss": train_epoch(config, run, forward, pairs, epoch, sampled)})

        # 4. Validate the averaged weights, and keep those with the best BLEU.
        run.log({"val/bleu": evaluate(forward.averaged, validation, run, config.batch_tokens, config.length_penalty)})
        run.best(METRIC, forward.averaged)
    if run.rank == 0:
        write_text(run.file(report.NORMS), json.dumps(forward.gradient_norms))


def train_epoch(
    config: TransformerConfig, run: Run, state: TrainingState, pairs: Pairs, epoch: int, sampled: float = 0.0
) -> float:
    """Train on all pairs once, a fraction `sampled` of the decoder's inputs being predictions; the loss per token."""
    model, optimizer = state.model, state.optimizer
    dataset = TokenBatches(*pairs, config.batch_tokens, run.seed * 10_000 + epoch)
    batches = run.loader(dataset, config.accumulation, train=True)
    norms, losses = [], Meter()
    for step, columns in enumerate(batches, len(state.gradient_norms) + 1):
        # 1. Set the learning rate, and count the target tokens of the step, without BOS and PAD: the workers' mean,
        # because DDP divides the sum of the workers' gradients by their number.
        set_rate(optimizer, learning_rate(config, step))
        micro_batches = regroup(columns)
        token_count = torch.stack([(batch.targets[:, 1:] != PAD).sum() for batch in micro_batches]).sum().float()
        mean_count = run.average(token_count)

        # 2. Add up the gradients of the micro-batches: L = sum of the tokens' losses / tokens of the step.
        optimizer.zero_grad()
        for sources, targets, _ in run.micro_batches(model, micro_batches):
            inputs = targets[:, :-1]
            if sampled:
                inputs = scheduled_sampling(model, sources, inputs, sampled)
            loss = smoothed_loss(model(sources, inputs), targets[:, 1:], config.label_smoothing)
            run.backward(loss / mean_count)
            losses.add_sum(loss, (targets[:, 1:] != PAD).sum())

        # 3. Clip the gradient and update the weights.
        norms.append(run.clip_gradients(optimizer, config.clip))
        run.step(optimizer)
    state.end_epoch(torch.stack(norms))
    return run.mean(losses.sum, losses.count)


def load(folder: Path) -> Network:
    return load_weights(folder, network(LAB.read_config(folder), **load_shape(folder)))


def predict(model: Network, inputs: np.ndarray) -> np.ndarray:
    """(B, S) int64 token ids of English sentences, each followed by `EOS` and then `PAD` -> (B, T) int64 token ids of
    their translations in the same form, found with the sample's beam search."""
    sources = torch.from_numpy(inputs).to(model.target_embedding.weight.device)
    with torch.no_grad():
        translations, _ = beam_search(model, sources, BEAM_SIZE, LENGTH_PENALTY, max_lengths(sources))
    return np.asarray(translations.cpu())


def example(data_dir: Path) -> np.ndarray:
    sentences = Sentences(data_dir, "test_en", torch.arange(2)).token_ids
    return np.asarray(TokenBatches(sentences, None, 10**6)[torch.tensor([0])][0])


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `prediction.txt`, a line for each of `test.en`, and the report."""
    model, config = load(folder).to("cuda" if torch.cuda.is_available() else "cpu"), LAB.read_config(folder)
    out.mkdir(parents=True, exist_ok=True)
    text = translate_test_set(model, data_dir, config.batch_tokens, config.beam_size, config.length_penalty)
    write_text(out / LAB.submission, text)
    report.write(LAB, folder, out)


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    answers = data_dir / data.ANSWERS
    if not answers.exists():
        return {}
    return score_submission(delivered / LAB.submission, answers, shards.manifest(data_dir)["facts"]["most_frequent"])


def space() -> dict[str, dict[str, object]]:
    transformer = {"architecture": "transformer"}
    # Every d_model is even and a multiple of every number of heads. Validation, by greedy search, sees no beam_size.
    return {
        "architecture": {"type": "choice", "values": ["gru", "transformer"]},
        "layers": {"type": "randint", "low": 1, "high": 5},
        "d_model": {"type": "choice", "values": [64, 128, 256, 512]},
        "hidden_size": {"type": "choice", "values": [64, 128, 256, 512], "when": {"architecture": "gru"}},
        "heads": {"type": "choice", "values": [2, 4, 8], "when": transformer},
        "d_ff": {"type": "choice", "values": [128, 256, 512, 1024], "when": transformer},
        "dropout": {"type": "uniform", "low": 0.0, "high": 0.4},
        "label_smoothing": {"type": "uniform", "low": 0.0, "high": 0.2},
        "schedule": {"type": "choice", "values": ["constant", "inverse-sqrt"]},
        "lr": {"type": "loguniform", "low": 2e-4, "high": 1e-2},
        "warmup": {"type": "choice", "values": [50, 100, 200, 400, 4000], "when": {"schedule": "inverse-sqrt"}},
        "batch_tokens": {"type": "choice", "values": [512, 1024, 2048, 8192]},
        "accumulation": {"type": "choice", "values": [2, 4, 8]},
        "scheduled_sampling": {"type": "uniform", "low": 0.0, "high": 0.5},
        "synthetic_ratio": {"type": "choice", "values": [0.0, 1.0, 2.0, 3.0]},
        "length_penalty": {"type": "uniform", "low": 0.0, "high": 2.0},
    }


SIZES: dict[str, dict[str, object]] = {
    "tiny": {"d_model": 16, "hidden_size": 16, "d_ff": 32, "heads": 2, "batch_tokens": 512, "warmup": 20, "epochs": 2,
             "reverse_epochs": 1, "validation_fraction": 0.05, "beam_size": 2, "averaged_epochs": 2},
    "small": {"d_model": 64, "hidden_size": 64, "d_ff": 256, "batch_tokens": 512, "lr": 8e-3, "warmup": 100,
              "epochs": 7, "reverse_epochs": 8, "validation_fraction": 0.05, "averaged_epochs": 3},
    "course": {},
}  # fmt: skip
BASE = {"layers": 4, "d_model": 512, "d_ff": 2048, "heads": 8}
"""Transformer-base (Vaswani et al., table 3), with four layers in place of six, as the course suggests."""
STRONG = {"architecture": "transformer", "schedule": "inverse-sqrt", "dropout": 0.1}
LAB = Lab(
    heading=COURSE["transformer"],
    config=TransformerConfig,
    presets={
        "simple": {},
        "medium": {"schedule": "inverse-sqrt"},
        "strong": STRONG,
        "boss": {**STRONG, "synthetic_ratio": 2.0},
    },
    sizes=SIZES,
    train=train,
    load=load,
    predict=predict,
    example=example,
    demo=demo.DEMO,
    deliver=deliver,
    check_submission=check_submission,
    score=score,
    batch_field=lambda config: "accumulation",
    submission="prediction.txt",
    space=space,
    network=lambda config: network(config, data.VOCABULARY_SIZE),
    data=data,
    tuned={
        ("simple", "small"): {"lr": 1.2e-2, "epochs": 6},
        ("medium", "small"): {"lr": 1.5e-2, "epochs": 12},
        ("strong", "small"): {"d_model": 128, "lr": 6e-3, "epochs": 12},
        ("boss", "small"): {"d_model": 128, "lr": 6e-3, "epochs": 8},
        ("medium", "course"): {"epochs": 30},
        **{(preset, "course"): {**BASE, "epochs": 30} for preset in ("strong", "boss")},
    },
    seconds={"tiny": 2, "small": 60, "course": 14400},
)
