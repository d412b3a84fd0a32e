"""Homework 2, classification: the phoneme of each frame of speech.

Task
    Classify each frame of speech, 25 ms long and one every 10 ms, into 41 classes. Extra data are forbidden.
Data
    `labs.classification.data`: 39 MFCC per frame; 4,286 training utterances (2,644,158 frames), of which a fifth is
    held out for validation, and 1,078 test utterances (646,268 frames). As in the course, all have the same speakers.
Metric
    Accuracy, the fraction of frames with the right class; higher is better. Course's public thresholds: simple 0.45797,
    medium 0.69747, strong 0.75028, boss 0.82324.
Ladder
    simple   the course's sample: an MLP on a single frame, two layers of 256 units, AdamW at a constant learning rate.
    medium   a window of eleven frames; more and wider layers.
    strong   a window of nineteen frames; batch normalisation, dropout, warm-up and cosine decay of the learning rate.
    boss     sequence labelling: a bidirectional LSTM over the whole utterance.
    Each preset can be combined with Viterbi decoding, which penalises changes of class (`transition_penalty`).
Report
    (a)  Of two networks with equally many parameters, is the narrow and deep or the wide and shallow one more accurate?
    (b)  How do dropout rates of 0.25, 0.5 and 0.75 change the training and the validation accuracy?
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
from labs.classification import data, report, viterbi
from labs.classification.demo import DEMO
from labs.classification.frames import PAD, Corpus, Frames, Utterances, split, window
from labs.classification.recurrent import Recurrent
from labs.core import shards, submission
from labs.core.config import Config
from labs.core.lab import Lab
from labs.core.meter import Meter
from labs.core.run import Run
from labs.core.schedule import learning_rate, set_rate
from labs.core.weights import load_weights

METRIC = COURSE["classification"].metric
HEADER = ("Id", "Class")
WARMUP_COSINE = {"schedule": "cosine", "lr": 1e-3}


class ClassificationConfig(Config):
    network: Literal["mlp", "recurrent"] = "mlp"
    """An MLP on windows of frames, or a recurrent network on whole utterances."""
    context: int = Field(1, ge=1)
    """Frames in an input window: the frame to classify and equally many on either side of it; odd."""
    hidden: int = Field(256, ge=1)
    """Units of a hidden layer; with `network=recurrent` in each direction."""
    layers: int = Field(1, ge=1)
    """Hidden layers after the input layer, as the sample counts them; with `network=recurrent` recurrent layers."""
    batch_norm: bool = False
    """Batch normalisation after each linear layer; no effect with `network=recurrent`."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Fraction of the hidden units that each training step sets to zero."""
    cell: Literal["lstm", "gru"] = "lstm"
    """Recurrent unit; no effect with `network=mlp`."""
    bidirectional: bool = True
    """Read utterances in both directions; no effect with `network=mlp`."""
    transition_penalty: float = Field(0.0, ge=0)
    """Penalty, in nats, for a change of class between frames in Viterbi decoding; 0 classifies each frame alone."""
    lr: float = Field(1e-4, gt=0)
    """Learning rate of AdamW; with `schedule=cosine` its highest value."""
    weight_decay: float = Field(1e-2, ge=0)
    """Decoupled weight decay; the default is that of the sample."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate: constant; or linear warm-up over the first tenth of the training, then cosine decay to 0."""
    clip: float = Field(10.0, gt=0)
    """Norm above which the gradient is scaled down to it."""
    batch_size: int = Field(512, ge=1)
    """Frames in a global batch; no effect with `network=recurrent`."""
    batch_utterances: int = Field(32, ge=1)
    """Utterances in a global batch; no effect with `network=mlp`."""
    validation: float = Field(0.2, gt=0, lt=1)
    """Fraction of the training utterances that is held out for validation."""
    epochs: int = Field(5, ge=1)
    """Passes over the training utterances."""

    @field_validator("context")
    @classmethod
    def _odd(cls, context: int) -> int:
        if context % 2 == 0:
            raise ValueError(f"{context} frames have no middle frame; expected an odd number")
        return context


class Classifier(nn.Module):
    """Base class of both networks: utterances (B, T, context * 39) and lengths (B,) -> logits (B, T, 41)."""

    def __init__(self, config: ClassificationConfig) -> None:
        super().__init__()
        self.config = config

    def classify(self, inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Predicted classes (B, T); undefined after an utterance's end."""
        return viterbi.decode(self(inputs, lengths).log_softmax(-1), lengths, self.config.transition_penalty)


class WindowNet(Classifier):
    """The sample's MLP on each window by itself: (..., context * 39) -> logits (..., 41); lengths have no effect."""

    def __init__(self, config: ClassificationConfig) -> None:
        super().__init__(config)
        widths = [config.context * data.FEATURES, *[config.hidden] * (1 + config.layers)]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            norm = [nn.BatchNorm1d(outputs)] if config.batch_norm else []
            layers += [nn.Linear(inputs, outputs), *norm, nn.ReLU(), nn.Dropout(config.dropout)]
        self.net = nn.Sequential(*layers, nn.Linear(config.hidden, data.NUM_CLASSES))

    def forward(self, inputs: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        logits: torch.Tensor = self.net(inputs.flatten(0, -2)).unflatten(0, inputs.shape[:-1])
        return logits


class RecurrentNet(Classifier):
    """Recurrent layers and a linear output layer: both the past and the future of a frame inform its class."""

    def __init__(self, config: ClassificationConfig) -> None:
        super().__init__(config)
        inputs, width = config.context * data.FEATURES, config.hidden * (1 + config.bidirectional)
        self.rnn = Recurrent(config.cell, inputs, config.hidden, config.layers, config.dropout, config.bidirectional)
        self.head = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(width, data.NUM_CLASSES))

    def forward(self, inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.rnn(inputs, lengths))
        return logits


def build(config: ClassificationConfig) -> Classifier:
    """An untrained network."""
    return WindowNet(config) if config.network == "mlp" else RecurrentNet(config)


def train(config: ClassificationConfig, run: Run) -> None:
    corpus = Corpus(run.data_dir, "train", run.device)
    training, held_out = split(len(corpus.lengths), config.validation, run.seed)
    validation = Utterances(corpus, held_out, config.context)
    if config.network == "mlp":
        batches = run.loader(Frames(corpus, training, config.context), config.batch_size, train=True)
    else:
        batches = run.loader(Utterances(corpus, training, config.context), config.batch_utterances, train=True)
    model = run.wrap(build(config))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)

    for epoch in run.epochs(config.epochs, state={"model": model, "optimizer": optimizer}):
        train_loss, correct = Meter(), Meter()
        for step, (*inputs, labels) in enumerate(batches):
            # Set the learning rate of this step.
            done = (epoch + step / len(batches)) / config.epochs
            set_rate(optimizer, learning_rate(config.lr, config.schedule, done))
            # Cross-entropy of the real frames:  L = -sum_t log softmax(logits_t)[label_t]
            logits = model(*inputs)
            loss = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=PAD, reduction="sum")
            # Backpropagate the mean over frames. DDP averages the workers' gradients, so each worker divides by the
            # mean number of frames per worker, not by its own.
            count = (labels != PAD).sum()
            optimizer.zero_grad()
            run.backward(loss / run.average(count))
            # Clip the gradient, update the weights.
            run.clip_gradients(optimizer, config.clip)
            run.step(optimizer)
            # Add up the metrics; in double precision, as the total loss is over millions of frames.
            train_loss.add_sum(loss.double(), count)
            correct.add_sum((logits.detach().argmax(-1) == labels).sum(), count)
        # Validate, keep the best weights.
        run.log({"train/loss": run.mean(train_loss.sum, train_loss.count)})
        train_accuracy = run.mean(correct.sum, correct.count)
        run.log({"train/accuracy": train_accuracy, "val/accuracy": evaluate(model, validation, run)})
        run.best(METRIC, model)


def evaluate(model: Classifier, utterances: Utterances, run: Run) -> float:
    """Accuracy over all frames of whole utterances."""
    correct = Meter()
    with run.evaluation(model) as net:
        for inputs, lengths, labels in run.loader(utterances, 16):
            correct.add_sum((net.classify(inputs, lengths) == labels).sum(), lengths.sum())
    return run.mean(correct.sum, correct.count)


def load(folder: Path) -> Classifier:
    return load_weights(folder, build(LAB.read_config(folder)))


def predict(model: Classifier, inputs: np.ndarray) -> np.ndarray:
    """Utterances of the same length (B, T, 39) -> classes (B, T), int64."""
    frame = torch.arange(inputs.shape[1])
    neighbours = window(frame, frame[:1], frame[-1:], model.config.context)
    windows = torch.from_numpy(inputs)[:, neighbours].flatten(2).to(next(model.parameters()).device)
    lengths = torch.full((len(inputs),), inputs.shape[1])
    with torch.no_grad():
        classes: np.ndarray = model.classify(windows, lengths.to(windows.device)).cpu().numpy()
    return classes


def example(data_dir: Path) -> np.ndarray:
    """The first second of the test set as two utterances, (2, 50, 39)."""
    frames = shards.ArrowDataset(data_dir, "test", ("frame",))[torch.arange(100)][0]
    utterances: np.ndarray = frames.unflatten(0, (2, 50)).numpy()
    return utterances


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `prediction.csv` (header `Id,Class`; frames are numbered from 0 over all utterances in the order of
    `test_split.txt`) and the report."""
    model = load(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    corpus = Corpus(data_dir, "test", next(model.parameters()).device)
    everything = torch.arange(len(corpus.lengths))
    utterances = Utterances(corpus, everything, model.config.context)
    predictions: list[int] = []
    with torch.no_grad():
        for batch in everything.split(16):
            inputs, lengths, _ = utterances[batch]
            for classes, length in zip(model.classify(inputs, lengths), lengths, strict=True):
                predictions += classes[:length].tolist()
    submission.write(out / LAB.submission, HEADER, enumerate(predictions))
    report.write(LAB, model, folder, out)


def check_submission(file: Path) -> list[str]:
    return submission.check(file, HEADER, "<class>", str, submission.class_fault(data.NUM_CLASSES))


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    if not (data_dir / data.ANSWERS).exists():
        return {}
    labels = shards.ArrowDataset(data_dir, "train", ("label",)).columns[0].all()
    return submission.accuracy(delivered / LAB.submission, data.answers(data_dir), str(labels.mode().values.item()))


def space() -> dict[str, dict[str, object]]:
    mlp, recurrent = {"when": {"network": "mlp"}}, {"when": {"network": "recurrent"}}
    return {  # without the share of validation data: configs are compared on the same utterances
        "network": {"type": "choice", "values": ["mlp", "recurrent"]},
        "context": {"type": "choice", "values": [1, 3, 7, 11, 19, 31]},
        "hidden": {"type": "choice", "values": [64, 128, 256, 512]},
        "layers": {"type": "randint", "low": 1, "high": 5},
        "batch_norm": {"type": "choice", "values": [True, False], **mlp},
        "dropout": {"type": "uniform", "low": 0.0, "high": 0.6},
        "cell": {"type": "choice", "values": ["lstm", "gru"], **recurrent},
        "bidirectional": {"type": "choice", "values": [True, False], **recurrent},
        "transition_penalty": {"type": "uniform", "low": 0.0, "high": 3.0},
        "lr": {"type": "loguniform", "low": 1e-4, "high": 1e-2},
        "schedule": {"type": "choice", "values": ["constant", "cosine"]},
        "batch_size": {"type": "choice", "values": [128, 256, 512, 1024], **mlp},
        "batch_utterances": {"type": "choice", "values": [8, 16, 32], **recurrent},
        "epochs": {"type": "randint", "low": 3, "high": 30},
    }


LAB = Lab(
    heading=COURSE["classification"],
    config=ClassificationConfig,
    presets={
        "simple": {},
        "medium": {"context": 11, "layers": 3, "hidden": 1024},
        "strong": {"context": 19, "layers": 3, "hidden": 1024, "batch_norm": True, "dropout": 0.25, **WARMUP_COSINE},
        "boss": {"network": "recurrent", "context": 3, "layers": 3, "hidden": 512, "dropout": 0.5, **WARMUP_COSINE},
    },
    sizes={"tiny": {"epochs": 2, "batch_utterances": 4}, "small": {}, "course": {}},
    train=train,
    load=load,
    predict=predict,
    example=example,
    demo=DEMO,
    deliver=deliver,
    check_submission=check_submission,
    score=score,
    batch_field=lambda config: "batch_size" if config.network == "mlp" else "batch_utterances",
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
