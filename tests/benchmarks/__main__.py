"""`make bench`: every benchmark, or those whose names are given, one after the other; then the table of their figures.

python -m tests.benchmarks [NAME ...]
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.benchmarks.record import RESULTS

NAMES = ("overhead", "tuning", "reinforcement", "time_to_200", "meta_step", "growth", "epochs", "course")
WITH_GPU = ("gpu",)
"""Run where they are named only."""
PAGE = Path(__file__).with_name("README.md")


def main() -> None:
    """Run the benchmarks; exit code 1 if one of them failed, which keeps none of the others from running."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"Default: all, {', '.join(NAMES)}.")
    names = parser.parse_args().names or NAMES
    known = (*NAMES, *WITH_GPU)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"there is no benchmark {unknown[0]}; there are {', '.join(known)}")
    failed = [name for name in names if subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}"]).returncode]
    PAGE.write_text(with_table(PAGE.read_text(), RESULTS.read_text().splitlines()))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def with_table(page: str, lines: Iterable[str]) -> str:
    """The page with its table made anew: of each name in `results.jsonl` the newest figure.

    The table stands between two comments, `<!-- figures -->` and `<!-- end of figures -->`.
    """
    figures: list[dict[str, Any]] = [json.loads(line) for line in lines]
    newest = {figure["name"]: figure for figure in figures}
    rows = ["| figure | this program | reference | ratio | date | machine |", "|---|---|---|---|---|---|"]
    for name, figure in sorted(newest.items()):
        value, reference = (f"{_number(figure[key])} {figure['unit']}" for key in ("value", "reference"))
        machine = f"{figure['machine']['cores']} cores of {figure['machine']['cpu']}"
        machine += f", {gpu}" if (gpu := figure["machine"].get("gpu")) else ""
        ratio = _number(figure["ratio"])
        rows.append(f"| `{name}` | {value} | {reference} | {ratio} | {figure['date'][:10]} | {machine} |")
    made = "\n".join(rows)
    return re.sub(
        r"(<!-- figures -->\n).*?(<!-- end of figures -->)",
        lambda match: match[1] + made + "\n" + match[2],
        page,
        flags=re.DOTALL,
    )


def _number(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
