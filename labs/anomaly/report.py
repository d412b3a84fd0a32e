"""The report of homework 8."""

from pathlib import Path
from typing import Any

import numpy as np

from labs.anomaly.figures import draw
from labs.core import curves, shards
from labs.core.lab import Lab
from labs.core.report import Report


def write(lab: Lab, model: Any, folder: Path, data_dir: Path, scores: np.ndarray, out: Path) -> None:
    """Write the report of a run's folder.

    Args:
        model: the detector.
        scores: (N,), anomaly scores of the test pictures.
    """
    config, report = lab.read_config(folder), Report(lab, folder, out)
    (images,) = shards.ArrowDataset(data_dir, "test", ("image",)).columns
    (normal,) = shards.ArrowDataset(data_dir, "train", ("image",)).columns
    figures = draw(model.autoencoder, images, scores, normal)
    report.figure("extremes", figures["extremes"], "Test pictures with the lowest and highest scores, the score above.")
    report.figure("reconstructions", figures["reconstructions"], "Test pictures and their reconstructions.")

    report.question("a")
    report.text(f"""A VAE encodes a picture not as a point but as a normal distribution, decodes a sample of it, and
                adds to the reconstruction error the divergence of that distribution from the standard normal one. So
                its latent space has no gaps, and random codes decode to pictures, which those of a plain autoencoder
                need not. But the sampling and the divergence make reconstructions blurred. This run's autoencoder is
                {"variational" if config.variational else "a plain one (`variational=false`)"}.""")
    mse, auc = (curves.history(folder, f"val/{name}")[1][-1] for name in ("mse", "auc"))
    header = ("encoders", "latent dimensions", "reconstruction error, `val/mse`", "AUC of made anomalies, `val/auc`")
    report.table(header, [(" + ".join(config.encoders), config.latent, mse, auc)])

    report.question("b")
    report.text("""Each row below changes one element of the latent codes; the encoders and the size of the code are in
                the table above. What changes in all faces alike is what the element stands for.""")
    report.figure("latent", figures["latent"], "Training faces, decoded from changed latent codes.")
    report.write()
