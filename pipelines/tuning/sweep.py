"""A sweep on disk: what it is, its Optuna study, and its trials' folders, which are run folders like any other.

The study in `study.journal` is what the search knows; what each trial did is in its folder. Both survive any death of
the driver, so the same command continues the sweep, and more trials extend it.
"""

import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import labs
from cluster import capacity
from cluster.errors import ClusterError
from labs.core import events
from labs.core.errors import BadInput
from pipelines.fingerprint import fingerprint
from pipelines.home import attempt, read_record, result, write_record
from pipelines.node import Planned, facts, flatten, job_of, resources
from pipelines.spec import Node, Tuning
from pipelines.tuning.trial import Trial

if TYPE_CHECKING:
    from optuna import Study

REFUSED_AT_MOST = 100
"""Samples in a row whose fields do not fit together, before the space itself is said to be wrong."""


class Sweep:
    """One sweep's folder.

    Args:
        home: the home folder.
        node: what every trial has in common: lab, preset, size, fixed config, seed, resources.
        tuning: what is searched.
        cluster: what the cluster has in all.
        data: prepared data.
        upstream: role -> the run that every trial needs as that role.
        force: take a new folder if the newest one's sweep has finished.
    """

    def __init__(
        self, home: Path, node: Node, tuning: Tuning, cluster: capacity.Resources, data: Path,
        upstream: Mapping[str, Planned], *, force: bool = False,
    ) -> None:  # fmt: skip
        self.node, self.tuning, self.lab = node, tuning, labs.get(node.lab)
        self.cluster, self.data = cluster, data
        self.upstream = {role: other.folder for role, other in upstream.items()}
        self.gpus, self.needed = resources(node, cluster)
        what = {key: getattr(self.tuning, key) for key in ("search", "scheduler")}
        searched = {**facts(node, self.gpus, data), **what, "space": self.tuning.space.document()}
        self.fingerprint = fingerprint(searched, {role: other.fingerprint for role, other in upstream.items()})
        name = f"{node.lab}-{node.preset}-{node.size}-{self.fingerprint[:12]}"
        self.folder = attempt(home / "sweeps" / name, force=force)

    @property
    def concurrent(self) -> int:
        """Trials at a time: as many as the cluster can hold, by CPUs and by GPUs, or fewer where that was asked."""
        by_gpus = self.cluster.gpus / self.needed.gpus if self.needed.gpus else float("inf")
        fit = max(1, int(min(self.cluster.cpus / self.needed.cpus, by_gpus) + 1e-9))
        return min(fit, self.tuning.concurrent or fit, self.tuning.trials)

    @property
    def complete(self) -> bool:
        """Whether all trials that are wanted have been run to their ends."""
        states = [found.state for found in self.trials()]
        return len(states) >= self.tuning.trials and "KILLED" not in states

    @property
    def finished(self) -> bool:
        """Whether the sweep has its trials or its time, and its best trial is known."""
        if not result(self.folder):
            return False
        record = read_record(self.folder)
        asked = record["asked"] == [self.tuning.trials, self.tuning.seconds]
        return record["status"] == "FINISHED" and (asked or self.complete)

    def planned(self, seconds: float) -> Planned:
        """The sweep as a pipeline's node; `seconds` is a trial's estimate."""
        many = self.concurrent
        needed = capacity.Resources(cpus=self.needed.cpus * many, gpus=self.needed.gpus * many)
        whole = min(seconds * self.tuning.trials / many, self.tuning.seconds or float("inf"))
        print_ = f"{self.fingerprint} {self.tuning.trials} {self.tuning.seconds}"
        job = job_of(self.node, self.gpus, self.folder, self.data, self.upstream)
        return Planned(self.node, print_, self.folder, job, needed, whole, self)

    def begin(self, parent: Path | None = None) -> None:
        """Write the record of a sweep that has none yet; `parent` is the folder of a pipeline that it is part of."""
        if (self.folder / "record.json").exists():
            return
        node, tuning = self.node, self.tuning
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
            params={
                **flatten({"space": tuning.space.document(), "fixed": tuning.space.fixed}),
                **{key: getattr(node, key) for key in ("lab", "preset", "size", "seed")},
                "search": tuning.search,
                "scheduler": tuning.scheduler,
                "workers": node.resources.workers,
                "gpus_per_worker": self.gpus,
            },
            tags={
                "labs.sweep": node.lab,
                "labs.metric": self.lab.metric.name,
                "labs.goal": self.lab.metric.goal,
                "labs.fingerprint": self.fingerprint,
                "labs.folder": str(self.folder),
            },
        )

    def study(self) -> "Study":
        """The Optuna study of the folder, made or opened; for the process that has the sweep's lock."""
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalStorage

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "study.journal"
        _mend(file)
        return optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(file))),
            study_name="sweep",
            directions=["minimize" if metric.goal == "min" else "maximize" for metric in self.lab.goals],
            load_if_exists=True,
        )

    def trials(self) -> Iterator[Trial]:
        """The trials that were begun, in their order."""
        found = [path.parent for path in (self.folder / "trials").glob("*/record.json")]
        yield from (Trial(self, int(folder.name)) for folder in sorted(found, key=lambda folder: int(folder.name)))

    def best(self) -> Trial | None:
        """The trial with the best value of those that went to their end."""
        best, value = None, None
        for found in self.trials():
            if found.state == "FINISHED" and found.value is not None and self.lab.metric.better(found.value, value):
                best, value = found, found.value
        return best

    def log_progress(self) -> None:
        """Append an event with the best value so far; its step is the number of trials that have ended."""
        best, ended = self.best(), sum(found.state in ("FINISHED", "PRUNED", "FAILED") for found in self.trials())
        metrics = {} if best is None else {f"val/{self.lab.metric.name}": best.value}
        events.append(self.folder, {"time": time.time(), "step": ended, "of": self.tuning.trials, "metrics": metrics})

    def sample(self, study: "Study") -> Trial:
        """Ask the study for one more trial and begin its folder.

        Raises:
            BadInput: no sampled config is one that the lab takes.
        """
        import optuna

        refusal = ""
        for _ in range(REFUSED_AT_MOST):
            study.sampler = self._sampler(len(study.get_trials(deepcopy=False)))
            asked = study.ask()
            fields = self.tuning.space.sample(asked)
            try:
                return Trial(self, asked.number).begin(fields)
            except (BadInput, ClusterError) as error:
                refusal = str(error)
                study.tell(asked, state=optuna.trial.TrialState.FAIL)
                if self.tuning.search == "grid":
                    break
        raise BadInput(f"{self.tuning.space.where}: its fields do not fit together: {refusal}")

    def _sampler(self, number: int) -> Any:
        """The sampler of one trial: seeded by the trial's number, so that a continued search does not repeat itself."""
        from optuna.samplers import RandomSampler, TPESampler

        seed = self.node.seed * 1_000_003 + number
        return TPESampler(seed=seed) if self.tuning.search == "tpe" else RandomSampler(seed=seed)


def _mend(journal: Path) -> None:
    """Undo what a killed process may have left: a lock without a holder, and half a line at the journal's end."""
    for lock in journal.parent.glob(f"{journal.name}.lock*"):
        lock.unlink()
    if journal.exists():
        with journal.open("rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
