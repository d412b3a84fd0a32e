"""Prepared data: what is seen of them while they are prepared."""

import os
import threading
from pathlib import Path

from pipelines import datasets


def test_a_look_at_data_that_move_to_their_place_is_no_error(tmp_path: Path) -> None:
    """Data are put together beside their place and moved there as a whole, while the display asks how much there is."""
    places, moved, faults = [tmp_path / "0"], threading.Event(), []

    def look() -> None:
        while not moved.is_set():
            try:
                datasets.packed_bytes(places[-1])
            except OSError as error:
                faults.append(error)

    watcher = threading.Thread(target=look)
    watcher.start()
    for number in range(500):
        part = tmp_path / f".{number}"
        part.mkdir()
        places.append(tmp_path / str(number))
        for name in "abcdefgh":
            (part / f"{name}.arrow").write_bytes(b"packed")
        os.replace(part, places[-1])
    moved.set()
    watcher.join()
    assert not faults
