"""Homework 1, regression: the share of positive COVID-19 tests in a US state.

Task
    From five consecutive days of survey answers in one state, predict `tested_positive` of the fifth day.
Data
    `labs.data.survey`: 2,699 training and 1,078 test rows; an id, one-hot states, then 16 columns for each day.
Metric
    Mean squared error, lower is better, in squared percentage points. Course's public thresholds: simple 2.28371,
    medium 1.49430, strong 1.05728, boss 0.86161.
Ladder
    simple   the course's sample: a small MLP on every column, the row's id included, unscaled, with SGD.
    strong   selected features, standardised; a residual on yesterday's value; Adam with weight decay.
Papers
    Kingma & Ba, Adam (arXiv:1412.6980); Loshchilov & Hutter, Decoupled Weight Decay (arXiv:1711.05101).
"""

from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from sklearn.feature_selection import f_regression
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from labs import submission
from labs.data import shards, survey
from labs.errors import BadInput
from labs.lab import Config, Lab, Metric
from labs.run import Run
from labs.weights import load_shape, load_weights

METRIC = Metric("mse", "min", "squared %", {"simple": 2.28371, "medium": 1.49430, "strong": 1.05728, "boss": 0.86161})
HEADER = ("id", survey.TARGET)


class RegressionConfig(Config):
    features: Literal["all", "selected"] = "all"
    """Columns that the network sees: all, id included, as in the sample, or the best by F-score without the id."""
    num_features: int = Field(16, ge=1)
    """How many columns to select; no effect with `features=all`."""
    scale: bool = False
    """Standardise the inputs with the training rows' mean and deviation."""
    residual: bool = False
    """Add the last known `tested_positive` to the output, so that the network learns the change only."""
    hidden: tuple[int, ...] = (16, 8)
    """Widths of the hidden layers."""
    split: Literal["random", "states"] = "states"
    """Validation rows: random, as in the course, where windows of one state overlap those in training; or whole
    states, which can't leak."""
    validation: float = Field(0.2, gt=0, lt=1)
    """Share of the rows, or of the states, that validate."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum 0.9, as in the sample, or AdamW."""
    lr: float = Field(1e-5, gt=0)
    """Learning rate."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay; no effect with SGD."""
    batch_size: int = Field(256, ge=1)
    """Rows of a global batch."""
    epochs: int = Field(300, ge=1)
    """Epochs at most."""
    passes: int = Field(10, ge=1)
    """Passes over the training rows that count as one epoch: a single pass takes milliseconds."""
    patience: int = Field(40, ge=1)
    """Epochs without a better validation error after which training ends."""


class Regressor(nn.Module):
    """MLP on chosen columns. Rows (B, columns), output (B,) in percent.

    Which columns, and how they are scaled, are buffers: they come from the training rows and belong to the model.
    """

    chosen: torch.Tensor
    shift: torch.Tensor
    scale: torch.Tensor
    last_known: torch.Tensor

    def __init__(self, columns: int, chosen: int, hidden: tuple[int, ...], residual: bool) -> None:
        super().__init__()
        self.register_buffer("chosen", torch.zeros(chosen, dtype=torch.long))
        self.register_buffer("shift", torch.zeros(chosen))
        self.register_buffer("scale", torch.ones(chosen))
        self.register_buffer("last_known", torch.tensor(columns - 1))
        self.residual = residual
        widths = [chosen, *hidden]
        layers = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1], 1), nn.Flatten(0))

    def prepare(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows (B, columns) to what the network sees, (B, chosen), and what its output is added to, (B,)."""
        start = rows[:, self.last_known] if self.residual else rows.new_zeros(len(rows))
        return (rows[:, self.chosen] - self.shift) / self.scale, start

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        inputs, start = self.prepare(rows)
        output: torch.Tensor = start + self.net(inputs)
        return output


def train(config: RegressionConfig, run: Run) -> None:
    facts = shards.manifest(run.data_dir)["facts"]
    data = shards.ArrowDataset(run.data_dir, "train", ("inputs", "target"))
    inputs, target = (column.all() for column in data.columns)
    is_validation = split(inputs, facts["states"], config, run.seed)
    validation = TensorDataset(inputs[is_validation], target[is_validation])
    inputs, target = inputs[~is_validation], target[~is_validation]

    net = build(config, inputs, target, facts)
    run.write_shape(columns=inputs.shape[1], chosen=len(net.chosen))
    prepared, start = net.prepare(inputs)  # once, not at each step
    training = TensorDataset(prepared, target - start)
    net.to(run.device)
    model = run.wrap(net.net)
    optimizer: torch.optim.Optimizer
    if config.optimizer == "sgd":
        optimizer = torch.optim.SGD(model.parameters(), lr=config.lr, momentum=0.9)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    batches = run.loader(training, config.batch_size, train=True)

    for _ in run.epochs(config.epochs, state={"model": net, "optimizer": optimizer}):
        loss_sum, rows = torch.zeros((), device=run.device), 0
        for _ in range(config.passes):
            for x, y in batches:
                loss = F.mse_loss(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loss_sum += loss.detach() * len(x)
                rows += len(x)
        mse = evaluate(net, validation, run)
        run.log({"train/loss": run.mean(loss_sum, rows), "val/mse": mse})
        run.best(METRIC, net)
        if run.epochs_since_best >= config.patience:
            run.stop(f"no better validation error in {config.patience} epochs")


def evaluate(model: nn.Module, rows: TensorDataset, run: Run) -> float:
    """Mean squared error over all rows: a sum of squares over a count, never a mean of batch means."""
    total, count = torch.zeros((), device=run.device), 0
    with run.evaluation(model) as net:
        for x, y in run.loader(rows, 1024):
            total += F.mse_loss(net(x), y, reduction="sum")
            count += len(x)
    return run.mean(total, count)


def split(inputs: torch.Tensor, states: int, config: RegressionConfig, seed: int) -> torch.Tensor:
    """Mask of the validation rows, (rows,)."""
    generator = torch.Generator().manual_seed(seed)
    if config.split == "random":
        mask = torch.zeros(len(inputs), dtype=torch.bool)
        mask[torch.randperm(len(inputs), generator=generator)[: round(len(inputs) * config.validation)]] = True
        return mask
    state = inputs[:, 1 : 1 + states].argmax(1)
    present = state.unique()
    if len(present) < 2:
        raise BadInput(f"field 'split': 'states' needs rows of at least 2 states, found {len(present)}; take 'random'")
    count = max(1, round(len(present) * config.validation))
    held_out = present[torch.randperm(len(present), generator=generator)[:count]]
    return torch.isin(state, held_out)


def build(config: RegressionConfig, inputs: torch.Tensor, target: torch.Tensor, facts: dict[str, int]) -> Regressor:
    """The model with columns chosen and scaled on the training rows alone."""
    if config.features == "all":
        chosen = torch.arange(inputs.shape[1])
    else:
        first = 1 + facts["states"]
        scores = torch.from_numpy(f_regression(inputs[:, first:].numpy(), target.numpy())[0])
        chosen = first + scores.argsort(descending=True)[: config.num_features].sort().values
    model = Regressor(inputs.shape[1], len(chosen), config.hidden, config.residual)
    model.chosen.copy_(chosen)
    if config.scale:
        model.shift.copy_(inputs[:, chosen].mean(0))
        model.scale.copy_(inputs[:, chosen].std(0).clamp(min=1e-6))
    # Of the last day's block only the target is hidden, so the last known value stands one block before it.
    model.last_known.fill_(inputs.shape[1] - facts["block"])
    return model


def load(folder: Path) -> Regressor:
    config, shape = LAB.read_config(folder), load_shape(folder)
    return load_weights(folder, Regressor(shape["columns"], shape["chosen"], config.hidden, config.residual))


def predict(model: Regressor, inputs: np.ndarray) -> np.ndarray:
    """(B, columns) -> (B,) percent."""
    with torch.no_grad():
        output: np.ndarray = model(torch.from_numpy(inputs)).numpy()
    return output


def example(data_dir: Path) -> np.ndarray:
    rows: np.ndarray = shards.ArrowDataset(data_dir, "test", ("inputs",))[torch.arange(3)][0].numpy()
    return rows


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `pred.csv`: `id,tested_positive`, ids 0, 1, 2, ... in the test table's order."""
    inputs = shards.ArrowDataset(data_dir, "test", ("inputs",)).columns[0].all().numpy()
    submission.write(out / LAB.submission, HEADER, enumerate(predict(load(folder), inputs).tolist()))


def check_submission(file: Path) -> list[str]:
    return submission.check(
        file, HEADER, "<float>", str, lambda cell: None if survey.is_finite(cell) else "is not a finite number"
    )


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    answers = data_dir / survey.ANSWERS
    if not answers.exists():
        return {}
    truth = np.array(submission.guesses(answers), dtype=np.float64)
    guess = np.array(submission.guesses(delivered / LAB.submission), dtype=np.float64)
    mean = shards.ArrowDataset(data_dir, "train", ("target",)).columns[0].all().mean().item()
    return {"test/mse": float(((guess - truth) ** 2).mean()), "test/trivial": float(((mean - truth) ** 2).mean())}


def space() -> dict[str, dict[str, object]]:
    return {
        "features": {"type": "choice", "values": ["all", "selected"]},
        "num_features": {"type": "randint", "low": 4, "high": 40, "when": {"features": "selected"}},
        "scale": {"type": "choice", "values": [True, False]},
        "hidden": {"type": "choice", "values": [[16, 8], [32], [64], [64, 32]]},
        "optimizer": {"type": "choice", "values": ["sgd", "adamw"]},
        "lr": {"type": "loguniform", "low": 1e-6, "high": 1e-2},
        "weight_decay": {"type": "loguniform", "low": 1e-5, "high": 1e-1, "when": {"optimizer": "adamw"}},
        "batch_size": {"type": "choice", "values": [64, 128, 256]},
    }


LAB = Lab(
    name="regression",
    number=1,
    title="COVID-19 positive rate",
    metric=METRIC,
    config=RegressionConfig,
    presets={
        "simple": {},
        "strong": {
            "features": "selected",
            "scale": True,
            "residual": True,
            "hidden": (32,),
            "optimizer": "adamw",
            "lr": 1e-3,
            "weight_decay": 1e-2,
        },
    },
    sizes={"tiny": {"epochs": 6, "passes": 20}, "small": {"epochs": 60, "patience": 15}, "course": {}},
    train=train,
    load=load,
    predict=predict,
    example=example,
    deliver=deliver,
    check_submission=check_submission,
    score=score,
    submission="pred.csv",
    space=space,
    network=lambda config: Regressor(
        117, 117 if config.features == "all" else config.num_features, config.hidden, config.residual
    ),
    data=survey,
    seconds={"tiny": 1, "small": 10, "course": 60},
)
