"""A sweep on disk: what it is, its Optuna study, and its trials' folders, which are run folders like any other.

The study in `study.journal` is what the search knows; what each trial did is in its folder. Both survive any death of
the driver, so the same command continues the sweep, and more trials extend it.
"""

import time
import uuid
import warnings
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import labs
from cluster import capacity
from cluster.errors import ClusterError
from labs.core import events
from labs.core.errors import BadInput
from pipelines.fingerprint import fingerprint
from pipelines.home import attempt, has_record, read_record, result, write_record
from pipelines.node import PlannedNode, create_record, facts, flatten, job_of, resources
from pipelines.spec import Node, Tuning
from pipelines.tuning.search import Search
from pipelines.tuning.start import start_of
from pipelines.tuning.trial import SweepTrial, best_of, trials_of

if TYPE_CHECKING:
    import optuna

REFUSED_AT_MOST = 100
"""Samples in a row that the lab refuses; after so many the space itself counts as wrong."""


class Sweep:
    """One sweep's folder.

    Args:
        home: the home folder.
        node: what every trial has in common: lab, preset, size, fixed config, seed, resources.
        tuning: what is searched.
        cluster: the cluster.
        data: prepared data.
        upstream: role -> the run that every trial needs as that role.
        force: take a new folder if the newest one's sweep has finished.
    """

    def __init__(
        self, home: Path, node: Node, tuning: Tuning, cluster: capacity.Cluster, data: Path,
        upstream: Mapping[str, PlannedNode], *, force: bool = False,
    ) -> None:  # fmt: skip
        self.node, self.tuning, self.lab = node, tuning, labs.get(node.lab)
        self.cluster, self.data = cluster, data
        self.upstream = {role: other.folder for role, other in upstream.items()}
        self.gpus, self.bundles = resources(node, cluster)
        searched: dict[str, Any] = {
            "search": tuning.search,
            "scheduler": tuning.scheduler,
            "space": tuning.space.document(),
        }
        self.start = start_of(home, tuning)
        if self.start:
            searched["from"] = self.start.sweep
        what = {**facts(node, self.gpus, data), **searched}
        self.fingerprint = fingerprint(what, {role: other.fingerprint for role, other in upstream.items()})
        name = f"{node.lab}-{node.preset}-{node.size}-{self.fingerprint[:12]}"
        self.folder = attempt(home / "sweeps" / name, force=force)

    @property
    def concurrent(self) -> int:
        """Trials at a time: as many as the cluster's nodes can hold, or fewer if fewer were asked for."""
        most, room = min(self.tuning.concurrent or self.tuning.trials, self.tuning.trials), capacity.Room(self.cluster)
        return next((n for n in range(most) if not room.take(f"trial {n}", self.bundles)), most)

    def complete(self) -> bool:
        """Whether all trials that are asked for were run to their ends."""
        states = [trial.state() for trial in self.trials()]
        return len(states) >= self.tuning.trials and "KILLED" not in states

    def finished(self) -> bool:
        """Whether the sweep has its trials or has used its time, and its best trial was scored."""
        if not result(self.folder):
            return False
        record = read_record(self.folder)
        same = record["asked"] == [self.tuning.trials, self.tuning.seconds]
        return record["status"] == "FINISHED" and (same or self.complete())

    def planned(self, seconds: float) -> "PlannedSweep":
        """The sweep as a pipeline's node; `seconds` is a trial's estimate."""
        many = self.concurrent
        whole = min(seconds * self.tuning.trials / many, self.tuning.seconds or float("inf"))
        digest = f"{self.fingerprint} {self.tuning.trials} {self.tuning.seconds}"
        job = job_of(self.node, self.gpus, self.folder, self.data, self.upstream)
        return PlannedSweep(self.node, digest, self.folder, job, self.bundles * many, whole, self)

    def create_record(self, parent: Path | None = None) -> None:
        """Write the record of a sweep that has none yet; `parent` is the folder of a pipeline that it is part of."""
        if has_record(self.folder):
            return
        node = self.node
        write_record(
            self.folder,
            key=uuid.uuid4().hex,
            name=f"tune-{node.lab}-{node.preset}-{node.size}",
            lab=node.lab,
            status="WAITING",
            created=time.time(),
            seconds=0.0,
            error="",
            serve=False,
            parent=str(parent) if parent else "",
            params=self._params(),
            tags={
                "labs.sweep": node.lab,
                "labs.metric": self.lab.metric.name,
                "labs.goal": self.lab.metric.goal,
                "labs.fingerprint": self.fingerprint,
                "labs.folder": str(self.folder),
            },
        )

    def study(self) -> "optuna.Study":
        """The Optuna study of the folder, made or opened; for the process that has the sweep's lock."""
        import optuna
        from optuna.samplers import RandomSampler
        from optuna.storages.journal import JournalFileBackend, JournalStorage

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "study.journal"
        _repair(file)
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(file))),
            study_name="sweep",
            directions=["minimize" if metric.goal == "min" else "maximize" for metric in self.lab.goals],
            sampler=RandomSampler(),  # never asked: see `Search`
            load_if_exists=True,
        )
        if study.metric_names is None:  # for whoever looks at the study with Optuna's own tools
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it is experimental
                study.set_metric_names([f"val/{metric.name}" for metric in self.lab.goals])
        return study

    def trial(self, number: int) -> SweepTrial:
        """The trial of a number."""
        return SweepTrial(self.folder / "trials" / str(number), self.lab)

    def trials(self, known: Container[int] = ()) -> Iterator[SweepTrial]:
        """The trials that were begun, in their order, without those whose numbers are known."""
        return trials_of(self.folder, self.lab, known)

    def best(self) -> SweepTrial | None:
        """The trial with the best value of those that were run to their end."""
        return best_of(self.folder, self.lab)

    def log_progress(self, ended: int, best: float | None) -> None:
        """Append an event with the best value so far; its step is the number of trials that have ended."""
        metrics = {} if best is None else {f"val/{self.lab.metric.name}": best}
        events.append(self.folder, {"time": time.time(), "step": ended, "of": self.tuning.trials, "metrics": metrics})

    def search(self, study: "optuna.Study") -> Search:
        """The search, which goes on from what the study has."""
        return Search(study, self._sampler)

    def given(self) -> list[dict[str, Any]]:
        """The parameters of the first trials that the search does not choose: a grid's cells, or where to start."""
        if self.tuning.search == "grid":
            return self.tuning.space.grid()
        return [self.start.parameters] if self.start else []

    def sample(self, search: Search, given: Mapping[str, Any] | None = None) -> SweepTrial:
        """Ask the search for one more trial, or for that of given parameters, and write its record.

        Raises:
            BadInput: the lab refused every config that was sampled.
        """
        import optuna

        refusal = ""
        for _ in range(REFUSED_AT_MOST):
            number, fields = search.ask(self.tuning.space, given)
            try:
                return self._begin_trial(number, fields)
            except (BadInput, ClusterError) as error:
                refusal = str(error)
                search.study.tell(number, state=optuna.trial.TrialState.FAIL)
                if given is not None:
                    break
        raise BadInput(f"{self.tuning.space.where}: its fields do not fit together: {refusal}")

    def _begin_trial(self, number: int, fields: dict[str, Any]) -> SweepTrial:
        """Write a trial's record; `BadInput` if the lab does not take such a config on these workers."""
        trial, overrides = self.trial(number), {**self.tuning.space.fixed, **fields}
        config = self.lab.resolve(self.node.preset, self.node.size, overrides)
        node = replace(self.node, config=config, retries=0)  # Tune starts a lost trial again, with its workers
        gpus, bundles = resources(node, self.cluster)
        job = job_of(node, gpus, trial.folder, self.data, self.upstream).model_copy(update={"test": False})
        create_record(
            PlannedNode(node, self.fingerprint, trial.folder, job, bundles, 0.0),
            self.folder,
            suffix=f"-t{number:04}",
            more_tags={"labs.trial": str(number)},
            serve=False,
            pruned=False,
            overrides=overrides,
            job=job.model_dump(mode="json"),
        )
        return trial

    def _params(self) -> dict[str, Any]:
        """The sweep's parameters in MLflow."""
        node, tuning = self.node, self.tuning
        return {
            **flatten({"space": tuning.space.document(), "fixed": tuning.space.fixed}),
            **{key: getattr(node, key) for key in ("lab", "preset", "size", "seed")},
            "search": tuning.search,
            **({"from": self.start.sweep} if self.start else {}),
            "scheduler": tuning.scheduler,
            "workers": node.resources.workers,
            "gpus_per_worker": self.gpus,
            "precision": node.resources.precision,
            "compile": node.resources.compile,
        }

    def _sampler(self, number: int) -> Any:
        """The sampler of one trial: seeded by the trial's number, so that a continued search does not repeat itself."""
        from optuna.samplers import RandomSampler, TPESampler

        seed = self.node.seed * 1_000_003 + number
        return TPESampler(seed=seed) if self.tuning.search == "tpe" else RandomSampler(seed=seed)


@dataclass(frozen=True)
class PlannedSweep(PlannedNode):
    """A node that is a sweep."""

    sweep: Sweep

    def finished(self) -> bool:
        """Whether nothing of the sweep is left to do."""
        return self.sweep.finished()


def _repair(journal: Path) -> None:
    """Undo what a killed process may have left: a lock without a holder, and half a line at the journal's end."""
    for lock in journal.parent.glob(f"{journal.name}.lock*"):
        lock.unlink()
    if journal.exists():
        with journal.open("rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
