"""Which settings set the rows of `labs compare` apart, and what the rows are called for it."""

from ast import literal_eval
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.show.runs import Run

Pair = tuple[dict[str, Any], list[Run]]
"""A row and the runs that it is made of."""
NOT_SETTINGS = {"seed", "cpus", "gpus"}
"""Parameters that set no runs apart: `cpus` and `gpus` follow from the others."""
NOT_CONFIG = {"preset", "size", *NOT_SETTINGS}


def note_settings(pairs: list[Pair]) -> None:
    """Set `config`, `settings` and `name` of each row."""
    of_lab, of_preset = defaultdict(list), defaultdict(list)
    for pair in pairs:
        of_lab[pair[0]["lab"]].append(pair)
        of_preset[tuple(pair[0][key] for key in ("lab", "preset", "size", "data"))].append(pair[0])
    for beside in of_lab.values():
        names = _differing([run.params for _, group in beside for run in group])
        for row, group in beside:
            own = _differing([run.params for run in group])
            row["config"] = {name: _value(group[0].params.get(name)) for name in names if name not in own}
    for rows in of_preset.values():
        # A sweep chooses all of its fields: they are its row's `config`, and would stand in every row beside it.
        tuned = [row for row in rows if row["sweep"]]
        _set_apart(tuned, [])
        others = [row for row in rows if not row["sweep"]]
        scored = [row for row in others if row["status"] == "FINISHED"]
        _set_apart(scored, scored)
        _set_apart([row for row in others if row["status"] != "FINISHED"], others)


def _set_apart(some: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    """Set `settings` and `name` of some rows of a preset, by what sets them apart from all these rows."""
    names = _differing([row["config"] for row in rows])
    for row in some:
        row["settings"] = {name: value for name, value in row["config"].items() if name in names}
        settings = [f"{name} {value}" for name, value in row["settings"].items()]
        row["name"] = " ".join([row["preset"], row["size"], *settings, *(["tuned"] if row["sweep"] else [])])
    often = Counter(row["name"] for row in rows)
    for row in some:
        if often[row["name"]] > 1:
            row["name"] = " ".join([row["name"], *(f"seed {seed}" for seed in dict.fromkeys(row["seeds"]))])


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the settings that are not the same in all."""
    names = sorted({name for one in settings for name in one} - NOT_CONFIG)
    return [name for name in names if len({str(one.get(name)) for one in settings}) > 1]


def _value(param: str | None) -> Any:
    """What a parameter's text says: a number, a truth value, a list; a word as it is."""
    try:
        return literal_eval(param or "None")
    except (ValueError, SyntaxError):
        return param
