"""What a sweep searches: config fields with their ranges, from the lab's own `space()` or a YAML file.

A field's entry has a `type`: `choice` (`values`), `uniform` or `loguniform` (`low`, `high`), `randint` (`low`, `high`,
the latter excluded) or `quniform` (`low`, `high`, `q`). With `when: {field: value}` it is only sampled where that other
field has that value; elsewhere the config keeps the preset's.
"""

import json
import math
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from labs.core.errors import BadInput, choices, sentences
from labs.core.lab import Lab
from pipelines.yaml_lines import read_fields

if TYPE_CHECKING:
    import optuna


MAX_GRID = 100_000
"""Combinations of the largest grid: all of them are listed before the first trial."""
LARGEST = 2**53
"""Largest whole number of a range: up to it, floating-point numbers hold every one."""


class Entry(BaseModel):
    """One field of the space; each type is a class of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    when: dict[str, Any] = Field(default_factory=dict)
    kind: ClassVar[str]

    def suggest(self, trial: "optuna.Trial", name: str) -> Any:
        """Sample the field's value for a trial."""
        raise NotImplementedError

    def parameter(self, value: Any) -> Any:
        """A config's value as the study stores it; `ValueError` where the entry does not have it."""
        raise NotImplementedError

    def ends(self) -> list[Any]:
        """The values to check: a config that accepts these accepts every value of the entry."""
        raise NotImplementedError


class Choice(Entry):
    kind = "choice"
    values: list[Any] = Field(min_length=1)

    def suggest(self, trial: "optuna.Trial", name: str) -> Any:
        return self.values[self.labels().index(trial.suggest_categorical(name, self.labels()))]

    def labels(self) -> list[Any]:
        """The values as a study can store them: a list becomes its JSON text."""
        plain = all(value is None or isinstance(value, bool | int | float | str) for value in self.values)
        return self.values if plain else [json.dumps(value) for value in self.values]

    def parameter(self, value: Any) -> Any:
        plain = json.loads(json.dumps(self.values))  # a config that was read from a file has lists for tuples
        if value not in plain:
            raise ValueError(f"{value!r} is none of its values, {', '.join(map(repr, plain))}")
        return self.labels()[plain.index(value)]

    def ends(self) -> list[Any]:
        return self.values


class Range(Entry):
    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)

    @model_validator(mode="after")
    def _in_order(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} must be below high {self.high:g}")
        return self

    def parameter(self, value: Any) -> Any:
        low, high = self.ends()
        if not low <= value <= high:
            raise ValueError(f"{value!r} is not from {low:g} to {high:g}")
        return value

    def ends(self) -> list[Any]:
        return [self.low, self.high]


class Uniform(Range):
    kind = "uniform"

    def suggest(self, trial: "optuna.Trial", name: str) -> float:
        return trial.suggest_float(name, self.low, self.high)


class LogUniform(Range):
    kind = "loguniform"
    low: float = Field(gt=0, allow_inf_nan=False)

    def suggest(self, trial: "optuna.Trial", name: str) -> float:
        return trial.suggest_float(name, self.low, self.high, log=True)


class QUniform(Range):
    kind = "quniform"
    q: float = Field(gt=0, allow_inf_nan=False)

    def suggest(self, trial: "optuna.Trial", name: str) -> float:
        # Optuna counts its steps from `low`, where multiples of `q` are meant.
        low, high = math.ceil(self.low / self.q), math.floor(self.high / self.q)
        return round(trial.suggest_int(name, low, high) * self.q, 12)

    def parameter(self, value: Any) -> Any:
        steps = round(super().parameter(value) / self.q)
        if round(steps * self.q, 12) != value:
            raise ValueError(f"{value!r} is no multiple of q {self.q:g}")
        return steps

    @model_validator(mode="after")
    def _has_a_multiple(self) -> "QUniform":
        if max(-self.low, self.high) > LARGEST * self.q:
            raise ValueError(f"low and high may be {LARGEST} times q {self.q:g} at most")
        if math.ceil(self.low / self.q) > math.floor(self.high / self.q):
            raise ValueError(f"no multiple of q {self.q:g} lies between low {self.low:g} and high {self.high:g}")
        return self


class RandInt(Range):
    kind = "randint"
    low: int = Field(ge=-LARGEST, le=LARGEST)  # type: ignore[assignment]
    high: int = Field(ge=-LARGEST, le=LARGEST)  # type: ignore[assignment]

    def suggest(self, trial: "optuna.Trial", name: str) -> int:
        return trial.suggest_int(name, int(self.low), int(self.high) - 1)

    def ends(self) -> list[Any]:
        return [self.low, self.high - 1]


KINDS: dict[str, type[Entry]] = {entry.kind: entry for entry in (Choice, Uniform, LogUniform, QUniform, RandInt)}


class Space:
    """A checked search space of one lab at one preset and size.

    Args:
        lab: the lab.
        written: field -> its entry, as in a lab's `space()`.
        preset: the preset that gives all other fields.
        size: the size.
        fixed: fields that are set and so taken out of the space.
        where: what the messages start with, such as the file's name.

    Raises:
        BadInput: an entry is wrong; the message names field and fault.
    """

    def __init__(
        self, lab: Lab, written: Mapping[str, Any], preset: str, size: str, fixed: Mapping[str, Any], where: str = ""
    ) -> None:
        self.lab, self.preset, self.size, self.fixed = lab, preset, size, dict(fixed)
        self.where = where or f"search space of lab {lab.name}"
        self.base = lab.resolve(preset, size, fixed)
        entries = {name: self._entry(name, entry) for name, entry in written.items() if name not in fixed}
        self.entries = {name: entries[name] for name in self._order(entries)}
        for name, entry in self.entries.items():
            self._check_values(name, entry)
        if not self.entries:
            raise BadInput(f"{self.where}: no field is left to search")

    def sample(self, trial: "optuna.Trial") -> dict[str, Any]:
        """Field -> value of one trial; fields whose condition does not hold are left out."""
        found: dict[str, Any] = {}
        for name, entry in self.entries.items():
            if self._holds(entry, found):
                found[name] = entry.suggest(trial, name)
        return found

    def parameters(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The searched fields of a whole config as a study's parameters, those whose conditions hold.

        Raises:
            BadInput: the space does not have a field's value.
        """
        found: dict[str, Any] = {}
        for name, entry in self.entries.items():
            if self._holds(entry, {field: config[field] for field in self.entries}):
                try:
                    found[name] = entry.parameter(config[name])
                except ValueError as error:
                    raise BadInput(f"{self.where}, field {name!r}: {error}") from None
        return found

    def grid(self) -> list[dict[str, Any]]:
        """All combinations of the choices, each once, as a study's parameters.

        Raises:
            BadInput: a field is no choice, or there are too many combinations.
        """
        for name, entry in self.entries.items():
            if not isinstance(entry, Choice):
                raise BadInput(
                    f"{self.where}, field {name!r}: a grid has choices only, this is {entry.kind}; "
                    f"give it a value (--fix {name}=...) or a list of values (--space)"
                )
        size = math.prod(len(entry.values) for entry in self._choices().values())
        if size > MAX_GRID:
            raise BadInput(f"{self.where}: a grid of {size} combinations, at most {MAX_GRID} can be searched; fewer "
                           "values, or another search")  # fmt: skip
        found: dict[str, dict[str, Any]] = {}
        for values in product(*(range(len(entry.values)) for entry in self._choices().values())):
            combination = self._combination(values)
            found.setdefault(json.dumps(combination, sort_keys=True), combination)
        return list(found.values())

    def document(self) -> dict[str, Any]:
        """The space as plain data, for the sweep's identity and for people."""
        return {name: {"type": entry.kind, **entry.model_dump(mode="json")} for name, entry in self.entries.items()}

    def _choices(self) -> dict[str, Choice]:
        return {name: entry for name, entry in self.entries.items() if isinstance(entry, Choice)}

    def _combination(self, picks: tuple[int, ...]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        labels: dict[str, Any] = {}
        for (name, entry), pick in zip(self._choices().items(), picks, strict=True):
            if self._holds(entry, values):
                values[name], labels[name] = entry.values[pick], entry.labels()[pick]
        return labels

    def _holds(self, entry: Entry, found: Mapping[str, Any]) -> bool:
        """Whether an entry's condition holds; a field that was not sampled has the preset's value."""
        return all(found.get(name, getattr(self.base, name)) == value for name, value in entry.when.items())

    def _entry(self, name: str, written: Any) -> Entry:
        where = f"{self.where}, field {name!r}: "
        fields = self.lab.config.model_fields
        if name not in fields:
            raise BadInput(f"{self.where}: unknown field {name!r} of lab {self.lab.name}: {choices(fields, name)}")
        if not isinstance(written, dict) or "type" not in written:
            raise BadInput(f"{where}must have a 'type', one of {', '.join(KINDS)}")
        kind = str(written["type"])
        if kind not in KINDS:
            raise BadInput(f"{where}unknown type {kind!r}: {choices(KINDS, kind)}")
        rest = {key: value for key, value in written.items() if key != "type"}
        try:
            entry = KINDS[kind].model_validate(rest)
        except ValidationError as error:
            raise BadInput(where + "; ".join(sentences(error, KINDS[kind].model_fields))) from None
        for other in entry.when:
            if other not in fields:
                raise BadInput(f"{where}'when' names an unknown field {other!r}: {choices(fields, other)}")
        return entry

    def _order(self, entries: Mapping[str, Entry]) -> Iterator[str]:
        """The fields so that each follows those of its condition."""
        graph = {name: [other for other in entry.when if other in entries] for name, entry in entries.items()}
        try:
            return iter(list(TopologicalSorter(graph).static_order()))
        except CycleError as error:
            raise BadInput(f"{self.where}: conditions in a circle: {' -> '.join(error.args[1])}") from None

    def _check_values(self, name: str, entry: Entry) -> None:
        """Refuse a value that the config's field refuses; combinations are checked for each trial."""
        for value in entry.ends():
            try:
                self.lab.config.model_validate({**self.base.model_dump(), name: value})
            except ValidationError as error:
                if any(fault["loc"] for fault in error.errors()):
                    raise BadInput(f"{self.where}, " + "; ".join(sentences(error))) from None


def own_space(lab: Lab, size: str) -> dict[str, Any]:
    """The lab's own space without the fields that the size sets, because those choose how much compute a run takes."""
    return {name: entry for name, entry in lab.space().items() if name not in lab.sizes[size]}


def read_space(file: Path) -> dict[str, Any]:
    """Field -> entry of a YAML file."""
    written = read_fields(file, "search space")
    if not written:
        raise BadInput(f"search space {file} must hold 'field: {{type: ..., ...}}' lines")
    return written
