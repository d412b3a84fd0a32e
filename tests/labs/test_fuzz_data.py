"""Whatever a data folder holds is read rightly or named in one sentence; no code in it is run."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given

import labs
from labs.core import shards
from labs.core.errors import BadInput
from pipelines import datasets
from tests.fuzz import MUTATIONS, Mutation, fuzz
from tests.labs.store import Store

WITH_DATA = [name for name in labs.names() if name not in ("rl", "compression")]
"""Labs with a data set of their own: compression reads cnn's pictures with the same code."""


@pytest.mark.parametrize("lab", WITH_DATA)
def test_changed_data_are_read_or_named(lab: str, store: Store) -> None:
    """A file of the lab's data is cut, changed, removed, swapped or replaced."""
    source, record = store.source(lab), labs.get(lab)

    @fuzz(6)
    @given(MUTATIONS)
    def changed(mutation: Mutation) -> None:
        with tempfile.TemporaryDirectory() as place:
            folder, out, marker = (Path(place, name) for name in ("data", "packed", "marker"))
            shutil.copytree(source, folder, copy_function=os.link)
            mutation.apply(folder, marker)
            out.mkdir()
            said = "read"
            try:
                record.data.prepare(datasets.check(record, folder), out, "folder")
            except BadInput as error:
                said = str(error)
            assert 0 < len(said) < 3000
            assert said != "read" or all(shards.manifest(out)["splits"].values())
            assert not marker.exists()

    changed()
