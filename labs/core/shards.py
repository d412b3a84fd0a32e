"""Packed data: Arrow files that workers memory-map, beside a manifest that says what is in them.

`prepare` of a data module reads the course's format once and packs it here. No training loop decodes a picture or
opens a small file.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch

from labs.core.events import write_text
from labs.core.loader import BatchDataset

MANIFEST = "manifest.json"
Batch = Mapping[str, np.ndarray]
"""Column name -> array whose first axis counts the samples."""


def pack(
    out: Path,
    splits: Mapping[str, Iterator[Batch]],
    *,
    origin: Literal["generated", "folder"],
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write each split's batches, one at a time, as `<split>.arrow` below `out`, then the manifest.

    Args:
        out: an existing folder.
        splits: split name -> batches; all batches of a split have the same columns, types and sample shapes.
        origin: whether the data were generated or came from the user's folder.
        facts: what else the lab wants to know about the data (class names, number of columns, ...).

    Returns:
        The manifest: `digest` (SHA-256 over schema and values), `origin`, `splits` (counts), `schema`, `facts`.
    """
    digest = hashlib.sha256()
    counts: dict[str, int] = {}
    schemas: dict[str, dict[str, str]] = {}
    for split, batches in splits.items():
        counts[split], schemas[split] = _write(out / f"{split}.arrow", batches, digest)
    digest.update(json.dumps(facts or {}, sort_keys=True).encode())
    manifest = {
        "digest": digest.hexdigest(),
        "origin": origin,
        "splits": counts,
        "schema": schemas,
        "facts": dict(facts or {}),
    }
    write_text(out / MANIFEST, json.dumps(manifest, indent=2))
    return manifest


def manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder that `pack` wrote."""
    loaded: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    return loaded


class Column:
    """One column of a split, memory-mapped: index it with a tensor of sample numbers to get a tensor."""

    def __init__(self, chunks: list[np.ndarray]) -> None:
        self.chunks = chunks
        self.starts = np.cumsum([0] + [len(chunk) for chunk in chunks])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        rows = indices.numpy()
        if len(self.chunks) == 1:
            return torch.from_numpy(self.chunks[0][rows])
        where = np.searchsorted(self.starts, rows, side="right") - 1
        out = np.empty((len(rows), *self.chunks[0].shape[1:]), self.chunks[0].dtype)
        for number in np.unique(where):
            mask = where == number
            out[mask] = self.chunks[number][rows[mask] - self.starts[number]]
        return torch.from_numpy(out)

    def all(self) -> torch.Tensor:
        """The whole column in memory."""
        return torch.from_numpy(np.concatenate(self.chunks))


class ArrowDataset(BatchDataset):
    """A split of a packed folder; indexed with a tensor of sample numbers it gives one tensor a column."""

    def __init__(self, folder: Path, split: str, columns: tuple[str, ...]) -> None:
        with pa.memory_map(str(folder / f"{split}.arrow")) as source:
            table = pa.ipc.open_file(source).read_all()
        self.columns = [Column([_array(chunk) for chunk in table[name].chunks]) for name in columns]

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(column[indices] for column in self.columns)


def _write(path: Path, batches: Iterator[Batch], digest: Any) -> tuple[int, dict[str, str]]:
    count, writer = 0, None
    schema: dict[str, str] = {}
    for batch in batches:
        arrays = {name: np.ascontiguousarray(values) for name, values in batch.items()}
        record = pa.RecordBatch.from_pydict({name: _column(values) for name, values in arrays.items()})
        if writer is None:
            writer = pa.ipc.new_file(str(path), record.schema)
            schema = {name: f"{values.dtype}{list(values.shape[1:])}" for name, values in arrays.items()}
            digest.update(json.dumps([path.stem, schema]).encode())
        for values in arrays.values():
            digest.update(values)
        writer.write_batch(record)
        count += record.num_rows
    if writer is not None:
        writer.close()
    return count, schema


def _column(values: np.ndarray) -> pa.Array:
    return pa.array(values) if values.ndim == 1 else pa.FixedShapeTensorArray.from_numpy_ndarray(values)


def _array(chunk: pa.Array) -> np.ndarray:
    if isinstance(chunk, pa.FixedShapeTensorArray):
        array: np.ndarray = chunk.to_numpy_ndarray()
        return array
    flat: np.ndarray = chunk.to_numpy(zero_copy_only=True)
    return flat
