"""The search of a sweep: Optuna chooses configs from what it remembers, and the sweep's journal keeps all of it.

The journal takes one write for a trial's config, one for its end, and is read when the sweep starts or continues. The
samplers work on a study in memory: they read all of its trials for each field, so that one of thousands would be asked
for hours.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pipelines.tuning.space import Space

if TYPE_CHECKING:
    import optuna

BEST, NEWEST = 25, 50
"""Of many trials so many of the best are remembered, and so many of the newest, or up to twice as many. TPE compares
the best tenth of what it knows, 25 at most, with the others: it goes on from the best of all, at one cost for each."""


class Search:
    """Asks for configs and learns how trials ended.

    Args:
        study: the sweep's study in its journal.
        sampler: makes the sampler of a trial from the trial's number.
    """

    def __init__(self, study: "optuna.Study", sampler: Callable[[int], "optuna.samplers.BaseSampler"]) -> None:
        self.study, self.sampler = study, sampler
        self.begun = len(study.get_trials(deepcopy=False))
        self._remember()

    def ask(self, space: Space, fixed: Mapping[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Number and config fields of one more trial, which the journal has from now on.

        Args:
            space: what is searched.
            fixed: the parameters of the trial, where the search is not to choose them.
        """
        from optuna.trial import TrialState, create_trial

        number, self.begun = self.begun, self.begun + 1
        if fixed is not None:
            self.memory.enqueue_trial(dict(fixed))
        self.memory.sampler = self.sampler(number)
        asked = self.memory.ask()
        fields = space.sample(asked)
        begun = create_trial(state=TrialState.RUNNING, params=asked.params, distributions=asked.distributions)
        self.study.add_trial(begun)
        self.memory.tell(asked, state=TrialState.FAIL)  # it is learnt when it ends, and until then tells nothing
        return number, fields

    def learn(self, number: int) -> None:
        """Remember how a trial ended, as the journal has it."""
        ended = self.study.get_trials(deepcopy=False)[number]
        if not ended.state.is_finished():
            return
        self.ended += 1
        if self.ended % NEWEST:
            self.memory.add_trial(ended)
        else:
            self._remember()

    def _remember(self) -> None:
        """Begin the study in memory anew; how many trials have ended decides which ones it has, not when it began."""
        import optuna

        ended = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()]
        first = max(0, len(ended) // NEWEST - 1) * NEWEST
        self.memory = optuna.create_study(directions=self.study.directions)
        self.memory.add_trials([*self._best(ended[:first]), *ended[first:]])
        self.ended = len(ended)

    def _best(self, ended: "list[optuna.trial.FrozenTrial]") -> "list[optuna.trial.FrozenTrial]":
        """The best of some trials, in their order; of two goals those that no other trial beats in both."""
        from optuna.study import StudyDirection
        from optuna.trial import TrialState

        whole = [trial for trial in ended if trial.state == TrialState.COMPLETE]
        if len(self.study.directions) > 1:
            front = {trial.number for trial in self.study.best_trials}
            return [trial for trial in whole if trial.number in front][-BEST:]
        maximize = self.study.direction == StudyDirection.MAXIMIZE
        best = sorted(whole, key=lambda trial: trial.value or 0.0, reverse=maximize)[:BEST]
        return sorted(best, key=lambda trial: trial.number)
