"""Packed data: what goes in comes out, memory-mapped, under a digest of its content."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from labs.core import shards


def batches(value: int = 0) -> Iterator[shards.Batch]:
    for start in range(0, 10, 4):
        rows = np.arange(start, min(start + 4, 10))
        image = np.broadcast_to(rows[:, None, None], (len(rows), 2, 3)).astype(np.uint8) + value
        yield {"image": image, "label": rows}


def test_rows_come_back_in_any_order_over_several_batches(tmp_path: Path) -> None:
    shards.pack(tmp_path, {"train": batches()}, origin="generated")
    data = shards.ArrowDataset(tmp_path, "train", ("image", "label"))
    wanted = torch.tensor([9, 0, 5, 5, 3])
    image, label = data[wanted]
    assert len(data) == 10
    assert label.tolist() == wanted.tolist()
    assert image.dtype == torch.uint8
    assert image[:, 1, 2].tolist() == wanted.tolist()


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    digests = []
    for number, value in enumerate((0, 0, 1)):
        (tmp_path / str(number)).mkdir()
        packed = shards.pack(tmp_path / str(number), {"train": batches(value)}, origin="generated")
        digests.append(packed["digest"])
        assert shards.manifest(tmp_path / str(number)) == packed
        assert packed["splits"] == {"train": 10}
    assert digests[0] == digests[1] != digests[2]
