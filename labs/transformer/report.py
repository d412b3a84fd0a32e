"""The report of homework 5."""

import json
from pathlib import Path

import torch

from labs.core.lab import Lab
from labs.core.report import Report
from labs.transformer.figures import COUNT, plot_norms, plot_positions, similarities

NORMS = "gradient_norms.json"
"""In a run's folder: the norm of the gradient at each step, before clipping."""
DISTANCES = (1, 2, 4, 16, 64, 256)
"""Distances, in positions, at which the report gives the similarity."""


def write(lab: Lab, folder: Path, out: Path) -> None:
    """Write the report of a run's folder."""
    config, report = lab.read_config(folder), Report(lab, folder, out)

    report.question("a")
    channels = config.d_model // 2 * 2  # sines and cosines in pairs; a GRU may have an odd number
    similarity = similarities(channels)
    used = (
        "the Transformer of this run adds" if config.architecture == "transformer" else "a Transformer of its size adds"
    )
    report.text(f"""The encodings are sines and cosines, which {used} to the embeddings of {channels} channels. The
                similarity of two of them depends on their distance alone; between neighbours it is highest.""")
    report.figure("positions", plot_positions(similarity, channels),
                  f"Cosine similarity of the encodings of {COUNT:,} positions.")  # fmt: skip
    rows = [(distance, similarity.diagonal(distance).mean().item()) for distance in DISTANCES]
    report.table(("distance, positions", "mean cosine similarity"), rows)

    report.question("b")
    norms = json.loads((folder / NORMS).read_text())
    largest = torch.tensor(norms).topk(min(2, len(norms))).indices.tolist()
    marked = [step + 1 for step in largest if norms[step] > config.clip]
    report.text(f"""The norm of the gradient exceeds {config.clip:g} in {sum(norm > config.clip for norm in norms):,} of
                {len(norms):,} steps, where it is scaled down to {config.clip:g}.""")
    report.figure("gradient_norm", plot_norms(norms, config.clip, marked), "Norm of the gradient before clipping.")
    if marked:
        report.table(("marked step", "norm before clipping"), [(step, norms[step - 1]) for step in marked])
    report.write()
