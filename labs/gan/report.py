"""The report of homework 6."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from labs.core.lab import Lab
from labs.core.report import Report
from labs.gan.figures import CRITIC_STEPS, gradient_figure

CAPTIONS = {
    "samples": "The first submitted pictures.",
    "interpolation": "Each row goes from one noise vector to another.",
    "translations": "Pictures of the other style, each above its translation into a face.",
}
"""Name of a figure of pictures -> what it shows."""


def write(
    lab: Lab,
    folder: Path,
    out: Path,
    pictures: Mapping[str, Figure],
    norms: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """Write the report of a run's folder.

    Args:
        pictures: name, of `CAPTIONS` -> figure of generated pictures.
        norms: critic -> norms of the gradient by the weights of each layer; None where none were computed.
    """
    config, report = lab.read_config(folder), Report(lab, folder, out)
    for name, figure in pictures.items():
        report.figure(name, figure, CAPTIONS[name])

    report.question("a")
    report.text("""The discriminator of a GAN gives the probability that a picture is real, and its loss is a
                cross-entropy; the critic of a WGAN gives an unbounded score, without sigmoid and logarithm, and its
                loss is a difference of two mean scores, which approximates the Wasserstein distance. Therefore the
                critic must be 1-Lipschitz, by clipping its weights or by a gradient penalty; a discriminator need not
                be.""")
    header = ("generator", "loss", "constraint", "steps of the critic for each of the generator")
    report.table(header, [(config.generator, config.loss, config.constraint, config.critic_steps)])

    report.question("b")
    if norms is None:
        report.text("The figure is drawn by runs of the other presets: this one generates nothing from noise.")
    else:
        report.text(f"""Two critics, each trained for {CRITIC_STEPS} steps against this run's generator: one with
                    clipped weights, one with the gradient penalty. They differ in nothing else: same first weights,
                    same batches, layer norm, Adam without momentum.""")
        report.figure("gradients", gradient_figure(norms), "Norm of the gradient by layer, on a logarithmic axis.")
        layers = range(1, 1 + len(next(iter(norms.values()))))
        report.table(("critic", *(f"layer {layer}" for layer in layers)), ((n, *row) for n, row in norms.items()))
    report.write()
