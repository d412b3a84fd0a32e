"""`labs deliver`: what a run has delivered is copied, not computed again, as long as it is whole."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from labs.core import delivery
from tests.conftest import Said
from tests.labs.folders import contents

Cli = Callable[..., Said]


@pytest.fixture
def run(labs_cli: Cli, home: Path) -> Path:
    """The folder of a finished run."""
    assert labs_cli("train", "regression", "--size", "tiny", "--workers", "0", "--json").code == 0
    (folder,) = (home / "runs").glob("regression-*/")
    return folder


def test_what_a_run_has_delivered_is_copied_and_written_anew_where_it_is_not_whole(
    labs_cli: Cli, run: Path, tmp_path: Path
) -> None:
    """The command says which of the two it does, and why; both give the same files."""
    delivered = contents(run / delivery.FOLDER)
    assert {"pred.csv", "report.md", "predicted.png"} <= delivered.keys()

    def deliver(out: str) -> str:
        said = labs_cli("deliver", "regression", "--run", run.name, "--out", tmp_path / out)
        assert (said.code, contents(tmp_path / out)) == (0, delivered)
        return said.err

    assert f"copying what run {run.name} has delivered" in deliver("copied")
    (run / delivery.FOLDER / "pred.csv").write_text("id,")
    assert f"delivering run {run.name} anew, as its deliver/pred.csv has changed" in deliver("changed")
    (run / delivery.FOLDER / "pred.csv").unlink()
    assert "anew, as its deliver/pred.csv is missing" in deliver("missing")
    # As a trial of a sweep, which is not scored on the test set, or a run whose delivery was interrupted.
    shutil.rmtree(run / delivery.FOLDER)
    (run / delivery.DIGESTS).unlink()
    assert "anew, as it has not delivered yet" in deliver("never")
    (run / "held_out.safetensors").unlink()  # as of a run that an earlier version has trained
    said = labs_cli("deliver", "regression", "--run", run.name, "--out", tmp_path / "old")
    assert (said.code, "an earlier version of the lab trained it; train it again" in said.err) == (2, True)


def test_the_submission_is_checked(labs_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "pred.csv").write_text("id,tested_positive\n0,1.5\n")
    assert labs_cli("deliver", "regression", "--check", tmp_path / "pred.csv").code == 0
    (tmp_path / "pred.csv").write_text("id,wrong\n")
    said = labs_cli("deliver", "regression", "--check", tmp_path / "pred.csv")
    assert (said.code, "the header must be 'id,tested_positive'" in said.err) == (2, True)
