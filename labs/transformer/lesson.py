"""Homework 5, Transformer: from English to Traditional Chinese.

Task
    Translate English sentences with no text or weights from elsewhere.
Data
    `data.py`: 398,066 sentence pairs of TED talks, 4000 English sentences to translate, and Chinese alone.
Metric
    BLEU in characters (sacrebleu, tokenizer `zh`), higher is better. Course's public thresholds: simple 14.58,
    medium 18.04, strong 25.20, boss 29.13.
Ladder
    simple   the course's sample: GRUs with attention and a constant learning rate; smoothed labels, clipped and
             accumulated gradients, the mean of the last epochs' weights, beam search.
    medium   the learning rate rises, then falls with the inverse square root of the step, and as in the course the
             training is twice as long. At equal length, on the one seed tried, the schedule alone did no better.
    strong   a Transformer.
    boss     back-translation: a model from Chinese to English writes a source for sentences of Chinese alone, and the
             Transformer learns from those pairs too; a tag tells it which they are.
    Scheduled sampling is one field, `sampling`, with any of these.
Papers
    Bahdanau et al., Neural Machine Translation by Jointly Learning to Align and Translate (arXiv:1409.0473); Vaswani
    et al., Attention Is All You Need (arXiv:1706.03762); Sennrich et al., Improving Neural Machine Translation Models
    with Monolingual Data (arXiv:1511.06709); Caswell et al., Tagged Back-Translation (arXiv:1906.06442); Mihaylova
    and Martins, Scheduled Sampling for Transformers (arXiv:1906.07651).
"""

import json
import math
from functools import partial
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from labs import COURSE
from labs.core import shards
from labs.core.config import Config
from labs.core.events import write_text
from labs.core.lab import Lab
from labs.core.run import Run
from labs.core.schedule import set_rate
from labs.core.weights import load_shape, load_weights
from labs.shared.speech.crops import split
from labs.transformer import data, figures
from labs.transformer.back_translation import back_translate, with_made
from labs.transformer.bleu import bleu, check_text
from labs.transformer.decoding import beam_search, limits, own_words
from labs.transformer.inference import evaluate, submission
from labs.transformer.networks import Network, Recurrent, Transformer
from labs.transformer.token_batches import PAD, Batches, Pairs, Sentences
from labs.transformer.trainer import Learner, smoothed_loss

METRIC = COURSE["transformer"].metric
MOST_BYTES = 700_000
"""Largest submission that the judge takes."""
BEAM, LENGTH_PENALTY = 5, 1.0
"""The sample's search."""
NORMS = "gradient_norms.json"
"""In a run's folder: the norm of the gradient at each step, before clipping."""


class TransformerConfig(Config):
    architecture: Literal["gru", "transformer"] = "gru"
    """GRUs with attention, or a Transformer."""
    layers: int = Field(1, ge=1)
    """Layers of the encoder, and of the decoder."""
    d_model: int = Field(256, ge=2)
    """Size of a piece's vector; with `architecture=transformer` an even multiple of `heads`."""
    hidden: int = Field(512, ge=1)
    """Units of the GRU that reads, each way; the one that writes has twice as many. No effect with a Transformer."""
    heads: int = Field(4, ge=1)
    """Heads of the attention; no effect with `architecture=gru`."""
    ff: int = Field(1024, ge=1)
    """Channels inside a feed-forward part; no effect with `architecture=gru`."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of activations, and of attention weights, dropped in training."""
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    """Share of a target's probability that is spread over all pieces."""
    schedule: Literal["constant", "inverse-sqrt"] = "constant"
    """The learning rate stays `lr`, or rises to it and falls with the inverse square root of the step."""
    lr: float = Field(2e-3, gt=0)
    """Highest learning rate of AdamW."""
    warmup: int = Field(4000, ge=1)
    """Steps over which the rate rises; no effect with `schedule=constant`."""
    weight_decay: float = Field(1e-4, ge=0)
    """Decoupled weight decay."""
    clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient."""
    tokens: int = Field(8192, ge=1)
    """Most pieces of a batch of sentences of like length, with padding; a longer sentence is a batch alone."""
    accumulation: int = Field(2, ge=1)
    """Batches whose gradients make a step; they are split between the workers."""
    epochs: int = Field(15, ge=1)
    """Passes over the pairs."""
    average: int = Field(5, ge=1)
    """Last epochs whose weights are averaged for validation and at the end."""
    sampling: float = Field(0.0, ge=0, le=1)
    """Share of the decoder's inputs that are its own predictions at the end of the training, rising from 0."""
    synthetic: float = Field(0.0, ge=0)
    """Pairs made by back-translation for each real one, as far as there is Chinese alone; 0 makes none."""
    reverse_epochs: int = Field(15, ge=1)
    """Passes over the pairs that train the model for back-translation; no effect with `synthetic=0`."""
    beam: int = Field(BEAM, ge=1)
    """Beginnings of a translation that the final search keeps; validation and back-translation keep one."""
    length_penalty: float = Field(LENGTH_PENALTY, ge=0)
    """Power of the length that a translation's log-probability is divided by."""
    validation: float = Field(0.01, gt=0, lt=1)
    """Share of the pairs that is held out, at random by seed."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.architecture == "transformer" and (self.d_model % self.heads or self.d_model % 2):
            raise ValueError(f"d_model {self.d_model} must be even and a multiple of heads {self.heads}")
        return self


def network(config: TransformerConfig, pieces: int) -> Network:
    """Sources (B, S) and beginnings of targets (B, T), piece numbers -> logits of the next pieces (B, T, pieces)."""
    c = config
    if c.architecture == "gru":
        return Recurrent(pieces, c.d_model, c.hidden, c.layers, c.dropout)
    return Transformer(pieces, c.d_model, c.heads, c.ff, c.layers, c.dropout)


def rate(config: TransformerConfig, step: int) -> float:
    """Learning rate of a step, the first being 1; the sample's factor of 2 is an `lr` of 2e-3 at its size."""
    if config.schedule == "constant":
        return config.lr
    return config.lr * min(step / config.warmup, math.sqrt(config.warmup / step))


def train(config: TransformerConfig, run: Run) -> None:
    pieces = shards.manifest(run.data_dir)["facts"]["pieces"]
    run.write_shape(pieces=pieces)
    english, chinese = (Sentences(run.data_dir, name).pieces for name in ("train_en", "train_zh"))
    held_out, kept = split(len(english), config.validation, run.seed)
    pairs = real = [english[i] for i in kept.tolist()], [chinese[i] for i in kept.tolist()]
    validation = [english[i] for i in held_out.tolist()], [chinese[i] for i in held_out.tolist()]
    fresh = partial(Learner, partial(network, config, pieces), run, config.weight_decay, config.average)
    reverse = fresh() if config.synthetic else None
    forward = fresh()
    state = {"reverse": reverse, "forward": forward} if reverse else {"forward": forward}
    first = config.reverse_epochs if reverse else 0

    for epoch in run.epochs(first + config.epochs, state=state):
        if reverse and epoch < first:
            run.log({"train/reverse_loss": one_pass(config, run, reverse, (real[1], real[0]), epoch)})
            continue
        if reverse and pairs is real:
            if epoch == first:
                with run.evaluation(reverse.mean) as net:
                    back_translate(net, run, round(config.synthetic * len(kept)), config.tokens, config.length_penalty)
            pairs = with_made(real, run)
        share = config.sampling * (epoch - first) / config.epochs
        run.log({"train/loss": one_pass(config, run, forward, pairs, epoch, share)})
        run.log({"val/bleu": evaluate(forward.mean, validation, run, config.tokens, config.length_penalty)})
        run.best(METRIC, forward.mean)
    if run.rank == 0:
        write_text(run.file(NORMS), json.dumps(forward.norms))


def one_pass(
    config: TransformerConfig, run: Run, learner: Learner, pairs: Pairs, epoch: int, share: float = 0.0
) -> float:
    """Train on all pairs once, with a `share` of the model's own words for inputs; gives the loss of a piece."""
    model, optimizer = learner.model, learner.optimizer
    batches = run.loader(Batches(*pairs, config.tokens, run.seed * 10_000 + epoch), config.accumulation, train=True)
    norms, (loss_sum, count) = [], torch.zeros(2, device=run.device)
    for step, parts in enumerate(batches, len(learner.norms) + 1):
        set_rate(optimizer, rate(config, step))
        pieces = torch.stack([(target[:, 1:] != PAD).sum() for target in parts[1::3]]).sum().float()
        average = run.average(pieces)
        optimizer.zero_grad()
        for source, target in zip(parts[0::3], parts[1::3], strict=True):
            inputs = own_words(model, source, target[:, :-1], share) if share else target[:, :-1]
            loss = smoothed_loss(model(source, inputs), target[:, 1:], config.label_smoothing)
            (loss / average).backward()
            loss_sum += loss.detach()
        run.sync_gradients(model)
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), config.clip))
        optimizer.step()
        count += pieces
    learner.remember(torch.stack(norms))
    return run.mean(loss_sum, count)


def load(folder: Path) -> Network:
    return load_weights(folder, network(LAB.read_config(folder), **load_shape(folder)))


def predict(model: Network, inputs: np.ndarray) -> np.ndarray:
    """(B, S) int64 piece numbers of English, `EOS` and `PAD` behind -> (B, T) int64, the same of Chinese, found with
    the sample's beam."""
    source = torch.from_numpy(inputs).to(model.target.weight.device)
    with torch.no_grad():
        output: np.ndarray = beam_search(model, source, BEAM, LENGTH_PENALTY, limits(source))[0].cpu().numpy()
    return output


def example(data_dir: Path) -> np.ndarray:
    sources = Sentences(data_dir, "test_en", torch.arange(2)).pieces
    inputs: np.ndarray = Batches(sources, None, 10**6)[torch.tensor([0])][0].numpy()
    return inputs


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `prediction.txt`, a line for each line of `test.en`, and the report's figures: `gradient_norm.png`, and for
    a Transformer `positions.png`."""
    model, config = load(folder).to("cuda" if torch.cuda.is_available() else "cpu"), LAB.read_config(folder)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / LAB.submission, submission(model, data_dir, config.tokens, config.beam, config.length_penalty))
    norms = json.loads((folder / NORMS).read_text())
    figures.plot_norms(norms, config.clip).savefig(out / "gradient_norm.png", dpi=100, bbox_inches="tight")
    if config.architecture == "transformer":
        figures.plot_positions(config.d_model).savefig(out / "positions.png", dpi=100, bbox_inches="tight")


def check_submission(file: Path) -> list[str]:
    """How many sentences there are is the test set's own affair, so lines are not counted."""
    return check_text(file, MOST_BYTES)


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    """The judge's handling of spaces and widths is not known: both sides are cleaned by the course's rules."""
    answers = data_dir / data.ANSWERS
    if not answers.exists():
        return {}
    truth = [data.clean_zh(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    said = [data.clean_zh(line) for line in (delivered / LAB.submission).read_text(encoding="utf-8").splitlines()]
    most = shards.manifest(data_dir)["facts"]["most_frequent"]
    return {"test/bleu": bleu(said, truth), "test/trivial": bleu([most] * len(truth), truth)}


def space() -> dict[str, dict[str, object]]:
    transformer = {"architecture": "transformer"}
    return {  # heads divide every d_model here, so each sample is valid
        "architecture": {"type": "choice", "values": ["gru", "transformer"]},
        "layers": {"type": "randint", "low": 1, "high": 5},
        "d_model": {"type": "choice", "values": [64, 128, 256, 512]},
        "hidden": {"type": "choice", "values": [64, 128, 256, 512], "when": {"architecture": "gru"}},
        "heads": {"type": "choice", "values": [2, 4, 8], "when": transformer},
        "ff": {"type": "choice", "values": [128, 256, 512, 1024], "when": transformer},
        "dropout": {"type": "uniform", "low": 0.0, "high": 0.4},
        "label_smoothing": {"type": "uniform", "low": 0.0, "high": 0.2},
        "schedule": {"type": "choice", "values": ["constant", "inverse-sqrt"]},
        "lr": {"type": "loguniform", "low": 2e-4, "high": 1e-2},
        "warmup": {"type": "choice", "values": [50, 100, 200, 400, 4000], "when": {"schedule": "inverse-sqrt"}},
        "tokens": {"type": "choice", "values": [512, 1024, 2048, 8192]},
        "accumulation": {"type": "choice", "values": [2, 4, 8]},
        "sampling": {"type": "uniform", "low": 0.0, "high": 0.5},
        "synthetic": {"type": "choice", "values": [0.0, 1.0, 2.0, 3.0]},
        "beam": {"type": "randint", "low": 1, "high": 9},
        "length_penalty": {"type": "uniform", "low": 0.0, "high": 2.0},
    }


SIZES: dict[str, dict[str, object]] = {
    "tiny": {"d_model": 16, "hidden": 16, "ff": 32, "heads": 2, "tokens": 512, "warmup": 20, "epochs": 2,
             "reverse_epochs": 1, "validation": 0.05, "beam": 2, "average": 2},
    "small": {"d_model": 64, "hidden": 64, "ff": 256, "tokens": 512, "lr": 8e-3, "warmup": 100, "epochs": 7,
              "reverse_epochs": 8, "validation": 0.05, "average": 3},
    "course": {},
}  # fmt: skip
STRONG = {"architecture": "transformer", "schedule": "inverse-sqrt", "dropout": 0.1}
LAB = Lab(
    heading=COURSE["transformer"],
    config=TransformerConfig,
    presets={
        "simple": {},
        "medium": {"schedule": "inverse-sqrt"},
        "strong": STRONG,
        "boss": {**STRONG, "synthetic": 2.0},
    },
    sizes=SIZES,
    train=train,
    load=load,
    predict=predict,
    example=example,
    deliver=deliver,
    check_submission=check_submission,
    score=score,
    submission="prediction.txt",
    space=space,
    network=lambda config: network(config, 8000),
    data=data,
    tuned={
        ("simple", "small"): {"lr": 1.2e-2, "epochs": 6},
        ("medium", "small"): {"lr": 1.5e-2, "epochs": 12},
        ("strong", "small"): {"d_model": 128, "lr": 6e-3, "epochs": 12},
        ("boss", "small"): {"d_model": 128, "lr": 6e-3, "epochs": 8},
        ("medium", "course"): {"epochs": 30},
        **{(preset, "course"): {"layers": 4, "epochs": 30} for preset in ("strong", "boss")},
    },
    seconds={"tiny": 2, "small": 60, "course": 14400},
)
