"""The references for tuning: the same trials by other means, each as its library's documentation teaches it.

    python stock_tuning.py KIND ROWS OUT TRIALS EPOCHS PASSES

`KIND` is `train` (Ray Tune over a TorchTrainer in each trial), `function` (a function trainable, its process not used
again) or `optuna` (a loop in one process). Each trial trains the network of lab `regression` at preset `simple` on
the rows of an .npz file with another learning rate; trials run one after the other. `OUT` gets the Unix time of each
trial's end, a line each. Nothing of this program is used.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import torch
from torch import nn

LOW, HIGH = 1e-6, 1e-4


def epochs(settings: dict) -> Iterator[float]:
    """Train, yielding the validation error after each epoch."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = {name: torch.from_numpy(values) for name, values in np.load(settings["rows"]).items()}
    x, y = rows["training_inputs"], rows["training_target"]
    model = nn.Sequential(nn.Linear(x.shape[1], 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=settings["lr"], momentum=0.9)
    for _ in range(settings["epochs"]):
        for _ in range(settings["passes"]):
            for batch in torch.randperm(len(x)).split(256):
                loss = nn.functional.mse_loss(model(x[batch]).squeeze(1), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        with torch.no_grad():
            yield nn.functional.mse_loss(model(rows["inputs"]).squeeze(1), rows["target"]).item()


def loop(settings: dict) -> None:
    """What a Ray Train worker executes."""
    import ray.train

    for mse in epochs(settings):
        ray.train.report({"mse": mse})


def over_train(settings: dict) -> None:
    """A trial that is a Train job."""
    import ray.train
    from ray import tune
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    trainer = TorchTrainer(
        loop,
        train_loop_config=settings,
        scaling_config=ray.train.ScalingConfig(num_workers=1),
        run_config=ray.train.RunConfig(
            name=f"train-{tune.get_context().get_trial_id()}",
            storage_path=settings["out"] + "-train",
            callbacks=[TuneReportCallback()],
        ),
    )
    trainer.fit()


def function(settings: dict) -> None:
    """A trial that trains in its own process."""
    from ray import tune

    for mse in epochs(settings):
        tune.report({"mse": mse})


def note(out: Path) -> None:
    with out.open("a") as file:
        file.write(f"{time.time()}\n")


def tune_with_ray(kind: str, settings: dict, trials: int) -> None:
    import ray
    from ray import tune

    class Ends(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: list, trial: object, **info: object) -> None:
            note(Path(settings["out"]))

    ray.init()
    tuner = tune.Tuner(
        over_train if kind == "train" else function,
        param_space={**settings, "lr": tune.loguniform(LOW, HIGH)},
        tune_config=tune.TuneConfig(metric="mse", mode="min", num_samples=trials, max_concurrent_trials=1),
        run_config=tune.RunConfig(name=kind, storage_path=settings["out"] + "-tune", callbacks=[Ends()]),
    )
    tuner.fit()


def tune_with_optuna(settings: dict, trials: int) -> None:
    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", LOW, HIGH, log=True)
        (*_, mse) = epochs({**settings, "lr": lr})
        return mse

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=trials, callbacks=[lambda study, trial: note(Path(settings["out"]))])


def main(kind: str, rows: str, out: str, trials: int, epochs: int, passes: int) -> None:
    settings = {"rows": rows, "out": out, "epochs": epochs, "passes": passes}
    if kind == "optuna":
        tune_with_optuna(settings, trials)
    else:
        tune_with_ray(kind, settings, trials)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], *(int(number) for number in sys.argv[4:7]))
