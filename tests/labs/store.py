"""What several tests of a lab look at, each made once for all processes of a test session."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from filelock import FileLock

import labs
from labs.core.run import Run
from tests.labs import drawn
from tests.labs.folders import made, packed

SEED = 3
"""Seed of the finished runs."""
NEEDS = {
    "bert": {"pretrained": ("bert-pretrain", "spans")},
    "explain": {"classifier": ("cnn", "strong"), "reader": ("bert", "boss")},
    "compression": {"teacher": ("cnn", "strong")},
}
"""Lab -> role -> lab and preset of the run that it needs."""


class Store:
    """Made data, packed data and finished runs at size tiny. The tests read them and change nothing in them.

    Processes of one session share the folder: whoever asks first makes what the others wait for.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def source(self, lab: str) -> Path:
        """Data of the lab, with data seed 0, in the course's format."""
        return self._once(f"{lab}/source", lambda folder: made(labs.get(lab).data, folder))

    def data_dir(self, lab: str) -> Path:
        """The same, packed, with the test set's answers."""
        source = self.source(lab)
        return self._once(f"{lab}/packed", lambda folder: packed(labs.get(lab).data, source, folder))

    def upstream(self, lab: str) -> Mapping[str, Path]:
        """Role -> finished run that a run of the lab needs."""
        return {role: self.finished(*needed) for role, needed in NEEDS.get(lab, {}).items()}

    def finished(self, lab: str, preset: str) -> Path:
        """The folder of a finished run of the preset, delivered and scored."""
        run = self.runs(lab)

        def fit(folder: Path) -> None:
            with drawn.noted(self._figures(lab, preset)):
                labs.get(lab).fit(labs.get(lab).resolve(preset, "tiny"), run(folder))

        return self._once(f"{lab}/{preset}", fit)

    def figures(self, lab: str, preset: str) -> dict[str, list[str]]:
        """Each figure that the finished run has drawn, and its panels that show nothing."""
        self.finished(lab, preset)
        found: dict[str, list[str]] = json.loads(self._figures(lab, preset).read_text())
        return found

    def _figures(self, lab: str, preset: str) -> Path:
        return self.root / lab / f"{preset}.figures.json"

    def runs(self, lab: str) -> Callable[[Path], Run]:
        """A function that makes a `Run` in a folder, with data, needs and seed of the lab's finished runs."""
        data_dir, upstream = self.data_dir(lab), self.upstream(lab)
        return lambda folder: Run(folder, data_dir, seed=SEED, upstream=upstream)

    def _once(self, name: str, make: Callable[[Path], object]) -> Path:
        folder = self.root / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                partial = folder.with_name(f"{folder.name}.partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                make(partial)
                partial.rename(folder)
        return folder
