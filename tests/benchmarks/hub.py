"""The tables of results in the READMEs, written from `labs/results.csv`: `make hub`.

A table stands between two comments, `<!-- results: NAME -->` and `<!-- end of results -->`. In the top README, in both
languages, the last column of the table of labs is written: the results of the first and of the last or best preset.

`results.csv` has one row for each figure of each run. `seed` is the training seed. It is `mean` where only the mean
over the seeds was written down, and where that mean, taken before rounding, is not the mean of the rounded values.
Preset `trivial` is what a predictor scores that has learnt nothing. `commit` is the one that wrote the figure down.
"""

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from statistics import mean

import labs

ROOT = Path(labs.__file__).parents[1]
RESULTS = ROOT / "labs" / "results.csv"
PAGES = {ROOT / "labs" / "README.md": "to", ROOT / "README.md": "to", ROOT / "README.zh-TW.md": "到"}
"""Page -> the word between the lowest and the highest value in the page's language."""
NETWORK = {"explain": ("cnn", "strong")}
"""Lab that trains no network of its own -> lab and preset of the network that its results are about."""

Row = dict[str, str]


def rows() -> list[Row]:
    """All rows of `results.csv`."""
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def write(page: str, results: list[Row], to: str = "to") -> str:
    """The text of a page with its tables of results made anew; `to` stands between lowest and highest value."""
    tables = {"hub": _hub, "lifelong": _lifelong, "scenarios": _scenarios, "explain": _explain}

    def table(match: re.Match[str]) -> str:
        return f"{match[1]}\n{tables[match[2]](results)}\n{match[3]}"

    page = re.sub(r"(<!-- results: (\w+) -->)\n.*?(<!-- end of results -->)", table, page, flags=re.S)
    # A row of the table of labs begins with a link to the lab's folder.
    return re.sub(
        r"^(\| \[`([\w-]+)`\]\(labs/.*\|) [^|]* \|$",
        lambda match: f"{match[1]} {_in_short(match[2], results).replace(' to ', f' {to} ')} |",
        page,
        flags=re.M,
    )


def _hub(results: list[Row]) -> str:
    """Every lab and preset: metric, mean and range over the seeds, cost, date and machine."""
    columns = [
        "lab",
        "preset",
        "metric",
        "mean",
        "lowest to highest",
        "data seed",
        "seeds",
        "core-s",
        "parameters",
        "MB",
    ]
    lines = []
    for name in labs.names():
        lab = labs.get(name)
        metric = f"{lab.metric.name} {'↓' if lab.metric.goal == 'min' else '↑'}"
        for preset in ("trivial", *lab.presets):
            found = _of(results, name, preset, lab.metric.name)
            if preset == "trivial" and not found:
                continue
            other, rung = NETWORK.get(name, (name, preset))
            scale = {} if preset == "trivial" else labs.get(other).scale(rung, "small")
            lines.append(
                [
                    f"`{name}`",
                    preset,
                    metric,
                    _mean(found),
                    _range(found) if len(found) > 1 else "",
                    _only(found, "data_seed"),
                    _seeds(found),
                    _only(found, "core_seconds"),
                    f"{scale['parameters']:,}" if scale else "",
                    f"{scale['megabytes']:g}" if scale else "",
                    _only(found, "date"),
                    _only(found, "machine"),
                ]
            )
    return _markdown([*columns, "date", "machine"], lines)


def _lifelong(results: list[Row]) -> str:
    """Against forgetting, in the course's scenario."""
    metrics = {"accuracy": "test accuracy"} | {
        name: name.replace("_", " ") for name in ("forgetting", "backward_transfer", "forward_transfer")
    }
    lines = []
    for preset in labs.heading("lifelong").presets:
        found = [_of(results, "lifelong", preset, metric) for metric in metrics]
        accuracy = f"{_mean(found[0])} ({_range(found[0])})"
        lines.append([preset, accuracy, *map(_mean, found[1:]), _only(found[0], "core_seconds")])
    return _markdown(["method", *metrics.values(), "core-s"], lines)


def _scenarios(results: list[Row]) -> str:
    """Against forgetting, in the two further scenarios."""
    columns = ["method"]
    lines = [[preset] for preset in labs.heading("lifelong").presets]
    for scenario in ("permuted", "class-incremental"):
        columns += [f"{scenario}: strength", "test accuracy", "forgetting", "core-s"]
        for line in lines:
            accuracy, forgetting = (
                _of(results, "lifelong", line[0], metric, scenario) for metric in ("accuracy", "forgetting")
            )
            strength = re.search(r"strength=(\S+)", _only(accuracy, "overrides"))
            line += [strength[1] if strength else "", f"{_mean(accuracy)} ({_range(accuracy)})"]
            line += [_mean(forgetting), _only(accuracy, "core_seconds")]
    return _markdown(columns, lines)


def _explain(results: list[Row]) -> str:
    """The methods of explanation with all that they are scored by."""
    metrics = {
        "mass_accuracy": "mass accuracy ↑",
        "pointing": "pointing ↑",
        "deletion": "deletion ↓",
        "insertion": "insertion ↑",
        "sanity": "sanity ↓",
        "seconds_a_picture": "seconds a picture",
    }
    presets = labs.heading("explain").presets
    lines = [[preset, *(_mean(_of(results, "explain", preset, name)) for name in metrics)] for preset in presets]
    return _markdown(["method", *metrics.values()], lines)


def _in_short(name: str, results: list[Row]) -> str:
    """First preset and last rung of the ladder, or worst and best preset of a lab without one, with their ranges."""
    heading = labs.heading(name)
    known = {preset: _of(results, name, preset, heading.metric.name) for preset in heading.presets}
    known = {preset: found for preset, found in known.items() if found}
    if not known:
        return "–"
    ladder = [preset for preset in labs.LADDER if preset in known]
    order = sorted(known, key=lambda preset: float(_mean(known[preset])), reverse=heading.metric.goal == "min")
    first, last = (ladder or order)[0], (ladder or order)[-1]
    return f"{first} {_range(known[first])}, {last} {_range(known[last])}"


def _of(results: list[Row], lab: str, preset: str, metric: str, scenario: str = "") -> list[Row]:
    """The rows of one metric of one preset: with its own settings, or in one of lifelong's further scenarios."""
    key = (lab, preset, metric)
    return [
        row
        for row in results
        if (row["lab"], row["preset"], row["metric"]) == key
        and (f"scenario={scenario}" in row["overrides"].split() if scenario else not row["overrides"])
    ]


def _mean(found: list[Row]) -> str:
    """The mean over the seeds, with as many digits as the figures have."""
    written = [row["value"] for row in found if row["seed"] == "mean"]
    if written or len(found) == 1:
        return (written or [found[0]["value"]])[0]
    return f"{mean(float(row['value']) for row in found):.{_decimals(found)}f}" if found else ""


def _range(found: list[Row]) -> str:
    """Lowest and highest of the seeds."""
    values = sorted((row["value"] for row in found if row["seed"] != "mean"), key=float)
    return " to ".join(dict.fromkeys([values[0], values[-1]])) if values else ""


def _decimals(found: list[Row]) -> int:
    return max(len(row["value"].partition(".")[2]) for row in found)


def _seeds(found: list[Row]) -> str:
    return " ".join(row["seed"] for row in found if row["seed"] != "mean")


def _only(found: list[Row], column: str) -> str:
    """What stands in a column of all rows; the last in alphabet, and so the newest date, where they differ."""
    return max((row[column] for row in found), default="")


def _markdown(columns: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    columns = list(columns)
    head = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*head, *("| " + " | ".join(cell or "–" for cell in line) + " |" for line in lines)])


def main() -> None:
    """Write the tables of all pages."""
    results = rows()
    for page, to in PAGES.items():
        page.write_text(write(page.read_text(), results, to))


if __name__ == "__main__":
    main()
