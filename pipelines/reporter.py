"""What a pipeline or a sweep lets people know on its way; `show/reporter.py` has the one that writes to the screen."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from pipelines.tracking.writer import Store
from pipelines.tuning.sweep import Sweep


class StatusLine(Protocol):
    """A line that says what is being done."""

    def update(self, message: str, /) -> None:
        """Replace the text."""


class Progress(Protocol):
    """A view of what runs."""

    def tick(self) -> None:
        """Called several times a second: read the folder and show it."""


class Reporter(Protocol):
    """Takes what people are to know. Nothing depends on whether it shows anything."""

    def say(self, message: str) -> None:
        """One sentence."""

    def status(self, message: str) -> AbstractContextManager[StatusLine]:
        """A status line, shown while entered."""

    def pipeline_progress(self, folder: Path) -> AbstractContextManager[Progress]:
        """A view of a pipeline's folder, shown while entered."""

    def sweep_progress(self, sweep: Sweep) -> AbstractContextManager[Progress]:
        """A view of a sweep's folder, shown while entered."""

    def pipeline_ended(self, folder: Path, store: Store) -> None:
        """How a pipeline ended that was only a part of the command."""
