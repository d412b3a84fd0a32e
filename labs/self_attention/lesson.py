"""Homework 4, Self-Attention: which of many known speakers said an utterance.

Task
    Classify the speaker of an utterance of any length, with no recordings or weights from elsewhere.
Data
    `data.py`: log-mel spectra from VoxCeleb2; 600 speakers, 56,666 utterances to train on, 8,000 to test.
Metric
    Accuracy, higher is better, a share of the test utterances. Course's public thresholds: simple 0.60824,
    medium 0.70375, strong 0.77750, boss 0.86500.
Ladder
    simple   the course's sample: one Transformer layer, mean pooling; crops of 128 frames; AdamW with a rising and
             falling rate.
    medium   a deeper Transformer of another shape, normalised before each part.
    strong   Conformer blocks, convolutions beside the attention, on every fourth frame.
    boss     self-attentive pooling, and additive-margin softmax as the loss.
    The lecture's cheaper attentions are one field, `attention`, with any of these.
Papers
    Vaswani et al., Attention Is All You Need (arXiv:1706.03762); Gulati et al., Conformer (arXiv:2005.08100); Safari et
    al., Self-Attention Encoding and Pooling for Speaker Recognition (arXiv:2008.01077); Wang et al., Additive Margin
    Softmax (arXiv:1801.05599). Of the variants: `labs.self_attention.attention`.
"""

import csv
import re
from functools import partial
from pathlib import Path
from typing import Literal, Self, get_args

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional as F

from labs import COURSE
from labs.core import shards, submission
from labs.core.config import Config
from labs.core.lab import Lab
from labs.core.run import Run
from labs.core.schedule import set_rate, warmup_cosine
from labs.core.weights import load_shape, load_weights
from labs.self_attention import data, figures
from labs.self_attention.attention import EncoderLayer, Kind, SelfAttention
from labs.self_attention.conformer import ConformerBlock, Subsampling
from labs.self_attention.pooling import AttentivePooling, Cosines, MeanPooling
from labs.shared.speech.crops import Buckets, Crops, split

METRIC = COURSE["self-attention"].metric
HEADER = ("Id", "Category")
CONFORMER = {"encoder": "conformer", "subsampling": True, "heads": 4}


class SelfAttentionConfig(Config):
    encoder: Literal["transformer", "conformer"] = "transformer"
    """Layers of attention and a feed-forward part, or Conformer blocks with a convolution as well."""
    layers: int = Field(1, ge=1)
    """Layers or blocks of the encoder."""
    d_model: int = Field(80, ge=1)
    """Channels of a frame inside the encoder; a multiple of `heads`."""
    heads: int = Field(2, ge=1)
    """Heads of the attention."""
    ff: int = Field(256, ge=1)
    """Channels inside a feed-forward part."""
    norm_first: bool = False
    """Normalise before each part instead of after it; no effect with `encoder=conformer`."""
    conv_kernel: int = Field(15, ge=1)
    """Frames that a convolution sees, odd; no effect with `encoder=transformer`."""
    subsampling: bool = False
    """Begin with convolutions that leave one of four frames, instead of a linear layer on each frame."""
    attention: Kind = "full"
    """Every frame sees all, those near it, every n-th one, or all through a product without a softmax."""
    window: int = Field(16, ge=1)
    """Frames to either side with `attention=local`, n with `attention=strided`; no effect with the others."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of activations, and of attention weights, dropped in training."""
    pooling: Literal["mean", "attentive"] = "mean"
    """From frames to an utterance: their mean, or a mean with weights that are learnt."""
    loss: Literal["softmax", "am-softmax"] = "softmax"
    """Cross-entropy of linear logits, or of scaled cosines, of which the speaker's own must win by a margin."""
    margin: float = Field(0.2, ge=0, lt=1)
    """By how much the speaker's own cosine must win; no effect with `loss=softmax`."""
    scale: float = Field(20.0, gt=0)
    """Factor that makes logits of cosines; no effect with `loss=softmax`."""
    segment: int = Field(128, ge=1)
    """Frames of a training crop, 10 ms each."""
    lr: float = Field(1e-3, gt=0)
    """Highest learning rate of AdamW."""
    weight_decay: float = Field(1e-2, ge=0)
    """Decoupled weight decay."""
    warmup: float = Field(0.0143, gt=0, lt=1)
    """Share of the training over which the rate rises; then it falls to 0 on a cosine."""
    batch_size: int = Field(32, ge=1)
    """Crops of a global batch."""
    epochs: int = Field(44, ge=1)
    """Passes over the training utterances, with one crop of each; the sample's 70,000 steps are 44."""
    validation: float = Field(0.1, gt=0, lt=1)
    """Share of the utterances that is held out, at random by seed."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.d_model % self.heads:
            raise ValueError(f"d_model {self.d_model} must be a multiple of heads {self.heads}")
        if self.conv_kernel % 2 == 0:
            raise ValueError(f"conv_kernel {self.conv_kernel} must be odd, so that a frame is in the middle of it")
        return self


class SpeakerNet(nn.Module):
    """Frames (B, T, mels) and lengths (B,), the whole T if None -> (B, speakers) logits."""

    def __init__(self, config: SelfAttentionConfig, mels: int, classes: int) -> None:
        super().__init__()
        c, d = config, config.d_model
        attention = partial(SelfAttention, d, c.heads, c.attention, c.window, c.dropout)
        self.prenet = Subsampling(mels, d) if c.subsampling else nn.Linear(mels, d)
        self.encoder = nn.ModuleList(
            EncoderLayer(attention, d, c.ff, c.dropout, c.norm_first)
            if c.encoder == "transformer"
            else ConformerBlock(attention, d, c.ff, c.conv_kernel, c.dropout)
            for _ in range(c.layers)
        )
        self.pooling = MeanPooling() if c.pooling == "mean" else AttentivePooling(d)
        last = nn.Linear(d, classes) if c.loss == "softmax" else Cosines(d, classes, c.scale)
        self.head = nn.Sequential(nn.Linear(d, d), nn.ReLU() if c.loss == "softmax" else nn.Identity(), last)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        if lengths is None:
            lengths = torch.full(frames.shape[:1], frames.shape[1], device=frames.device)
        mask = torch.arange(frames.shape[1], device=frames.device) < lengths[:, None]
        x, mask = self.prenet(frames, mask) if isinstance(self.prenet, Subsampling) else (self.prenet(frames), mask)
        for layer in self.encoder:
            x = layer(x, mask)
        logits: torch.Tensor = self.head(self.pooling(x, mask))
        return logits


def am_softmax(logits: torch.Tensor, labels: torch.Tensor, margin: float, scale: float) -> torch.Tensor:
    """Cross-entropy after the true class has given up `margin` of its cosine; logits are scaled cosines."""
    return F.cross_entropy(logits - scale * margin * F.one_hot(labels, logits.shape[1]), labels)


def train(config: SelfAttentionConfig, run: Run) -> None:
    facts = shards.manifest(run.data_dir)["facts"]
    labels = shards.ArrowDataset(run.data_dir, "train", ("label",)).columns[0].all()
    held_out, kept = split(len(labels), config.validation, run.seed)
    training = Crops(run.data_dir, kept, config.segment, run.seed)
    validation = Buckets(run.data_dir, "train", held_out)
    shape = {"mels": facts["mels"], "classes": len(facts["speakers"])}
    run.write_shape(**shape)
    model = run.wrap(SpeakerNet(config, **shape))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    batches = run.loader(training, config.batch_size, train=True)
    margin = config.margin if config.loss == "am-softmax" else 0.0

    for epoch in run.epochs(config.epochs, state={"model": model, "optimizer": optimizer}):
        training.redraw(epoch)
        loss_sum, count = torch.zeros((), device=run.device), 0
        for step, (frames, lengths, speaker) in enumerate(batches):
            done = (epoch + step / len(batches)) / config.epochs
            set_rate(optimizer, config.lr * warmup_cosine(done, config.warmup))
            loss = am_softmax(model(frames, lengths), speaker, margin, config.scale)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.detach() * len(speaker)
            count += len(speaker)
        run.log({"train/loss": run.mean(loss_sum, count)})
        run.log({"val/accuracy": evaluate(model, validation, labels[held_out], run)})
        run.best(METRIC, model)


def evaluate(model: nn.Module, utterances: Buckets, labels: torch.Tensor, run: Run) -> float:
    """Accuracy over whole utterances, where the sample's random crops make it jump: hits over a count."""
    hits, count = torch.zeros((), device=run.device), 0
    with run.evaluation(model) as net:
        # A sample of `utterances` is a batch already.
        for frames, lengths, which in run.loader(utterances, 1):
            hits += (net(frames, lengths).argmax(1).cpu() == labels[which.cpu()]).sum()
            count += len(which)
    return run.mean(hits, count)


def load(folder: Path) -> SpeakerNet:
    return load_weights(folder, SpeakerNet(LAB.read_config(folder), **load_shape(folder)))


def predict(model: SpeakerNet, inputs: np.ndarray) -> np.ndarray:
    """(B, T, mels) float32 log-mel spectra -> (B, speakers) probabilities, float32."""
    device = next(model.parameters()).device
    with torch.no_grad():
        output: np.ndarray = model(torch.from_numpy(inputs).to(device)).softmax(1).cpu().numpy()
    return output


def example(data_dir: Path) -> np.ndarray:
    utterances = Buckets(data_dir, "test")
    frames: np.ndarray = utterances.pad(utterances.starts[:2], utterances.lengths.min().expand(2)).numpy()
    return frames


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `output.csv` (`Id,Category`: file names in the order of `testdata.json`, speakers' names) and, for the
    report's question on a Transformer variant, `attention_cost.csv` and `.png`: what each variant costs."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, utterances, facts = load(folder).to(device), Buckets(data_dir, "test"), shards.manifest(data_dir)["facts"]
    predictions = torch.empty(len(utterances.rows), dtype=torch.int64)
    with torch.no_grad():
        for number in range(len(utterances)):
            frames, lengths, which = utterances[torch.tensor([number])]
            predictions[which] = model(frames.to(device), lengths.to(device)).argmax(1).cpu()
    names = [facts["speakers"][guess] for guess in predictions.tolist()]
    submission.write(out / LAB.submission, HEADER, zip(facts["test_ids"], names, strict=True))
    config = LAB.read_config(folder)
    figures.write_costs(out, config.d_model, config.heads, config.window, device)


def check_submission(file: Path) -> list[str]:
    """The test set's names are the data's own, so each must look like one and come once."""
    with file.open(newline="") as handle:
        rows = list(csv.reader(handle))
    if not rows or tuple(rows[0]) != HEADER:
        return [f"{file.name} line 1: the header must be '{','.join(HEADER)}'"]
    seen: set[str] = set()
    for line, row in enumerate(rows[1:], 2):
        if len(row) != 2 or not re.fullmatch(data.FEATURES, row[0]) or not re.fullmatch(data.SPEAKER, row[1]):
            return [f"{file.name} line {line}: expected 'uttr-<32 hex digits>.pt,id<digits>', found {','.join(row)!r}"]
        if row[0] in seen:
            return [f"{file.name} line {line}: {row[0]} was on an earlier line already"]
        seen.add(row[0])
    return [] if seen else [f"{file.name} has no predictions"]


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    answers = data_dir / data.ANSWERS
    if not answers.exists():
        return {}
    labels = shards.ArrowDataset(data_dir, "train", ("label",)).columns[0].all()
    most = shards.manifest(data_dir)["facts"]["speakers"][int(labels.mode().values)]
    return submission.accuracy(delivered / LAB.submission, submission.predictions(answers), most)


def space() -> dict[str, dict[str, object]]:
    return {  # powers of two as heads divide every d_model here, so each sample is valid
        "encoder": {"type": "choice", "values": ["transformer", "conformer"]},
        "layers": {"type": "randint", "low": 1, "high": 5},
        "d_model": {"type": "choice", "values": [40, 64, 80, 128, 256]},
        "heads": {"type": "choice", "values": [1, 2, 4, 8]},
        "ff": {"type": "choice", "values": [128, 256, 512]},
        "norm_first": {"type": "choice", "values": [False, True], "when": {"encoder": "transformer"}},
        "conv_kernel": {"type": "choice", "values": [3, 7, 15, 31], "when": {"encoder": "conformer"}},
        "attention": {"type": "choice", "values": list(get_args(Kind))},
        "window": {"type": "choice", "values": [4, 8, 16, 32]},
        "dropout": {"type": "uniform", "low": 0.0, "high": 0.3},
        "pooling": {"type": "choice", "values": ["mean", "attentive"]},
        "loss": {"type": "choice", "values": ["softmax", "am-softmax"]},
        "margin": {"type": "uniform", "low": 0.0, "high": 0.4, "when": {"loss": "am-softmax"}},
        "scale": {"type": "uniform", "low": 10.0, "high": 40.0, "when": {"loss": "am-softmax"}},
        "segment": {"type": "choice", "values": [64, 96, 128, 192, 256]},
        "lr": {"type": "loguniform", "low": 2e-4, "high": 5e-3},
        "weight_decay": {"type": "loguniform", "low": 1e-4, "high": 1e-1},
        "warmup": {"type": "uniform", "low": 0.01, "high": 0.3},
        "batch_size": {"type": "choice", "values": [16, 32, 64]},
        "epochs": {"type": "randint", "low": 5, "high": 50},
    }


LAB = Lab(
    heading=COURSE["self-attention"],
    config=SelfAttentionConfig,
    presets={
        "simple": {},
        "medium": {"layers": 2, "heads": 4, "norm_first": True},
        "strong": CONFORMER,
        "boss": {**CONFORMER, "dropout": 0.2, "pooling": "attentive", "loss": "am-softmax"},
    },
    sizes={
        "tiny": {"d_model": 16, "ff": 32, "segment": 64, "epochs": 3},
        "small": {"segment": 64, "conv_kernel": 7, "batch_size": 16, "epochs": 24, "warmup": 0.1},
        "course": {},
    },
    train=train,
    load=load,
    predict=predict,
    example=example,
    deliver=deliver,
    check_submission=check_submission,
    score=score,
    submission="output.csv",
    space=space,
    network=lambda config: SpeakerNet(config, 40, 600),
    data=data,
    tuned={
        ("simple", "small"): {"epochs": 20},
        **{(preset, "small"): {"layers": 2, "segment": 96, "lr": 2e-3, "epochs": 45} for preset in ("strong", "boss")},
        **{(preset, "course"): {"layers": 4} for preset in ("medium", "strong", "boss")},
    },
    seconds={"tiny": 2, "small": 40, "course": 14400},
)
