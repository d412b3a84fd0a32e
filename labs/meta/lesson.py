"""Homework 15, meta learning: five characters never seen before, told apart after one drawing of each.

Task
    5-way 1-shot classification: from one labelled drawing of each of five characters (support) say which of the five
    other drawings (query) show.
Data
    `labs.meta.data`: characters of 30 alphabets to train on, of which a fifth is held out, and 640 test tasks with
    characters of other alphabets.
Metric
    Accuracy, higher is better, a share of the test queries. The course rounds its thresholds: simple 0.6, medium 0.7,
    strong 0.9, boss 0.95. As in the course a task's five queries are normalised by their own statistics, so a guess
    depends on its company: `accuracy` is transductive. `accuracy_inductive` normalises by the support set alone.
Ladder
    simple   transfer, the course's sample: an ordinary network learns five characters, then is tuned to each task.
    medium   first-order MAML: learn the weights from which one step of tuning leads furthest; the step's own slope
             counts as a constant.
    strong   MAML: the gradient goes through the inner step, second derivatives and all.
    boss     MAML with task augmentation: characters turned by quarters or mirrored are new ones; a falling rate.
Solvers outside the ladder
    anil        as MAML, but the inner steps change the last layer only.
    reptile     step towards where some inner steps led; no query is held back, so take `inner_steps` of 3 or more.
    prototypes  no inner steps: a query belongs to the nearest support image in the space of an embedding.
Papers
    Finn et al., MAML (arXiv:1703.03400); Raghu et al., ANIL (arXiv:1909.09157); Nichol et al., Reptile
    (arXiv:1803.02999); Snell et al., Prototypical Networks (arXiv:1703.05175); Santoro et al., for turned characters as
    new classes (arXiv:1605.06065).
"""

from functools import partial
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.nn import functional as F

from labs import COURSE
from labs.core import submission
from labs.core.config import Config
from labs.core.lab import Lab
from labs.core.run import Run
from labs.core.schedule import set_rate, warmup_cosine
from labs.core.weights import load_weights, unwrap
from labs.meta import data, figures
from labs.meta.data import WAYS
from labs.meta.few_shot import ConvNet, over_tasks, prototype_logits
from labs.meta.tasks import Tasks, split, stored_tasks

METRIC = COURSE["meta"].metric
HEADER, INDUCTIVE = ("id", "class"), "output_inductive.csv"
Weights = dict[str, Tensor]  # a network's parameters by name


class MetaConfig(Config):
    solver: Literal["transfer", "fomaml", "maml", "anil", "reptile", "prototypes"] = "transfer"
    """What is learnt over the training tasks, and how."""
    width: int = Field(64, ge=4)
    """Channels of every convolution."""
    inner_lr: float = Field(0.4, gt=0)
    """Rate of the inner steps, plain gradient descent; no effect with `solver=prototypes`."""
    inner_steps: int = Field(1, ge=1)
    """Inner steps in training; no effect with `solver=transfer` and `prototypes`."""
    val_steps: int = Field(3, ge=0)
    """Inner steps when validating; no effect with `solver=prototypes`."""
    test_steps: int = Field(10, ge=0)
    """Inner steps on test tasks; no effect with `solver=prototypes`."""
    tasks: int = Field(0, ge=0)
    """Number of different training tasks; 0 for new ones all the time."""
    turned: float = Field(0.0, ge=0, le=1)
    """Share of the training characters that are turned by quarters or mirrored, all of a task's drawings alike."""
    lr: float = Field(1e-3, gt=0)
    """Adam's learning rate; with `schedule=cosine` its highest value."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate over the training: constant, or linearly up for a tenth of it, then down to 0 on a cosine."""
    meta_batch: int = Field(32, ge=1)
    """Tasks of a global batch."""
    batching: Literal["auto", "vmap", "loop"] = "auto"
    """Tasks of a batch at once or one after the other, with the same numbers; `auto` takes what was found faster."""
    steps: int = Field(100, ge=1)
    """Meta-steps of an epoch."""
    epochs: int = Field(30, ge=1)
    """Epochs."""
    val_tasks: int = Field(100, ge=1)
    """Tasks, the same in every epoch, drawn from the held-out characters."""


class Learner(nn.Module):
    """A network, and how it is tuned to a task. It has no forward: `functional_call` reaches past DDP and past `wrap`'s
    bf16, in which the differences between gradients would drown."""

    def __init__(self, config: MetaConfig) -> None:
        super().__init__()
        self.config = config
        self.net = ConvNet(config.width, 0 if config.solver == "prototypes" else WAYS)

    def logits(self, support: Tensor, query: Tensor, steps: int) -> Tensor:
        """Tasks, (T, 5, 28, 28) each, -> (T, 2, 5, 5): of the queries normalised together, and inductive ones."""
        answer_one = partial(answer, self.net, dict(self.net.named_parameters()), self.config, steps)
        return over_tasks(answer_one, self.config.batching, self.config.width, support, query)


def adapt(net: nn.Module, weights: Weights, images: Tensor, config: MetaConfig, steps: int) -> Weights:
    """The inner loop: gradient descent on a task's labelled images (n * 5, 28, 28), whose labels run 0 to 4.

    What comes out is a function of `weights` that can be differentiated again: exactly, second derivatives included,
    or (`fomaml`, `reptile`) as if the inner gradients were constants.
    """
    moving = {name: w for name, w in weights.items() if config.solver != "anil" or name.startswith("head.")}
    labels = torch.arange(len(images), device=images.device) % WAYS

    def loss(moved: Weights) -> Tensor:
        return F.cross_entropy(functional_call(net, {**weights, **moved}, images), labels)

    first_order = config.solver in ("fomaml", "reptile")
    for _ in range(steps):
        at = {name: w.detach() for name, w in moving.items()} if first_order else moving
        slopes = grad(loss)(at)
        moving = {name: w - config.inner_lr * slopes[name] for name, w in moving.items()}
    return {**weights, **moving}


def objective(net: nn.Module, weights: Weights, config: MetaConfig, support: Tensor, query: Tensor) -> Tensor:
    """The meta-loss of one task, a function of `weights`; support and query are (5, 28, 28)."""
    labels, at = torch.arange(WAYS, device=support.device), partial(functional_call, net)
    if config.solver == "transfer":
        return F.cross_entropy(at(weights, support), labels)
    if config.solver == "prototypes":
        return F.cross_entropy(prototype_logits(at(weights, support), at(weights, query)), labels)
    if config.solver == "reptile":
        reached = adapt(net, weights, torch.cat([support, query]), config, config.inner_steps)
        # The gradient of half the squared distance is the way back from there: Reptile's update, for any optimizer.
        return torch.stack([0.5 * (w - reached[name].detach()).square().sum() for name, w in weights.items()]).sum()
    return F.cross_entropy(at(adapt(net, weights, support, config, config.inner_steps), query), labels)


def answer(net: nn.Module, weights: Weights, config: MetaConfig, steps: int, support: Tensor, query: Tensor) -> Tensor:
    """Logits (2, 5, 5) of a task's queries (5, 28, 28): normalised by their own statistics, then by the support's."""
    if config.solver != "prototypes":
        weights = adapt(net, weights, support, config, steps)
    alone = functional_call(net, weights, (torch.cat([support, query]), len(support)))[len(support) :]
    outputs = torch.stack([functional_call(net, weights, query), alone])
    if config.solver == "prototypes":
        return prototype_logits(functional_call(net, weights, support), outputs)
    return outputs


def train(config: MetaConfig, run: Run) -> None:
    training, held_out = split(run.data_dir)
    length, fixed = config.steps * config.meta_batch, config.solver == "transfer"
    tasks = Tasks(training, run.seed, length, pool=config.tasks, turned=config.turned, fixed=fixed)
    validation = Tasks(held_out, 0, config.val_tasks)
    model = run.wrap(Learner(config))
    net = cast(Learner, unwrap(model)).net
    weights: Weights = dict(net.named_parameters())
    meta_loss = partial(objective, net, weights, config)
    optimizer = torch.optim.Adam(net.parameters(), lr=config.lr)
    batches = run.loader(tasks, config.meta_batch, train=True)

    for epoch in run.epochs(config.epochs, state={"model": model, "optimizer": optimizer}):
        tasks.first = epoch * length
        loss_sum, count = torch.zeros((), device=run.device), 0
        for step, (support, query) in enumerate(batches):
            if config.schedule == "cosine":
                set_rate(optimizer, config.lr * warmup_cosine((epoch + step / config.steps) / config.epochs))
            losses = over_tasks(meta_loss, config.batching, config.width, support, query)
            optimizer.zero_grad()
            losses.mean().backward()
            run.sync_gradients(net)  # DDP would not: its forward was never called
            optimizer.step()
            loss_sum += losses.detach().sum()
            count += len(support)
        together, inductive = evaluate(model, validation, config.val_steps, run)
        run.log({"train/loss": run.mean(loss_sum, count)})
        run.log({"val/accuracy": together, "val/accuracy_inductive": inductive})
        run.best(METRIC, model)


def evaluate(model: Learner, tasks: Tasks, steps: int, run: Run) -> tuple[float, float]:
    """Accuracy after so many inner steps, transductive and inductive, over all workers' tasks."""
    hits, count = torch.zeros(2, device=run.device), 0
    with run.evaluation(model) as learner:
        for support, query in run.loader(tasks, 32):
            hits += right(learner.logits(support, query, steps)).sum((0, 2))
            count += query[:, :, 0, 0].numel()
    return run.mean(hits[0], count), run.mean(hits[1], count)


def right(logits: Tensor) -> Tensor:
    """Whether query i of each task was taken for class i; (..., 5, 5) -> (..., 5)."""
    return logits.argmax(-1) == torch.arange(WAYS, device=logits.device)


def load(folder: Path) -> Learner:
    return load_weights(folder, Learner(LAB.read_config(folder)))


def predict(model: Learner, inputs: np.ndarray) -> np.ndarray:
    """Tasks (T, 10, 28, 28) uint8, five support then five query images -> (T, 5, 5) probabilities, transductive."""
    output: np.ndarray = respond(model, torch.from_numpy(inputs), model.config.test_steps)[:, 0].softmax(-1).numpy()
    return output


def respond(model: Learner, tasks: Tensor, steps: int) -> Tensor:
    """Logits (T, 2, 5, 5) for tasks (T, 10, 28, 28), some at a time; on the CPU."""
    device = next(model.parameters()).device
    parts = [part.to(device).split(WAYS, 1) for part in tasks.split(32)]
    with torch.no_grad():
        return torch.cat([model.logits(support, query, steps).cpu() for support, query in parts])


def example(data_dir: Path) -> np.ndarray:
    tasks: np.ndarray = stored_tasks(data_dir)[:2].numpy()
    return tasks


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `output.csv` (`id,class`, queries counted over all tasks), the same by inductive predictions as
    `output_inductive.csv`, and for the report `training_tasks.png` and `inner_steps.png`."""
    model = load(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    config = model.config
    predictions = respond(model, stored_tasks(data_dir), config.test_steps).argmax(-1)
    for name, mode in zip((LAB.submission, INDUCTIVE), predictions.unbind(1), strict=True):
        submission.write(out / name, HEADER, enumerate(mode.flatten().tolist()))
    over_tasks_seen = figures.over_tasks(folder, config.steps * config.meta_batch, config.tasks)
    tasks = Tasks(split(data_dir)[1], 0, config.val_tasks).all()
    shares = torch.stack([right(respond(model, tasks, steps)).double().mean((0, 2)) for steps in figures.STEPS])
    over_steps = figures.over_steps(dict(zip(figures.MODES, shares.T.tolist(), strict=True)))
    for name, figure in (("training_tasks", over_tasks_seen), ("inner_steps", over_steps)):
        figure.savefig(out / f"{name}.png", dpi=100, bbox_inches="tight")


def check_submission(file: Path) -> list[str]:
    return submission.check(file, HEADER, "<class>", str, submission.class_fault(WAYS))


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    answers = data_dir / data.ANSWERS
    if not answers.exists():
        return {}
    truth = submission.predictions(answers)
    inductive = submission.accuracy(delivered / INDUCTIVE, truth, "0")["test/accuracy"]
    return {**submission.accuracy(delivered / LAB.submission, truth, "0"), "test/accuracy_inductive": inductive}


def space() -> dict[str, dict[str, object]]:
    return {
        "solver": {"type": "choice", "values": ["fomaml", "maml", "anil", "reptile", "prototypes"]},
        "inner_lr": {"type": "loguniform", "low": 0.01, "high": 1.0},
        "inner_steps": {"type": "randint", "low": 1, "high": 6},
        "val_steps": {"type": "randint", "low": 1, "high": 11},
        "test_steps": {"type": "randint", "low": 1, "high": 21},
        "tasks": {"type": "choice", "values": [0, 100, 1000, 10000]},
        "turned": {"type": "uniform", "low": 0.0, "high": 1.0},
        "lr": {"type": "loguniform", "low": 1e-4, "high": 1e-2},
        "schedule": {"type": "choice", "values": ["constant", "cosine"]},
        "meta_batch": {"type": "choice", "values": [8, 16, 32, 64]},
        "epochs": {"type": "randint", "low": 5, "high": 60},
    }


LAB = Lab(
    heading=COURSE["meta"],
    config=MetaConfig,
    presets={
        "simple": {"solver": "transfer", "epochs": 5},
        "medium": {"solver": "fomaml"},
        "strong": {"solver": "maml"},
        "boss": {"solver": "maml", "turned": 0.8, "schedule": "cosine"},
        "anil": {"solver": "anil"},
        "reptile": {"solver": "reptile", "inner_steps": 3},
        "prototypes": {"solver": "prototypes"},
    },
    sizes={
        "tiny": {"width": 4, "meta_batch": 4, "steps": 3, "epochs": 3, "val_tasks": 12, "test_steps": 3},
        "small": {"width": 16, "meta_batch": 16, "steps": 40, "epochs": 16, "lr": 5e-3},
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
    network=Learner,
    data=data,
    tuned={
        ("simple", "small"): {"lr": 1e-3},
        ("boss", "small"): {"lr": 1e-2, "epochs": 24},
        ("reptile", "small"): {"lr": 1e-3},
    },
    seconds={"tiny": 2, "small": 90, "course": 3600},
)
