"""Texts as columns of packed data: the characters of all texts in one column, each text's length in another."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from labs.core import shards


def columns(name: str, texts: Sequence[str]) -> dict[str, Iterator[shards.Batch]]:
    """Splits for `shards.pack` that hold the texts; `read` finds them under `name`."""
    characters = np.frombuffer("".join(texts).encode("utf-32-le"), np.int32)
    return {
        f"{name}_characters": iter([{"character": characters}]),
        f"{name}_lengths": iter([{"length": np.array([len(text) for text in texts], np.int64)}]),
    }


def read(data_dir: Path, name: str) -> list[str]:
    """The texts packed under `name`, in memory."""
    characters = shards.ArrowDataset(data_dir, f"{name}_characters", ("character",)).columns[0].all().numpy()
    lengths = shards.ArrowDataset(data_dir, f"{name}_lengths", ("length",)).columns[0].all().numpy()
    text = characters.tobytes().decode("utf-32-le")
    return [text[end - n : end] for end, n in zip(np.cumsum(lengths).tolist(), lengths.tolist(), strict=True)]
