"""The picture in the READMEs: `make screenshot` runs a pipeline for real and draws what the command printed.

`python -m tests.benchmarks.screenshot [ARGUMENT...]` takes the arguments of `labs pipeline run`: none for the whole
course.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

import labs

ROOT = Path(labs.__file__).parents[1]
PICTURE = ROOT / "pipelines" / "run.svg"
STYLES = {"FINISHED": "green", "RUNNING": "cyan", "FAILED": "red", "BLOCKED": "red", "KILLED": "yellow"}


def run(arguments: list[str]) -> str:
    """Run `labs pipeline run` in an empty home folder, so that nothing is reused, and return what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        variables = {name: value for name, value in os.environ.items() if name not in ("LABS_HOME", "FORCE_COLOR")}
        command = [sys.executable, "-m", "pipelines.cli", "pipeline", "run", *arguments]
        done = subprocess.run(
            command, cwd=folder, env={**variables, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
        )
    if done.returncode:
        sys.exit(done.stderr)
    return done.stderr


def draw(arguments: list[str], printed: str, picture: Path) -> None:
    """Write the command and its output as an SVG file."""
    command = " ".join(["labs pipeline run", *arguments])
    text = Text("\n".join(line.rstrip() for line in printed.strip().splitlines()))
    for status, style in STYLES.items():
        text.highlight_words([status], style)
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=max(map(len, text.plain.splitlines())) + 1, file=nowhere)
        console.print(f"$ {command}", style="bold", highlight=False)
        console.print(text)
        picture.write_text(console.export_svg(title=command))


if __name__ == "__main__":
    draw(sys.argv[1:], run(sys.argv[1:]), PICTURE)
