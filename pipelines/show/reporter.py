"""The reporter of the commands: it writes to the screen."""

from contextlib import AbstractContextManager
from pathlib import Path

from pipelines.reporter import StatusLine
from pipelines.show.display import Progress, say, screen
from pipelines.show.summary import pipeline_document, show_pipeline
from pipelines.show.sweep import SweepProgress
from pipelines.tracking.writer import Store
from pipelines.tuning.sweep import Sweep


class ScreenReporter:
    """See `pipelines.reporter.Reporter`."""

    def say(self, message: str) -> None:
        say(message)

    def status(self, message: str) -> AbstractContextManager[StatusLine]:
        return screen.status(message)

    def pipeline_progress(self, folder: Path) -> Progress:
        return Progress(folder)

    def sweep_progress(self, sweep: Sweep) -> SweepProgress:
        return SweepProgress(sweep)

    def pipeline_ended(self, folder: Path, store: Store) -> None:
        show_pipeline(pipeline_document(folder, store), None)
