"""Homework 1, regression: the percentage of positive COVID-19 tests in a US state.

Task
    From the survey answers of five consecutive days in one state, predict `tested_positive` of the fifth day.
Data
    `labs.regression.data`: 2,699 training and 1,078 test rows with an id, one-hot states, and 16 columns for each day.
Metric
    Mean squared error, lower is better, in squared percentage points. Course's public thresholds: simple 2.28371,
    medium 1.49430, strong 1.05728, boss 0.86161.
Ladder
    simple   the course's sample: a small MLP on all columns, the id included, without standardisation; SGD.
    medium   feature selection: the sixteen columns with the highest F-score, standardised.
    strong   features selected by extremely randomized trees, which find interactions; a wider network that predicts
             the change since the day before; AdamW.
    boss     dropout, weight decay, and the mean of ten networks, each trained on nine of ten folds.
Report
    The course asks no questions in this homework; these are ours.
    (a)  Does the training end at the right time?
    (b)  How far are the predictions for held-out rows from the truth, and from guesses without a network?
    (c)  Which columns does the network see?
Papers
    Kingma & Ba, Adam (arXiv:1412.6980); Loshchilov & Hutter, Decoupled Weight Decay (arXiv:1711.05101);
    Geurts et al., Extremely randomized trees (doi:10.1007/s10994-006-6226-1); Breiman, Bagging predictors
    (doi:10.1007/BF00058655).
"""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.utils.data import TensorDataset

from labs import COURSE
from labs.core import shards, submission
from labs.core.config import Config
from labs.core.errors import BadInput
from labs.core.lab import Lab
from labs.core.meter import Meter
from labs.core.run import Run
from labs.core.weights import load_shape, load_weights
from labs.regression import data, demo, report, windows
from labs.regression.features import Selector, relevance
from labs.regression.networks import Regressor, masked_rows

METRIC = COURSE["regression"].metric
HEADER = ("id", data.TARGET)


class RegressionConfig(Config):
    features: Literal["all", "selected"] = "all"
    """Columns that the network sees: all of them, the id included, as in the sample; or selected survey columns."""
    selector: Selector = "f_score"
    """Score by which survey columns are selected: F-score of a linear regression, or importance in extremely randomized
    trees; no effect with `features=all`."""
    num_features: int = Field(16, ge=1)
    """Number of survey columns to select; no effect with `features=all`."""
    states: bool = False
    """Use the one-hot states as inputs beside the selected columns; no effect with `features=all`."""
    scale: bool = False
    """Standardise the inputs with the mean and standard deviation of the training rows."""
    residual: bool = False
    """Add the last known `tested_positive` to the output, so that the network predicts the change only."""
    hidden: tuple[int, ...] = (16, 8)
    """Widths of the hidden layers."""
    activation: Literal["relu", "silu"] = "relu"
    """Activation function of the hidden layers."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Fraction of the hidden units that each training step sets to zero."""
    split: Literal["random", "windows"] = "windows"
    """Folds of the rows: random, as in the course, so that training and validation windows share days; or periods of
    each state's days, so that no training window shares a day with a validation window."""
    folds: int = Field(5, ge=2)
    """Number of folds; one of them is held out for validation."""
    ensemble: bool = False
    """Train one network for each held-out fold and average their predictions; `val/mse` is then out of fold."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum, as in the sample, or AdamW."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of SGD; no effect with `optimizer=adamw`."""
    lr: float = Field(1e-5, gt=0)
    """Learning rate."""
    weight_decay: float = Field(0.0, ge=0)
    """Coefficient of the L2 penalty with SGD, of decoupled weight decay with AdamW."""
    batch_size: int = Field(256, ge=1)
    """Rows in a global batch."""
    epochs: int = Field(300, ge=1)
    """Maximum number of epochs."""
    passes: int = Field(10, ge=1)
    """Passes over the training rows in one epoch: a single pass takes milliseconds."""
    patience: int = Field(40, ge=1)
    """Epochs without a lower validation error after which training stops."""


def train(config: RegressionConfig, run: Run) -> None:
    facts = shards.manifest(run.data_dir)["facts"]
    table = shards.ArrowDataset(run.data_dir, "train", ("inputs", "target"))
    inputs, targets = (column.all() for column in table.columns)

    # Split the rows into folds; select and standardise columns on each member's training rows.
    train_mask, val_mask = split(inputs, targets, facts, config, run.seed)
    report.save_held_out(val_mask, run)
    network = build(config, inputs, targets, train_mask, facts)
    run.write_shape(columns=inputs.shape[1], chosen=network.chosen.shape[1])
    training = masked_rows(network, inputs, targets, train_mask)
    validation = masked_rows(network, inputs, targets, val_mask)
    batches = run.loader(training, config.batch_size, train=True)
    fraction = train_mask[train_mask.any(1)].float().mean(0).to(run.device)  # of the rows that a member trains on

    model = run.wrap(network)
    optimizer = make_optimizer(config, model)
    for _ in run.epochs(config.epochs, state={"model": model, "optimizer": optimizer}):
        train_loss = Meter()
        for _ in range(config.passes):
            for x, y, mask in batches:
                # Sum of the members' mean squared errors, each over the member's own training rows, so that a member is
                # trained as if it were alone:  L = sum_m 1/B sum_i (f_m(x_i) - y_i)^2 * mask_im / fraction_m
                loss = ((model(x) - y) ** 2 * mask / fraction).mean(0).sum()
                # Update the weights.
                optimizer.zero_grad()
                run.backward(loss)
                run.step(optimizer)
                train_loss.add(loss, len(x))
        # Validate, keep the best weights, stop early.
        mean_loss = run.mean(train_loss.sum, train_loss.count) / len(fraction)
        run.log({"train/loss": mean_loss, "val/mse": evaluate(model, validation, run)})
        run.best(METRIC, model)
        if run.epochs_since_best >= config.patience:
            run.stop(f"no lower validation error in {config.patience} epochs")


def make_optimizer(config: RegressionConfig, model: nn.Module) -> torch.optim.Optimizer:
    if config.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(model.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)


def evaluate(model: nn.Module, rows: TensorDataset, run: Run) -> float:
    """Mean squared error of each member on the rows held out from it, over all members and rows."""
    squared_error = Meter()
    with run.evaluation(model) as net:
        for x, y, mask in run.loader(rows, 1024):
            squared_error.add_sum(((net(x) - y) ** 2 * mask).sum(), mask.sum())
    return run.mean(squared_error.sum, squared_error.count)


def split(
    inputs: torch.Tensor, targets: torch.Tensor, facts: dict[str, int], config: RegressionConfig, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks of each member's training rows and of its validation rows, both (rows, members) bool."""
    rng = np.random.default_rng(seed)
    states = inputs[:, 1 : 1 + facts["states"]].argmax(1).numpy()
    answers = torch.cat([inputs[:, 1 + facts["states"] :], targets[:, None]], 1)
    numbers = windows.day_numbers(states, answers.view(len(inputs), facts["days"], facts["block"]).numpy())
    if config.split == "random":
        fold = rng.permutation(len(inputs)) % config.folds
        numbers = np.arange(len(inputs))[:, None]  # as if no two rows shared a day
    else:
        fold = windows.period_folds(states, numbers, config.folds, rng)
    held_out_folds = range(config.folds if config.ensemble else 1)
    val_mask = np.stack([fold == number for number in held_out_folds], 1)
    train_mask = np.stack([~windows.overlapping(numbers, held_out) for held_out in val_mask.T], 1)
    if not train_mask.any(0).all() or not val_mask.any(0).all():
        raise BadInput(f"field 'folds': {len(inputs)} rows leave nothing to train on or to validate on when cut into "
                       f"{config.folds} periods of days; use fewer folds, or split=random")  # fmt: skip
    return torch.from_numpy(train_mask), torch.from_numpy(val_mask)


def build(
    config: RegressionConfig,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    train_mask: torch.Tensor,
    facts: dict[str, int],
) -> Regressor:
    """The model, with each member's columns selected and standardised on its own training rows."""
    # Only the target is missing from the last day's block, so the last known value is one block before it.
    last_known = inputs.shape[1] - facts["block"]
    change = targets - inputs[:, last_known] if config.residual else targets
    selected = [select_columns(config, inputs[rows], change[rows], facts["states"]) for rows in train_mask.T]
    model = empty_network(config, inputs.shape[1], len(selected[0]))
    model.chosen.copy_(torch.stack(selected))
    model.last_known.fill_(last_known)
    if config.scale:
        for member, (rows, columns) in enumerate(zip(train_mask.T, selected, strict=True)):
            own = inputs[rows][:, columns]
            model.shift[member] = own.mean(0)
            model.scale[member] = own.std(0).clamp(min=1e-6)
    return model


def empty_network(config: RegressionConfig, columns: int, chosen: int) -> Regressor:
    """The model before columns are selected."""
    fields = config.model_dump(include={"residual", "hidden", "activation", "dropout"})
    return Regressor(columns, chosen, config.folds if config.ensemble else 1, **fields)


def select_columns(config: RegressionConfig, inputs: torch.Tensor, targets: torch.Tensor, states: int) -> torch.Tensor:
    """Indices of the columns that a network sees, ascending; inputs (rows, columns), targets (rows,)."""
    if config.features == "all":
        return torch.arange(inputs.shape[1])
    first = 1 + states  # the survey's columns come after the id and the one-hot states
    scores = torch.from_numpy(relevance(inputs[:, first:].numpy(), targets.numpy(), config.selector))
    best = first + scores.argsort(descending=True)[: config.num_features].sort().values
    return torch.cat([torch.arange(1, first), best]) if config.states else best


def load(folder: Path) -> Regressor:
    config, shape = LAB.read_config(folder), load_shape(folder)
    return load_weights(folder, empty_network(config, shape["columns"], shape["chosen"]))


def predict(model: Regressor, inputs: np.ndarray) -> np.ndarray:
    """Rows (B, columns) -> predictions (B,), in percent."""
    with torch.no_grad():
        output: np.ndarray = model.predict(torch.from_numpy(inputs)).numpy()
    return output


def example(data_dir: Path) -> np.ndarray:
    rows: np.ndarray = shards.ArrowDataset(data_dir, "test", ("inputs",))[torch.arange(3)][0].numpy()
    return rows


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `pred.csv` (header `id,tested_positive`; ids 0, 1, 2, ... in the test table's order) and the report."""
    model = load(folder)
    inputs = shards.ArrowDataset(data_dir, "test", ("inputs",)).columns[0].all().numpy()
    submission.write(out / LAB.submission, HEADER, enumerate(predict(model, inputs).tolist()))
    report.write(LAB, model, folder, data_dir, out)


def check_submission(file: Path) -> list[str]:
    return submission.check(
        file, HEADER, "<float>", str, lambda cell: None if data.is_finite(cell) else "is not a finite number"
    )


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    answers = data_dir / data.ANSWERS
    if not answers.exists():
        return {}
    truth = np.array(submission.predictions(answers), dtype=np.float64)
    predictions = np.array(submission.predictions(delivered / LAB.submission), dtype=np.float64)
    mean = shards.ArrowDataset(data_dir, "train", ("target",)).columns[0].all().mean().item()
    return {"test/mse": float(((predictions - truth) ** 2).mean()), "test/trivial": float(((mean - truth) ** 2).mean())}


def space() -> dict[str, dict[str, object]]:
    return {
        "features": {"type": "choice", "values": ["all", "selected"]},
        "selector": {"type": "choice", "values": ["f_score", "trees"], "when": {"features": "selected"}},
        "num_features": {"type": "randint", "low": 4, "high": 40, "when": {"features": "selected"}},
        "states": {"type": "choice", "values": [True, False], "when": {"features": "selected"}},
        "scale": {"type": "choice", "values": [True, False]},
        "hidden": {"type": "choice", "values": [[16, 8], [32], [64], [64, 32]]},
        "activation": {"type": "choice", "values": ["relu", "silu"]},
        "dropout": {"type": "uniform", "low": 0.0, "high": 0.3},
        "optimizer": {"type": "choice", "values": ["sgd", "adamw"]},
        "momentum": {"type": "uniform", "low": 0.0, "high": 0.95, "when": {"optimizer": "sgd"}},
        "lr": {"type": "loguniform", "low": 1e-6, "high": 1e-2},
        "weight_decay": {"type": "loguniform", "low": 1e-3, "high": 3.0, "when": {"optimizer": "adamw"}},
        "batch_size": {"type": "choice", "values": [64, 128, 256]},
        "patience": {"type": "randint", "low": 5, "high": 40},
    }


SELECTED = {"features": "selected", "scale": True}
STRONG = {"selector": "trees", "num_features": 32, "residual": True, "hidden": (64, 32), "activation": "silu",
          "optimizer": "adamw", "lr": 1e-3}  # fmt: skip
LAB = Lab(
    heading=COURSE["regression"],
    config=RegressionConfig,
    presets={
        "simple": {},
        "medium": {**SELECTED, "lr": 1e-3},
        "strong": {**SELECTED, **STRONG},
        "boss": {**SELECTED, **STRONG, "dropout": 0.1, "weight_decay": 0.1, "ensemble": True, "folds": 10},
    },
    tuned={("simple", "small"): {"lr": 3e-6}, ("boss", "tiny"): {"folds": 3}},
    sizes={"tiny": {"epochs": 6, "passes": 20}, "small": {"epochs": 60, "patience": 15}, "course": {}},
    train=train,
    load=load,
    predict=predict,
    example=example,
    demo=demo.DEMO,
    deliver=deliver,
    check_submission=check_submission,
    score=score,
    submission="pred.csv",
    space=space,
    network=lambda config: empty_network(
        config, 117, 117 if config.features == "all" else config.num_features + 37 * config.states
    ),
    data=data,
    seconds={"tiny": 1, "small": 10, "course": 60},
)
