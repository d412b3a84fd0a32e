"""Homework 2, classification: which phoneme is said in each frame of speech.

Task
    Give each frame of 25 ms, one every 10 ms, one of 41 classes; no data from elsewhere.
Data
    `data.py`: 39 MFCC a frame; 4,286 training utterances (2,644,158 frames) and 1,078 to test (646,268).
    A fifth of the training utterances validates; as in the course, their speakers are also heard in training.
Metric
    Accuracy, higher is better, a share of all frames. Course's public thresholds: simple 0.45797, medium 0.69747,
    strong 0.75028, boss 0.82324.
Ladder
    simple   the course's sample: one frame alone, two layers of 256, AdamW at a constant rate.
    medium   the frames around it as well, more and wider layers.
    strong   a wider context; batch normalisation, dropout, a rising and falling rate.
    boss     sequence labelling: a recurrent network reads the whole utterance in both directions.
    Any of them may smooth its predictions: a Viterbi path that pays for each change of class.
Papers
    Graves & Schmidhuber, Framewise Phoneme Classification with Bidirectional LSTM (Neural Networks 18, 2005); Cho et
    al., GRU (arXiv:1406.1078); Ioffe & Szegedy, Batch Normalization (arXiv:1502.03167); Srivastava et al., Dropout
    (JMLR 15, 2014); Viterbi, Error Bounds for Convolutional Codes (IEEE Trans. Inf. Theory 13, 1967).
"""

from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import nn
from torch.nn import functional as F

from labs import COURSE
from labs.classification import data
from labs.classification.figures import accuracy_curve
from labs.classification.frames import PAD, Corpus, Frames, Utterances, window
from labs.classification.recurrent import Recurrent
from labs.classification.viterbi import smooth
from labs.core import shards, submission
from labs.core.config import Config
from labs.core.lab import Lab
from labs.core.run import Run
from labs.core.schedule import set_rate, warmup_cosine
from labs.core.weights import load_weights

METRIC = COURSE["classification"].metric
HEADER = ("Id", "Class")
RISE_AND_FALL = {"schedule": "cosine", "lr": 1e-3}


class ClassificationConfig(Config):
    network: Literal["mlp", "recurrent"] = "mlp"
    """A network that sees a window of frames at a time, or one that reads whole utterances."""
    context: int = Field(1, ge=1)
    """Frames that make an input: the one in question and as many before it as after it; odd."""
    hidden: int = Field(256, ge=1)
    """Units of a hidden layer; in each direction with `network=recurrent`."""
    layers: int = Field(1, ge=1)
    """Hidden layers after the input layer, as the sample counts them; recurrent layers with `network=recurrent`."""
    batch_norm: bool = False
    """Normalise each hidden layer over the batch; no effect with `network=recurrent`."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the hidden units that are silenced at each training step."""
    cell: Literal["lstm", "gru"] = "lstm"
    """The recurrent unit; no effect with `network=mlp`."""
    bidirectional: bool = True
    """Read backwards as well; no effect with `network=mlp`."""
    smoothing: float = Field(0.0, ge=0)
    """Nats that a change of class from one frame to the next costs when guessing; 0 leaves each frame its own guess."""
    lr: float = Field(1e-4, gt=0)
    """AdamW's learning rate; with `schedule=cosine` its highest value."""
    weight_decay: float = Field(1e-2, ge=0)
    """Decoupled weight decay; AdamW's own default, as in the sample."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate over the training: constant, or linearly up for a tenth of it, then down to 0 on a cosine."""
    clip: float = Field(10.0, gt=0)
    """Largest norm of the gradient."""
    batch_size: int = Field(512, ge=1)
    """Frames of a global batch; no effect with `network=recurrent`."""
    batch_utterances: int = Field(32, ge=1)
    """Utterances of a global batch; no effect with `network=mlp`."""
    validation: float = Field(0.2, gt=0, lt=1)
    """Share of the training utterances that validates."""
    epochs: int = Field(5, ge=1)
    """Passes over the training utterances."""

    @field_validator("context")
    @classmethod
    def _odd(cls, context: int) -> int:
        if context % 2 == 0:
            raise ValueError(f"{context} frames have no middle; expected an odd number")
        return context


class Classifier(nn.Module):
    """What the two networks have in common: logits (B, T, 41) of utterances (B, T, context * 39), lengths (B,)."""

    def __init__(self, config: ClassificationConfig) -> None:
        super().__init__()
        self.config = config

    def classify(self, inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Guessed classes (B, T); without meaning after an utterance's end."""
        return smooth(self(inputs, lengths).log_softmax(-1), lengths, self.config.smoothing)


class WindowNet(Classifier):
    """The sample's network: each input alone, in any shape (..., context * 39), through linear layers."""

    def __init__(self, config: ClassificationConfig) -> None:
        super().__init__(config)
        widths = [config.context * data.FEATURES, *[config.hidden] * (1 + config.layers)]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            norm = [nn.BatchNorm1d(outputs)] if config.batch_norm else []
            layers += [nn.Linear(inputs, outputs), *norm, nn.ReLU(), nn.Dropout(config.dropout)]
        self.net = nn.Sequential(*layers, nn.Linear(config.hidden, len(data.CLASSES)))

    def forward(self, inputs: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        logits: torch.Tensor = self.net(inputs.flatten(0, -2)).unflatten(0, inputs.shape[:-1])
        return logits


class RecurrentNet(Classifier):
    """Reads whole utterances from both ends: what comes later tells about a frame as much as what came before."""

    def __init__(self, config: ClassificationConfig) -> None:
        super().__init__(config)
        inputs, width = config.context * data.FEATURES, config.hidden * (1 + config.bidirectional)
        self.rnn = Recurrent(config.cell, inputs, config.hidden, config.layers, config.dropout, config.bidirectional)
        self.head = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(width, len(data.CLASSES)))

    def forward(self, inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.rnn(inputs, lengths))
        return logits


def build(config: ClassificationConfig) -> Classifier:
    return WindowNet(config) if config.network == "mlp" else RecurrentNet(config)


def train(config: ClassificationConfig, run: Run) -> None:
    corpus = Corpus(run.data_dir, "train", run.device)
    chosen, held_out = split(len(corpus.lengths), config.validation, run.seed)
    validation = Utterances(corpus, held_out, config.context)
    if config.network == "mlp":
        batches = run.loader(Frames(corpus, chosen, config.context), config.batch_size, train=True)
    else:
        batches = run.loader(Utterances(corpus, chosen, config.context), config.batch_utterances, train=True)
    model = run.wrap(build(config))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)

    for epoch in run.epochs(config.epochs, state={"model": model, "optimizer": optimizer}):
        loss_sum, hits, count = torch.zeros(3, dtype=torch.float64, device=run.device)
        for step, (*inputs, labels) in enumerate(batches):
            set_rate(optimizer, learning_rate(config, (epoch + step / len(batches)) / config.epochs))
            logits = model(*inputs)
            loss = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=PAD, reduction="sum")
            frames = (labels != PAD).sum()
            optimizer.zero_grad()
            # DDP takes the mean of the workers' gradients; workers with longer utterances have more frames in it.
            (loss / run.average(frames)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            loss_sum += loss.detach()
            hits += (logits.detach().argmax(-1) == labels).sum()
            count += frames
        run.log({"train/loss": run.mean(loss_sum, count), "train/accuracy": run.mean(hits, count)})
        run.log({"val/accuracy": evaluate(model, validation, run)})
        run.best(METRIC, model)


def learning_rate(config: ClassificationConfig, done: float) -> float:
    """The rate when the share `done` of the training is over."""
    return config.lr * (1.0 if config.schedule == "constant" else warmup_cosine(done))


def split(utterances: int, share: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers of the utterances to train and to validate with, each in rising order."""
    order = torch.randperm(utterances, generator=torch.Generator().manual_seed(seed))
    training = int(utterances * (1 - share))
    return order[:training].sort().values, order[training:].sort().values


def evaluate(model: Classifier, utterances: Utterances, run: Run) -> float:
    """Accuracy over all frames of whole utterances."""
    hits, count = torch.zeros(2, dtype=torch.float64, device=run.device)
    with run.evaluation(model) as net:
        for inputs, lengths, labels in run.loader(utterances, 16):
            hits += (net.classify(inputs, lengths) == labels).sum()
            count += lengths.sum()
    return run.mean(hits, count)


def load(folder: Path) -> Classifier:
    return load_weights(folder, build(LAB.read_config(folder)))


def predict(model: Classifier, inputs: np.ndarray) -> np.ndarray:
    """(B, T, 39) utterances of one length -> (B, T) classes, int64."""
    frame = torch.arange(inputs.shape[1])
    around = window(frame, frame[:1], frame[-1:], model.config.context)
    windows = torch.from_numpy(inputs)[:, around].flatten(2).to(next(model.parameters()).device)
    lengths = torch.full((len(inputs),), inputs.shape[1])
    with torch.no_grad():
        classes: np.ndarray = model.classify(windows, lengths.to(windows.device)).cpu().numpy()
    return classes


def example(data_dir: Path) -> np.ndarray:
    """The first second of the test set, as two utterances of 50 frames."""
    frames = shards.ArrowDataset(data_dir, "test", ("frame",))[torch.arange(100)][0]
    utterances: np.ndarray = frames.unflatten(0, (2, 50)).numpy()
    return utterances


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `prediction.csv` (`Id,Class`, frames counted from 0 over the utterances in the order of `test_split.txt`)
    and, for the report's comparisons, `accuracy.png`: training and validation accuracy of this run."""
    model = load(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    corpus = Corpus(data_dir, "test", next(model.parameters()).device)
    everything = torch.arange(len(corpus.lengths))
    utterances = Utterances(corpus, everything, model.config.context)
    predictions: list[int] = []
    with torch.no_grad():
        for part in everything.split(16):
            inputs, lengths, _ = utterances[part]
            for classes, length in zip(model.classify(inputs, lengths), lengths, strict=True):
                predictions += classes[:length].tolist()
    submission.write(out / LAB.submission, HEADER, enumerate(predictions))
    curve = accuracy_curve(folder, sum(p.numel() for p in model.parameters()))
    curve.savefig(out / "accuracy.png", dpi=100, bbox_inches="tight")


def check_submission(file: Path) -> list[str]:
    return submission.check(file, HEADER, "<class>", str, submission.class_fault(len(data.CLASSES)))


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    if not (data_dir / data.ANSWERS).exists():
        return {}
    labels = shards.ArrowDataset(data_dir, "train", ("label",)).columns[0].all()
    return submission.accuracy(delivered / LAB.submission, data.answers(data_dir), str(labels.mode().values.item()))


def space() -> dict[str, dict[str, object]]:
    mlp, recurrent = {"when": {"network": "mlp"}}, {"when": {"network": "recurrent"}}
    return {
        "network": {"type": "choice", "values": ["mlp", "recurrent"]},
        "context": {"type": "choice", "values": [1, 3, 7, 11, 19, 31]},
        "hidden": {"type": "choice", "values": [64, 128, 256, 512]},
        "layers": {"type": "randint", "low": 1, "high": 5},
        "batch_norm": {"type": "choice", "values": [True, False], **mlp},
        "dropout": {"type": "uniform", "low": 0.0, "high": 0.6},
        "cell": {"type": "choice", "values": ["lstm", "gru"], **recurrent},
        "bidirectional": {"type": "choice", "values": [True, False], **recurrent},
        "smoothing": {"type": "uniform", "low": 0.0, "high": 3.0},
        "lr": {"type": "loguniform", "low": 1e-4, "high": 1e-2},
        "schedule": {"type": "choice", "values": ["constant", "cosine"]},
        "batch_size": {"type": "choice", "values": [128, 256, 512, 1024], **mlp},
        "batch_utterances": {"type": "choice", "values": [8, 16, 32], **recurrent},
        "validation": {"type": "uniform", "low": 0.1, "high": 0.3},
        "epochs": {"type": "randint", "low": 3, "high": 30},
    }


LAB = Lab(
    heading=COURSE["classification"],
    config=ClassificationConfig,
    presets={
        "simple": {},
        "medium": {"context": 11, "layers": 3, "hidden": 1024},
        "strong": {"context": 19, "layers": 3, "hidden": 1024, "batch_norm": True, "dropout": 0.25, **RISE_AND_FALL},
        "boss": {"network": "recurrent", "context": 3, "layers": 3, "hidden": 512, "dropout": 0.5, **RISE_AND_FALL},
    },
    sizes={"tiny": {"epochs": 2, "batch_utterances": 4}, "small": {}, "course": {}},
    train=train,
    load=load,
    predict=predict,
    example=example,
    deliver=deliver,
    check_submission=check_submission,
    score=score,
    submission="prediction.csv",
    space=space,
    network=build,
    data=data,
    tuned={
        ("simple", "small"): {"lr": 1e-3},
        ("medium", "small"): {"lr": 1e-3, "hidden": 256},
        ("strong", "small"): {"lr": 3e-3, "hidden": 384, "layers": 2, "epochs": 8},
        ("boss", "small"): {"lr": 4e-3, "hidden": 96, "layers": 2, "batch_utterances": 4, "epochs": 12},
        **{(preset, "tiny"): {"lr": 3e-3, "hidden": 32} for preset in ("simple", "medium", "strong", "boss")},
    },
    seconds={"tiny": 2, "small": 60, "course": 3600},
)
