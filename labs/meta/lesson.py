"""Homework 15, meta-learning: five characters never seen before, classified after one drawing of each.

Task
    5-way 1-shot classification: from one labelled drawing of each of five characters (the support set) predict which of
    the five each of five other drawings (the query set) shows.
Data
    `labs.meta.data`: characters of 30 alphabets for training, of which a fifth is held out, and 640 test tasks with
    characters of other alphabets.
Metric
    Accuracy on the test tasks' queries, in [0, 1], higher is better. The course rounds its thresholds: simple 0.6,
    medium 0.7, strong 0.9, boss 0.95. As in the course the five queries of a task are normalised by their own batch
    statistics, so that a prediction depends on the other queries: `accuracy` is transductive. `accuracy_inductive`
    normalises by the statistics of the support set alone.
Ladder (the solvers, with their equations, are in `labs.meta.solvers`)
    simple   transfer, the course's sample: a network learns to classify five characters, then is fine-tuned on each
             task.
    medium   first-order MAML: learn the initial parameters from which one inner step leads to the lowest query loss;
             the inner gradient is treated as a constant.
    strong   MAML: the outer gradient goes through the inner step, second derivatives included.
    boss     MAML with task augmentation, in which rotated and mirrored characters are new classes; a cosine schedule.
Solvers outside the ladder
    anil        as MAML, but the inner steps change the last layer only.
    reptile     move the initial parameters towards the result of the inner steps, which use support and query set as
                one training set. With a single inner step this is joint training; set `inner_steps` to 3 or more.
    prototypes  no inner steps: a query gets the class of the nearest support image in an embedding space.
Report
    (a)  How does the accuracy on held-out characters depend on the number of training tasks?
    (b)  How does it depend on the number of inner steps at inference, those in training unchanged?
Papers
    Finn et al., MAML (arXiv:1703.03400); Raghu et al., ANIL (arXiv:1909.09157); Nichol et al., Reptile
    (arXiv:1803.02999); Snell et al., Prototypical Networks (arXiv:1703.05175); Santoro et al., for rotated characters
    as new classes (arXiv:1605.06065).
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from labs import COURSE
from labs.core import submission
from labs.core.lab import Lab
from labs.core.meter import Meter
from labs.core.run import Run
from labs.core.schedule import set_rate, warmup_cosine
from labs.core.weights import load_weights, unwrap
from labs.meta import data, figures, report
from labs.meta.config import MetaConfig
from labs.meta.data import WAYS
from labs.meta.demo import DEMO
from labs.meta.solvers import Learner, Parameters, map_tasks, meta_loss
from labs.meta.tasks import Tasks, split, stored_tasks

METRIC = COURSE["meta"].metric
HEADER, INDUCTIVE = ("id", "class"), "output_inductive.csv"


def train(config: MetaConfig, run: Run) -> None:
    training, held_out = split(run.data_dir)
    length, fixed = config.steps * config.meta_batch, config.solver == "transfer"
    tasks = Tasks(training, run.seed, length, pool=config.tasks, augment=config.augment, fixed=fixed)
    validation = Tasks(held_out, 0, config.val_tasks)
    model = run.wrap(Learner(config), compilable=False)  # MAML differentiates twice
    net = cast(Learner, unwrap(model)).net
    parameters: Parameters = dict(net.named_parameters())
    loss_of_task = partial(meta_loss, net, parameters, config)
    optimizer = torch.optim.Adam(net.parameters(), lr=config.lr)
    batches = run.loader(tasks, config.meta_batch, train=True)

    for epoch in run.epochs(config.epochs, state={"model": model, "optimizer": optimizer}):
        tasks.first_task = epoch * length
        losses = Meter()
        for step, (support, query) in enumerate(batches):
            if config.schedule == "cosine":
                set_rate(optimizer, config.lr * warmup_cosine((epoch + step / config.steps) / config.epochs))
            # The inner loop of each task, and its meta-loss.
            loss = map_tasks(loss_of_task, config.batching, config.width, support, query).mean()
            # The outer step: theta <- theta - beta grad E_tasks[L_task(theta)], by Adam.
            optimizer.zero_grad()
            run.backward(loss)
            run.sync_gradients(net)  # DDP does not average them, because its forward was never called
            run.step(optimizer)
            losses.add(loss, len(support))
        # Adapt to tasks of held-out characters and classify their queries.
        transductive, inductive = evaluate(model, validation, config.val_steps, run)
        run.log({"train/loss": run.mean(losses.sum, losses.count)})
        run.log({"val/accuracy": transductive, "val/accuracy_inductive": inductive})
        run.best(METRIC, model)


def evaluate(model: Learner, tasks: Tasks, steps: int, run: Run) -> tuple[float, float]:
    """Accuracy after so many inner steps, transductive and inductive, over all workers' tasks."""
    correct: list[Tensor] = []
    with run.evaluation(model) as learner:
        for support, query in run.loader(tasks, 32):
            correct.append(is_correct(learner.logits(support, query, [steps])[:, 0]))
    count = sum(batch[:, 0].numel() for batch in correct)
    transductive, inductive = (sum(batch[:, mode].sum() for batch in correct) for mode in (0, 1))
    return run.mean(transductive, count), run.mean(inductive, count)


def is_correct(logits: Tensor) -> Tensor:
    """Whether query i of each task is predicted as class i; (..., 5, 5) -> (..., 5)."""
    return logits.argmax(-1) == torch.arange(WAYS, device=logits.device)


def load(folder: Path) -> Learner:
    return load_weights(folder, Learner(LAB.read_config(folder)))


def predict(model: Learner, inputs: np.ndarray) -> np.ndarray:
    """Tasks (T, 10, 28, 28) uint8, five support then five query images -> (T, 5, 5) probabilities, transductive."""
    logits = all_logits(model, torch.from_numpy(inputs), [model.config.test_steps])[:, 0, 0]
    probabilities: np.ndarray = logits.softmax(-1).numpy()
    return probabilities


def all_logits(model: Learner, tasks: Tensor, steps: Sequence[int]) -> Tensor:
    """Logits (T, len(steps), 2, 5, 5) of tasks (T, 10, 28, 28) on the CPU, computed in batches of 16 tasks, of which a
    CPU's cache holds most; `steps` are ascending numbers of inner steps."""
    device = next(model.parameters()).device
    batches = [batch.to(device).split(WAYS, 1) for batch in tasks.split(16)]
    with torch.no_grad():
        return torch.cat([model.logits(support, query, steps).cpu() for support, query in batches])


def example(data_dir: Path) -> np.ndarray:
    tasks: np.ndarray = stored_tasks(data_dir)[:2].numpy()
    return tasks


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write the predictions and the report.

    `output.csv` (`id,class`, queries counted over all tasks) has the transductive predictions,
    `output_inductive.csv` the inductive ones.
    """
    model = load(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    config = model.config
    predictions = all_logits(model, stored_tasks(data_dir), [config.test_steps])[:, 0].argmax(-1)
    for name, classes in zip((LAB.submission, INDUCTIVE), predictions.unbind(1), strict=True):
        submission.write(out / name, HEADER, enumerate(classes.flatten().tolist()))
    tasks = Tasks(split(data_dir)[1], 0, config.val_tasks).all()
    accuracies = is_correct(all_logits(model, tasks, figures.STEPS)).double().mean((0, 3))
    report.write(LAB, config, folder, out, dict(zip(figures.MODES, accuracies.T.tolist(), strict=True)))


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
    return {  # without test_steps, which validation does not see
        "solver": {"type": "choice", "values": ["fomaml", "maml", "anil", "reptile", "prototypes"]},
        "inner_lr": {"type": "loguniform", "low": 0.01, "high": 1.0},
        "inner_steps": {"type": "randint", "low": 1, "high": 6},
        "val_steps": {"type": "randint", "low": 1, "high": 11},
        "tasks": {"type": "choice", "values": [0, 100, 1000, 10000]},
        "augment": {"type": "uniform", "low": 0.0, "high": 1.0},
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
        "boss": {"solver": "maml", "augment": 0.8, "schedule": "cosine"},
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
    demo=DEMO,
    deliver=deliver,
    check_submission=check_submission,
    score=score,
    batch_field=lambda config: "meta_batch",
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
