"""The report of homework 11."""

from pathlib import Path

from safetensors.torch import load_file

from labs.adaptation import data
from labs.adaptation.figures import STAGES, feature_maps, neighbours
from labs.core.lab import Lab
from labs.core.report import Report


def write(lab: Lab, folder: Path, out: Path) -> None:
    """Write the report of a run's folder."""
    stages = {stage: load_file(folder / f"features/{stage}.safetensors") for stage in STAGES}
    near = {stage: neighbours(features) for stage, features in stages.items()}
    report = Report(lab, folder, out)

    report.question("a")
    figure = feature_maps({s: {k: v.numpy() for k, v in each.items()} for s, each in stages.items()}, data.CLASSES)
    source, target = (len(stages[STAGES[0]][name]) for name in ("source", "target"))
    report.text(f"""t-SNE of the features of {source:,} photographs and {target:,} random drawings
                (`plotted={lab.read_config(folder).plotted}`), computed from both domains together.""")
    report.figure("features", figure, "t-SNE of the features: photographs by class above, both domains below.")
    header = ("stage", "nearest ten photographs that are of the same class, fraction")
    report.table(header, ((stage, same_class) for stage, (same_class, _) in near.items()))
    report.text(f"""It is 1 where each class has a region of its own, and about {1 / len(data.CLASSES):g} where the
                classes are mixed.""")

    report.question("b")
    report.text(f"""See the lower half of the figure. Where the domains are mixed, a photograph's neighbours are
                drawings as often as all images are: {target / (source + target):.2f}.""")
    header = ("stage", "nearest ten images that are of the other domain, fraction")
    report.table(header, ((stage, mixed) for stage, (_, mixed) in near.items()))
    report.write()
