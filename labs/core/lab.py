"""The contract between a lab and whatever runs it."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from labs.core import delivery
from labs.core.config import Config
from labs.core.demo import Demo
from labs.core.errors import BadInput, sentences
from labs.core.heading import SIZES, Heading, Metric

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from labs.core.run import Run


@dataclass(frozen=True, kw_only=True)
class Lab:
    """One lab. Every lesson ends with such a record, named `LAB`.

    Five fields are required: `heading`, `config`, `presets`, `train` and `network`. The others have defaults that fit a
    lab with a plain network and no submission; `labs/README.md` adds a lab with them.
    """

    heading: Heading
    """Name, number, title, metric: the lab's line in `labs.COURSE`."""
    config: type[Config]
    presets: Mapping[str, Mapping[str, Any]]
    """Rung of the ladder -> the config fields that choose its techniques; the first one is the course's sample."""
    train: Callable[[Any, "Run"], None]
    """`train(config, run)`: the explicit loop that every worker executes."""
    network: Callable[[Any], "nn.Module"]
    """`network(config)`: the network alone, at the course's own data shape; its parameters are counted, and the default
    `load` builds the model with it."""
    sizes: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {size: {} for size in SIZES})
    """Size -> the config fields that choose how much compute."""
    data: ModuleType | None = None
    """Module with `make`, `check` and `prepare` for the course's data format; None where there is no data set. `check`
    returns one sentence per fault; `BadInput` or `OSError` where a file can't be read at all."""
    load: Callable[[Path], Any] = None  # type: ignore[assignment]
    """`load(folder)`: the trained model of a run's folder, rebuilt from `config.json` and the weights; by default
    `network(config)` with the weights."""
    predict: Callable[[Any, "np.ndarray"], "np.ndarray"] = None  # type: ignore[assignment]
    """`predict(model, inputs)`: a batch of raw inputs to a batch of outputs, as a served model does; by default the
    model's own output for float32 inputs."""
    example: Callable[[Path], "np.ndarray"] = None  # type: ignore[assignment]
    """`example(data_dir)`: a few raw inputs, for the served model's signature; by default the first column of the first
    two samples of the first split. A loaded model that takes other inputs has an `example` of its own."""
    demo: Demo | None = None
    """What `labs predict` shows for a person's own input; None where there is none that the lab's model could take."""
    deliver: Callable[[Path, Path, Path], None] = lambda folder, data_dir, out: None
    """`deliver(run_folder, data_dir, out)`: writes what the course asks for: the submission file and, with
    `labs.core.report`, `report.md` with its figures."""
    score: Callable[[Path, Path], dict[str, float]] = lambda delivered, data_dir: {}
    """`score(delivered, data_dir)`: `test/<metric>` and `test/trivial` (a trivial predictor's) on the test set;
    empty where the test set's answers are not known. Nothing else opens the answers."""
    submission: str = ""
    """File name of the submission, for example `pred.csv`; empty where the lab has none."""
    check_submission: Callable[[Path], list[str]] = lambda file: []
    """`check_submission(file)`: one sentence per fault of a submission file; empty if the course would accept it;
    `BadInput` where the file can't be read at all."""
    space: Callable[[], Mapping[str, Mapping[str, Any]]] = lambda: {}
    """Search space: config field -> `{"type": "loguniform", "low": .., "high": ..}` and the like."""
    tuned: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    """(preset, size) -> fields such as a learning rate that were tuned for just that pair."""
    placement: Literal["train", "rllib"] = "train"
    """Ray Train workers, or one process that starts RLlib's actors."""
    bundles: Callable[[Any], list[float]] = lambda config: [1.0]
    """`bundles(config)`: with RLlib, CPUs that the process that learns takes for each of its threads, as it waits for
    its actors, then CPUs of each actor."""
    batch_field: Callable[[Any], str] = lambda config: "batch_size"
    """`batch_field(config)`: the field whose number of samples, at each step, the workers split between them."""
    second: Metric | None = None
    """A second objective of a sweep beside the metric, such as the number of parameters; `val/<name>` as well."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Size -> rough seconds of training on one CPU; the scheduler's estimate until a run has been timed."""
    needs: Mapping[str, str] = field(default_factory=dict)
    """Role -> default node of `course.yaml` whose run this lab needs (for example `teacher`)."""
    provided: Callable[[Any, Path | None], Collection[str]] = lambda config, source: ()
    """`provided(config, source)`: the roles of `needs` that a run does without, because its config or the user's data
    folder (None for generated data) has what the role is for, such as the course's own checkpoint."""

    def __post_init__(self) -> None:
        for name, default in (("load", self._load), ("predict", _predict), ("example", _example)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)

    @property
    def name(self) -> str:
        """The lab's name on the command line."""
        return self.heading.name

    @property
    def metric(self) -> Metric:
        """The number that the lab's runs are compared by."""
        return self.heading.metric

    @property
    def goals(self) -> list[Metric]:
        """The objectives of a sweep: the metric, and the second one where there is one."""
        return [self.metric, self.second] if self.second else [self.metric]

    def resolve(self, preset: str, size: str, overrides: Mapping[str, Any] | None = None) -> Config:
        """The config of a preset at a size: defaults, then size, preset, the fields tuned for the pair, overrides.

        Raises:
            BadInput: unknown preset, size or field, wrong type or range; the message names it and the choices.
        """
        self.heading.choose(preset, size)
        fields = {**self.sizes[size], **self.presets[preset], **self.tuned.get((preset, size), {}), **(overrides or {})}
        try:
            return self.config.model_validate(fields)
        except ValidationError as error:
            raise BadInput(f"lab {self.name}: " + "; ".join(sentences(error, self.config.model_fields))) from None

    def scale(self, preset: str, size: str) -> dict[str, Any]:
        """Parameters of a preset at a size, and megabytes of weights, gradients and Adam's state in fp32."""
        import torch

        with torch.device("meta"):
            network = self.network(self.resolve(preset, size))
        parameters = sum(p.numel() for p in network.parameters())
        return {"preset": preset, "size": size, "parameters": parameters, "megabytes": round(parameters * 16 / 1e6, 2)}

    def read_config(self, folder: Path) -> Any:
        """The config that a run's folder was trained with.

        Raises:
            BadInput: it is not there, or damaged, or an earlier version of the lab had other fields.
        """
        from labs.core.weights import unreadable

        file = folder / "config.json"
        try:
            return self.config.model_validate(json.loads(file.read_text()))
        except ValidationError as error:
            raise BadInput(
                f"run {folder.name}: an earlier version of lab {self.heading.name} trained it, with other settings "
                f"({sentences(error, self.config.model_fields)[0]}); train it again"
            ) from None
        except (FileNotFoundError, ValueError) as error:
            raise unreadable(file, error) from None

    def fit(self, config: Config, run: "Run", *, test: bool = True) -> None:
        """Train, then on rank 0 write the deliverables and score them on the test set: what every placement calls.

        With `test=False`, for a trial of a sweep, the test set stays untouched.
        """
        if run.is_finished():
            return
        run.write_config(config)
        self.train(config, run)
        if run.rank == 0:
            run.write_weights()
            if test and not run.has_weights:
                raise BadInput(f"lab {self.name}: val/{self.metric.name} was never a finite number, so there is no "
                               "model; a smaller learning rate may help")  # fmt: skip
            # The other ranks do not wait: a long delivery would exceed the process group's time limit.
            run.finish(self.deliver_and_score(run.folder, run.data_dir) if test else {})

    def deliver_and_score(self, folder: Path, data_dir: Path) -> dict[str, float]:
        """Write the deliverables of a trained run's folder and score them on the test set."""
        delivered = folder / delivery.FOLDER
        delivered.mkdir(exist_ok=True)  # stays empty where a lab hands in nothing
        self.deliver(folder, data_dir, delivered)
        metrics = self.score(delivered, data_dir)
        delivery.seal(folder)
        return metrics

    def _load(self, folder: Path) -> Any:
        from labs.core.weights import load_weights

        return load_weights(folder, self.network(self.read_config(folder)))


def _predict(model: Any, inputs: "np.ndarray") -> "np.ndarray":
    import numpy as np
    import torch

    with torch.no_grad():
        outputs: np.ndarray = model(torch.from_numpy(np.asarray(inputs, np.float32))).numpy()
    return outputs


def _example(data_dir: Path) -> "np.ndarray":
    import torch

    from labs.core import shards

    split, columns = next(iter(shards.manifest(data_dir)["schema"].items()))
    inputs: np.ndarray = shards.ArrowDataset(data_dir, split, (next(iter(columns)),))[torch.arange(2)][0].numpy()
    return inputs
