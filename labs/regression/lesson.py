"""Homework 1, regression: the share of positive COVID-19 tests in a US state.

Task
    From five consecutive days of survey answers in one state, predict `tested_positive` of the fifth day.
Data
    `labs.regression.data`: 2,699 training and 1,078 test rows; an id, one-hot states, then 16 columns for each day.
Metric
    Mean squared error, lower is better, in squared percentage points. Course's public thresholds: simple 2.28371,
    medium 1.49430, strong 1.05728, boss 0.86161.
Ladder
    simple   the course's sample: a small MLP on every column, the row's id included, unscaled, with SGD.
    medium   the sixteen columns of the best F-score, standardised.
    strong   columns ranked by randomised trees, which see interactions; a wider net that learns the change since
             yesterday; Adam.
    boss     dropout, weight decay, and a network for each of ten folds, averaged.
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
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.feature_selection import f_regression
from torch import nn
from torch.utils.data import TensorDataset

from labs import COURSE
from labs.core import shards, submission
from labs.core.config import Config
from labs.core.errors import BadInput
from labs.core.lab import Lab
from labs.core.run import Run
from labs.core.weights import load_shape, load_weights
from labs.regression import data as survey
from labs.regression import windows
from labs.regression.networks import Regressor

METRIC = COURSE["regression"].metric
HEADER = ("id", survey.TARGET)


class RegressionConfig(Config):
    features: Literal["all", "selected"] = "all"
    """Columns that the network sees: all, id included, as in the sample, or the best ones without the id."""
    selector: Literal["f_score", "trees"] = "f_score"
    """How columns are ranked: by the F-score of a straight line, or by their importance to randomised trees; no effect
    with `features=all`."""
    num_features: int = Field(16, ge=1)
    """How many columns to select; no effect with `features=all`."""
    states: bool = False
    """Show the network the one-hot states beside the selected columns; no effect with `features=all`."""
    scale: bool = False
    """Standardise the inputs with the training rows' mean and deviation."""
    residual: bool = False
    """Add the last known `tested_positive` to the output, so that the network learns the change only."""
    hidden: tuple[int, ...] = (16, 8)
    """Widths of the hidden layers."""
    activation: Literal["relu", "silu"] = "relu"
    """Function between the layers."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the hidden units that each training step leaves out."""
    split: Literal["random", "windows"] = "windows"
    """Parts of the rows: random, as in the course, where windows with shared days come into different parts; or
    stretches of each state's days, where training leaves out the windows that share a day with a validating one."""
    folds: int = Field(5, ge=2)
    """Number of parts that the rows are cut into; one of them validates."""
    ensemble: bool = False
    """Train a network for each part to validate and average them; the validation error is then out of fold."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD, as in the sample, or AdamW."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of SGD; no effect with AdamW."""
    lr: float = Field(1e-5, gt=0)
    """Learning rate."""
    weight_decay: float = Field(0.0, ge=0)
    """L2 penalty; decoupled with AdamW."""
    batch_size: int = Field(256, ge=1)
    """Rows of a global batch."""
    epochs: int = Field(300, ge=1)
    """Epochs at most."""
    passes: int = Field(10, ge=1)
    """Passes over the training rows that count as one epoch: a single pass takes milliseconds."""
    patience: int = Field(40, ge=1)
    """Epochs without a better validation error after which training ends."""


def train(config: RegressionConfig, run: Run) -> None:
    facts = shards.manifest(run.data_dir)["facts"]
    data = shards.ArrowDataset(run.data_dir, "train", ("inputs", "target"))
    inputs, target = (column.all() for column in data.columns)
    fitting, held_out = split(inputs, target, facts, config, run.seed)
    net = build(config, inputs, target, fitting, facts)
    run.write_shape(columns=inputs.shape[1], chosen=net.chosen.shape[1])

    prepared, start = net.prepare(inputs)  # once, not at each step
    change = (target - start)[:, None]
    training, validation = (
        TensorDataset(prepared[rows], change[rows], mask[rows].float())
        for mask in (fitting, held_out)
        for rows in [mask.any(1)]
    )
    model = run.wrap(net)
    optimizer: torch.optim.Optimizer
    if config.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            model.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
        )
    else:
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    batches = run.loader(training, config.batch_size, train=True)
    share = training.tensors[2].mean(0).to(run.device)  # of the rows, that a member fits

    for _ in run.epochs(config.epochs, state={"model": model, "optimizer": optimizer}):
        loss_sum, rows = torch.zeros((), device=run.device), 0
        for _ in range(config.passes):
            for x, y, fits in batches:
                # Each member's mean squared error over its own rows: the members learn as if they were alone.
                loss = ((model(x) - y) ** 2 * fits / share).mean(0).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loss_sum += loss.detach() * len(x)
                rows += len(x)
        run.log({"train/loss": run.mean(loss_sum, rows) / len(share), "val/mse": evaluate(model, validation, run)})
        run.best(METRIC, model)
        if run.epochs_since_best >= config.patience:
            run.stop(f"no better validation error in {config.patience} epochs")


def evaluate(model: nn.Module, rows: TensorDataset, run: Run) -> float:
    """Mean squared error of each member on the rows held out from it: sums over counts, never a mean of batch means."""
    total, count = torch.zeros((), device=run.device), torch.zeros((), device=run.device)
    with run.evaluation(model) as net:
        for x, y, held_out in run.loader(rows, 1024):
            total += ((net(x) - y) ** 2 * held_out).sum()
            count += held_out.sum()
    return run.mean(total, count)


def split(
    inputs: torch.Tensor, target: torch.Tensor, facts: dict[str, int], config: RegressionConfig, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks of the rows that each member fits, and of those that validate it, both (rows, members) bool."""
    rng = np.random.default_rng(seed)
    states = inputs[:, 1 : 1 + facts["states"]].argmax(1).numpy()
    answers = torch.cat([inputs[:, 1 + facts["states"] :], target[:, None]], 1)
    numbers = windows.day_numbers(states, answers.view(len(inputs), facts["days"], facts["block"]).numpy())
    if config.split == "random":
        fold = rng.permutation(len(inputs)) % config.folds
        numbers = np.arange(len(inputs))[:, None]  # as if no two rows shared a day
    else:
        fold = windows.stretches(states, numbers, config.folds, rng)
    held_out = np.stack([fold == part for part in range(config.folds if config.ensemble else 1)], 1)
    fitting = np.stack([~windows.overlapping(numbers, mask) for mask in held_out.T], 1)
    if not fitting.any(0).all() or not held_out.any(0).all():
        raise BadInput(f"field 'folds': {len(inputs)} rows leave nothing to train on or to validate on when cut into "
                       f"{config.folds} stretches of days; take fewer, or split=random")  # fmt: skip
    return torch.from_numpy(fitting), torch.from_numpy(held_out)


def build(
    config: RegressionConfig, inputs: torch.Tensor, target: torch.Tensor, fitting: torch.Tensor, facts: dict[str, int]
) -> Regressor:
    """The model, each member's columns chosen and scaled on the rows that it fits alone."""
    # Of the last day's block only the target is hidden, so the last known value stands one block before it.
    last_known = inputs.shape[1] - facts["block"]
    learnt = target - inputs[:, last_known] if config.residual else target
    chosen = [choose(config, inputs[rows], learnt[rows], facts["states"]) for rows in fitting.T]
    model = network(config, inputs.shape[1], len(chosen[0]))
    model.chosen.copy_(torch.stack(chosen))
    if config.scale:
        for member, (rows, columns) in enumerate(zip(fitting.T, chosen, strict=True)):
            own = inputs[rows][:, columns]
            model.shift[member] = own.mean(0)
            model.scale[member] = own.std(0).clamp(min=1e-6)
    model.last_known.fill_(last_known)
    return model


def network(config: RegressionConfig, columns: int, chosen: int) -> Regressor:
    fields = config.model_dump(include={"residual", "hidden", "activation", "dropout"})
    return Regressor(columns, chosen, config.folds if config.ensemble else 1, **fields)


def choose(config: RegressionConfig, inputs: torch.Tensor, learnt: torch.Tensor, states: int) -> torch.Tensor:
    """Numbers of the columns that a network sees, rising: those that tell most about what it learns, (rows,)."""
    if config.features == "all":
        return torch.arange(inputs.shape[1])
    survey_columns = inputs[:, 1 + states :].numpy()
    if config.selector == "f_score":
        scores = f_regression(survey_columns, learnt.numpy())[0]
    else:
        trees = ExtraTreesRegressor(100, min_samples_leaf=5, random_state=0)
        scores = trees.fit(survey_columns, learnt.numpy()).feature_importances_
    best = 1 + states + torch.from_numpy(scores).argsort(descending=True)[: config.num_features].sort().values
    return torch.cat([torch.arange(1, 1 + states), best]) if config.states else best


def load(folder: Path) -> Regressor:
    config, shape = LAB.read_config(folder), load_shape(folder)
    return load_weights(folder, network(config, shape["columns"], shape["chosen"]))


def predict(model: Regressor, inputs: np.ndarray) -> np.ndarray:
    """(B, columns) -> (B,) percent."""
    with torch.no_grad():
        output: np.ndarray = model.predict(torch.from_numpy(inputs)).numpy()
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
    truth = np.array(submission.predictions(answers), dtype=np.float64)
    guess = np.array(submission.predictions(delivered / LAB.submission), dtype=np.float64)
    mean = shards.ArrowDataset(data_dir, "train", ("target",)).columns[0].all().mean().item()
    return {"test/mse": float(((guess - truth) ** 2).mean()), "test/trivial": float(((mean - truth) ** 2).mean())}


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
STRONG = {
    "selector": "trees",
    "num_features": 32,
    "residual": True,
    "hidden": (64, 32),
    "activation": "silu",
    "optimizer": "adamw",
    "lr": 1e-3,
}
LAB = Lab(
    heading=COURSE["regression"],
    config=RegressionConfig,
    presets={
        "simple": {},
        "medium": {**SELECTED, "lr": 1e-3},
        "strong": {**SELECTED, **STRONG},
        "boss": {**SELECTED, **STRONG, "dropout": 0.1, "weight_decay": 0.1, "ensemble": True, "folds": 10},
    },
    tuned={("simple", "small"): {"lr": 3e-6}},
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
    network=lambda config: network(
        config, 117, 117 if config.features == "all" else config.num_features + 37 * config.states
    ),
    data=survey,
    seconds={"tiny": 1, "small": 10, "course": 60},
)
