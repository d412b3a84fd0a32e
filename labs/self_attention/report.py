"""The report of homework 4."""

from pathlib import Path

import torch

from labs.core import curves
from labs.core.lab import Lab
from labs.core.report import Report
from labs.self_attention import figures


def write(lab: Lab, folder: Path, out: Path, device: torch.device) -> None:
    """Write the report of a run's folder."""
    config, report = lab.read_config(folder), Report(lab, folder, out)

    report.question("a")
    report.text(f"""In full attention each frame attends to all others, so that time and memory grow with the square of
                the length. In local attention it attends to the frames at most {config.window} away, in strided
                attention to every {config.window}th; linear attention replaces the softmax by a product of features of
                queries and keys, which can be summed over the keys first, so that the cost grows linearly. This run
                trains with `attention={config.attention}`; the costs are those of a layer of its size.""")
    costs = figures.measure_all(config.d_model, config.heads, config.window, device)
    report.figure("attention_cost", figures.plot(costs), "Time and memory of each kind of attention by length.")
    report.table(figures.HEADER, costs, file="attention_cost.csv")

    report.question("b")
    report.text("""Attention weighs all frames by their content and knows their order only from encodings; a
                convolution sees neighbouring frames in their order, and so learns local patterns, such as a phoneme's,
                from fewer examples. A Conformer has both: attention for what is far apart, convolution for what is
                near.""")
    best = max(curves.history(folder, "val/accuracy")[1])
    report.table(("encoder", "layers", "validation accuracy at best"), [(config.encoder, config.layers, best)])
    panels = [("loss", {"train/loss": "training loss"}), ("accuracy", {"val/accuracy": "validation"})]
    report.figure("learning_curves", curves.figure(folder, f"Encoder: {config.encoder}", panels), "Learning curves.")
    report.text("Compare with a run of the other encoder: `encoder=transformer` or `encoder=conformer`.")
    report.write()
