"""Rows of runs: what seeds tell about settings, beside a baseline, with what it cost.

Runs of one lab with the same settings and the same data share a row, and a seed counts once in it. Rows are compared
where lab, metric and data are the same. A run without a finite score is never averaged: it has a row of its own, whose
`status` is not FINISHED.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from statistics import mean, stdev
from typing import Any, Literal

import labs
from labs.core.errors import BadInput
from labs.core.heading import Metric
from pipelines.show.intervals import binomial_error, interval, verdict
from pipelines.show.runs import Run
from pipelines.show.settings import NOT_SETTINGS, Pair, note_settings
from pipelines.system_load import GPU_PEAK, PEAK

By = Literal["preset", "seed", "config"]
Row = dict[str, Any]
OVER_SEEDS = (
    *("values", "repeated_seeds", "mean", "std", "best", "low", "high", "interval"),
    *("trivial", "test_samples", "test_error", "passed"),
)
BESIDE_BASELINE = (
    *("baseline", "difference", "difference_low", "difference_high", "difference_interval"),
    *("common_seeds", "verdict"),
)


def compare(runs: list[Run], by: By = "config", baseline: str | None = None) -> list[Row]:
    """The rows, by lab in the order of the course, and among rows that can be compared the best one first.

    | key | what it is |
    |---|---|
    | `lab`, `preset`, `size`, `name` | what was trained; `name` also has the settings that set it apart |
    | `status`, `reason` | FINISHED; else DIVERGED, UNSCORED, RUNNING, KILLED or FAILED, and why or how far |
    | `data`, `origin` | digest of the data; `generated`, `folder` or `environment` |
    | `metric`, `goal` | `test/<name>`, or `val/<name>` where there is no test score; `min` or `max` |
    | `seeds`, `values`, `run_ids` | of each run, in the order of the seeds |
    | `repeated_seeds` | seeds with several runs, whose mean counts |
    | `mean`, `std`, `best` | over seeds; the best seed's value |
    | `low`, `high`, `interval` | 95 % interval of the mean; `t` or `bootstrap`; None for one seed |
    | `trivial` | score of a trivial predictor on the test set |
    | `test_samples`, `test_error` | of a share of samples: their number, and the binomial standard error |
    | `baseline` | name of the row that this one is compared with; None for that row itself |
    | `difference`, `difference_low`, `difference_high` | to it, over the seeds that both have, with its 95 % interval |
    | `common_seeds`, `verdict` | their number; "better", "worse" or "can't tell with 3 seeds" |
    | `passed` | the course's thresholds that the mean reaches, None where they do not apply; see `_passed` |
    | `seconds`, `core_seconds`, `gpu_seconds` | of a run; of the CPUs and GPUs that it held |
    | `memory_mb` | the most that the first worker's process held, or on its GPU; 1e6 bytes |
    | `parameters` | of the trained model |
    | `sweep` | name of the sweep whose best trial this is, or "" |
    | `config`, `settings` | settings in which the lab's rows differ; in which rows of the same preset do |

    Args:
        runs: runs of labs.
        by: `config` puts runs of one lab, preset, size, data and settings together; `preset` ignores other settings;
            `seed` gives each run a row, which says nothing beside another.
        baseline: the row to compare with: a preset, the beginning of a run's id or of its folder's name, or a row's
            name. By default the lab's first preset, `simple` of most, or the next one that has a row.

    Raises:
        BadInput: no row is called like the baseline.
    """
    groups: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in runs:
        groups[_group(run, by)].append(run)
    pairs = [(_row(group), group) for group in (sorted(group, key=lambda run: run.seed) for group in groups.values())]
    note_settings(pairs)
    scored = [pair for pair in pairs if pair[0]["status"] == "FINISHED"]
    if baseline is not None and scored and not any(_is_called(*pair, baseline) for pair in scored):
        known = ", ".join(dict.fromkeys(row["preset"] for row, _ in scored))
        raise BadInput(f"--baseline {baseline}: no row has that preset, run or name; the presets are {known}")
    comparable: dict[tuple[str, ...], list[Pair]] = defaultdict(list)
    for pair in sorted(
        scored, key=lambda pair: (labs.names().index(pair[0]["lab"]), pair[0]["metric"].startswith("val/"))
    ):
        comparable[tuple(pair[0][key] for key in ("lab", "metric", "data"))].append(pair)
    for beside in comparable.values():
        if by != "seed":
            _compare_with(_baseline(beside, baseline), beside)
        beside.sort(key=lambda pair: pair[0]["mean"], reverse=beside[0][0]["goal"] == "max")
    rows = [row for beside in comparable.values() for row, _ in beside]
    return [*rows, *(row for row, _ in pairs if row["status"] != "FINISHED")]


def _group(run: Run, by: By) -> tuple[Any, ...]:
    """What the runs of one row have in common; only runs with a score can share one."""
    common: tuple[Any, ...] = (run.tags["labs.lab"], run.tags["labs.preset"], run.tags["labs.size"], run.sweep)
    if by == "seed" or run.outcome != "FINISHED":
        return (*common, run.run_id)
    common = (*common, run.data.digest, run.metric)
    if by == "preset":
        return common
    return (*common, *sorted(item for item in run.params.items() if item[0] not in NOT_SETTINGS))


def _row(group: list[Run]) -> Row:
    """What one row says of its runs alone; see `compare` for the keys."""
    first, tags = group[0], group[0].tags
    goal = tags["labs.goal"]
    row: Row = {key: tags[f"labs.{key}"] for key in ("lab", "preset", "size")}
    row |= {"name": "", "status": first.outcome, "reason": first.reason, "metric": first.metric, "goal": goal}
    row |= {"data": first.data.digest, "origin": first.data.origin, "sweep": first.sweep}
    row |= {"seeds": [run.seed for run in group], "run_ids": [run.run_id for run in group]}
    row |= _over_seeds(group) if row["status"] == "FINISHED" else dict.fromkeys(OVER_SEEDS)
    row |= dict.fromkeys(BESIDE_BASELINE)
    return row | _costs(group)


def _over_seeds(group: list[Run]) -> Row:
    first, metric = group[0], labs.heading(group[0].tags["labs.lab"]).metric
    seeds, values = [run.seed for run in group], [run.score for run in group]
    by_seed = _by_seed(seeds, values)
    centre, found = mean(by_seed.values()), interval([*by_seed.values()])
    samples = first.data.splits.get(metric.share_of) if first.metric.startswith("test/") else None
    return {
        "values": values,
        "repeated_seeds": [seed for seed, count in Counter(seeds).items() if count > 1],
        "mean": centre,
        "std": stdev(by_seed.values()) if found else None,
        "best": (min if metric.goal == "min" else max)(by_seed.values()),
        "low": found.low if found else None,
        "high": found.high if found else None,
        "interval": found.method if found else None,
        "trivial": first.metrics.get("test/trivial"),
        "test_samples": samples,
        "test_error": binomial_error(centre, samples) if samples else None,
        "passed": metric.passed(centre) if _is_of_the_course(first, metric) else None,
    }


def _costs(group: list[Run]) -> Row:
    """Means over the runs, of those that have the figure; the most memory of any."""
    memory = [peak for run in group if (peak := run.metrics.get(GPU_PEAK, run.metrics.get(PEAK)))]
    return {
        "seconds": mean(run.seconds for run in group),
        "core_seconds": _mean(run.seconds * float(run.params["cpus"]) for run in group if "cpus" in run.params),
        "gpu_seconds": _mean(run.seconds * float(run.params["gpus"]) for run in group if "gpus" in run.params),
        "memory_mb": max(memory, default=None),
        "parameters": group[0].metrics.get("model/parameters"),
    }


def _is_of_the_course(run: Run, metric: Metric) -> bool:
    """Whether the course's thresholds say something about a run: it was trained on the course's own data.

    Their counts tell them. The course keeps its test answers, so the score is of a validation split: indicative only.
    A folder with answers to a test set is one that `labs data LAB --make` has made, be its counts the course's.
    """
    counts, is_validated = metric.course_counts, run.metric.startswith("val/")
    return bool(counts) and run.data.origin == "folder" and is_validated and counts.items() <= run.data.splits.items()


def _compare_with(base: Row, pairs: list[Pair]) -> None:
    """Note in each of the other rows what the paired differences to the baseline say."""
    at_base = _by_seed(base["seeds"], base["values"])
    for row, _ in pairs:
        if row is not base:
            own = _by_seed(row["seeds"], row["values"])
            row |= _beside(base["name"], row["goal"], [own[seed] - at_base[seed] for seed in own if seed in at_base])


def _baseline(pairs: list[Pair], wanted: str | None) -> Row:
    """The row that the others are compared with: the wanted one, else that of the lab's first preset that has one.

    Of several it is a row of no sweep, then the one with the most seeds, then the oldest.
    """
    called = [pair for pair in pairs if wanted is not None and _is_called(*pair, wanted)]
    presets = labs.heading(pairs[0][0]["lab"]).presets
    ladder = {preset: place for place, preset in enumerate(presets)}

    def order(pair: Pair) -> tuple[Any, ...]:
        row = pair[0]
        return ladder.get(row["preset"], len(ladder)), bool(row["sweep"]), -len(set(row["seeds"]))

    return min(called or pairs, key=order)[0]


def _is_called(row: Row, group: list[Run], name: str) -> bool:
    return name in (row["preset"], row["name"]) or any(run.is_called(name) for run in group)


def _beside(baseline: str, goal: str, differences: list[float]) -> Row:
    """What the differences to the baseline say, one for each seed that both have."""
    found = interval(differences)
    return {
        "baseline": baseline,
        "difference": _mean(differences),
        "difference_low": found.low if found else None,
        "difference_high": found.high if found else None,
        "difference_interval": found.method if found else None,
        "common_seeds": len(differences),
        "verdict": verdict(found, goal, len(differences)),
    }


def _by_seed(seeds: Iterable[int], values: Iterable[float]) -> dict[int, float]:
    """Seed -> the mean of its runs."""
    found = defaultdict(list)
    for seed, value in zip(seeds, values, strict=True):
        found[seed].append(value)
    return {seed: mean(of_seed) for seed, of_seed in found.items()}


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return mean(found) if found else None
