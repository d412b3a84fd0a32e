"""Whatever a submission file holds, `labs deliver --check` takes it or says what is wrong; no code in it is run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given

import labs
from tests.conftest import Said
from tests.fuzz import CHANGES, Change, fuzz, pickles
from tests.labs.store import Store
from tests.labs.test_every_lab import RUNS

CHECKED = [name for name in labs.names() if name not in ("compression", "bert-pretrain")]
"""Labs with a check of their own: compression's is cnn's, and a pre-trained model is checked by its library."""


def delivered(lab: str, store: Store) -> bytes:
    """A submission of the lab."""
    if lab == "rl":
        return json.dumps([[0, 1, 2, 3] * 9] * 5).encode()
    return (store.finished(lab, dict(RUNS)[lab]) / "deliver" / labs.get(lab).submission).read_bytes()


@pytest.mark.parametrize("lab", CHECKED)
def test_a_changed_submission_is_taken_or_refused_in_a_sentence(
    lab: str, store: Store, module_cli: Callable[..., Said], tmp_path: Path
) -> None:
    whole, file, marker = delivered(lab, store), tmp_path / labs.get(lab).submission, tmp_path / "marker"

    def checked(content: bytes) -> None:
        file.write_bytes(content)
        said = module_cli("deliver", lab, "--check", str(file))
        assert said.code in (0, 2)
        assert said.code == 0 or said.err.splitlines()[-1].startswith("error: ")
        assert len(said.err) < 3000
        assert not marker.exists()

    @fuzz(8)
    @given(CHANGES)
    def changed(change: Change) -> None:
        checked(change.of(whole))

    changed()
    for content in pickles(marker):
        checked(content)
