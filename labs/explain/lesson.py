"""Homework 9, explainable AI: attribute a food classifier's predictions to the pixels of its images.

Task
    Explain the predictions of a trained classifier for single images: the course's, where the data folder has its
    `checkpoint.pth`, or a run of the cnn lab; and analyse the hidden states of a question-answering model, a run of the
    bert lab.
Data
    `labs.explain.data`: the images to explain, ten in the course, and others with masks of the food for validation;
    `labs.explain.texts`: questions and sentences for the question-answering model.
Metric
    Mass accuracy, higher is better: the fraction of positive attribution that lies on the object. The course does not
    score explanations, so there are no thresholds. Logged as well:
    pointing          the fraction of images whose largest attribution lies on the object (pointing game); higher is
                      better. It separates methods weakly: most objects lie in the middle of their picture, and
                      pointing to the middle of every picture is right more often than some methods are.
    deletion          area under the class's probability while the most important pixels are deleted first; lower.
    insertion         area under it while the most important pixels of a blurred image are restored first; higher.
    sanity            rank correlation with the map of the classifier with randomised weights; lower, as a map that does
                      not depend on the weights does not show what was learnt.
    The last three need no masks; a folder without masks is scored by them only.
Presets
    saliency              the gradient of the class's logit by the pixels.
    smoothgrad            the mean saliency of noisy copies of the image.
    integrated-gradients  the mean gradient on the path from a baseline image, times the difference to it.
    lime                  a linear model that predicts the logit from which superpixels are visible.
    gradcam               feature maps weighted by their mean gradients.
    Nothing is trained: an epoch explains a batch of images, and the weights that are kept are the classifier's.
Report
    The course asks 30 multiple-choice questions about figures such as these.
    (a)  Which parts of an image decide its class, by LIME (questions 1 to 4), saliency (5 to 9), SmoothGrad (10 to 13)
         and integrated gradients (18 to 20)?
    (b)  What do an early and a late filter of the network respond to (14 to 17)?
    (c)  To which tokens does a question attend, layer by layer and head by head (21 to 24)?
    (d)  How do question, context and answer separate from layer to layer (25 to 27)?
    (e)  In which layer are the hidden states of a character similar where its meaning is the same (28 to 30)?
    As multiple-choice questions, ours:
    (f)  Which method's maps change least when the weights are random: saliency, SmoothGrad, integrated gradients, LIME
         or Grad-CAM?
    (g)  By which score does averaging over noisy copies (SmoothGrad) improve on the plain gradient (saliency): by
         deletion, by insertion, by both or by neither?
Papers
    Simonyan et al., saliency (arXiv:1312.6034); Smilkov et al., SmoothGrad (arXiv:1706.03825); Sundararajan et al.,
    Integrated Gradients (arXiv:1703.01365); Ribeiro et al., LIME (arXiv:1602.04938); Selvaraju et al., Grad-CAM
    (arXiv:1610.02391); Zhang et al., pointing game (arXiv:1608.00507); Arras et al., mass accuracy (arXiv:2003.07258);
    Petsiuk et al., deletion and insertion (arXiv:1806.07421); Adebayo et al., sanity checks (arXiv:1810.03292).
"""

import json
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.utils.data import TensorDataset

from labs import COURSE
from labs.bert import lesson as bert
from labs.cnn import lesson as cnn
from labs.core import shards
from labs.core.config import Config
from labs.core.errors import BadInput
from labs.core.lab import Lab
from labs.core.run import Run
from labs.core.weights import load_shape, load_weights
from labs.explain import attribution, data, hidden_state_file, report
from labs.explain.demo import DEMO
from labs.explain.figures import image_figures, title
from labs.explain.image_statistics import MAPS, check_submission, compare_methods, write_statistics
from labs.explain.needs import CLASSIFIER, READER, classifier_of, provided
from labs.explain.scores import mask_scores, means, randomise_weights, score_maps

METHODS = ("saliency", "smoothgrad", "integrated-gradients", "lime", "gradcam")
HIDDEN_STATES = "hidden_states.safetensors"
SHOWN = 10
"""Number of images in the figures, as many as the course has."""


class ExplainConfig(Config):
    method: Literal["saliency", "smoothgrad", "integrated-gradients", "lime", "gradcam"] = "saliency"
    """Attribution method."""
    sigma: float = Field(0.4, ge=0, le=1)
    """SmoothGrad: standard deviation of the noise, as a fraction of the range of values."""
    noise_samples: int = Field(500, ge=1)
    """SmoothGrad: number of noisy copies of an image."""
    baseline: Literal["black", "mean"] = "black"
    """Integrated gradients and LIME: the image where the path starts, and which replaces hidden superpixels; black, or
    in the image's mean colour."""
    steps: int = Field(10, ge=1)
    """Integrated gradients: number of points on the path."""
    superpixels: int = Field(200, ge=2)
    """LIME: approximate number of superpixels of an image."""
    perturbed_samples: int = Field(1000, ge=1)
    """LIME: number of images with hidden superpixels that the linear model is fitted to."""
    layer: int = Field(1, ge=0)
    """Grad-CAM: the last layer of which resolution, counted from the coarsest, which is 0."""
    ascent_steps: int = Field(100, ge=1)
    """Steps of gradient ascent for the figure of filters, with every method."""
    batch_size: int = Field(64, ge=1)
    """Images of an epoch, over all workers."""


class Explainer(nn.Module):
    """A classifier and an attribution method."""

    def __init__(self, config: ExplainConfig, classifier: cnn.Classifier) -> None:
        super().__init__()
        self.config = config
        # Convolutions take two thirds of the time in the channels-last memory format.
        self.classifier = classifier.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    def forward(self, images: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
        """Attribution maps (B, H, W) of images (B, 3, H, W), values 0 to 255 of any type.

        Random numbers are seeded for each image, so that its map does not depend on the rest of the batch.

        Args:
            targets: (B,) int64, the classes to explain; by default the predicted ones.
        """
        targets = self.classifier(images).argmax(1) if targets is None else targets
        devices = [images.device] if images.is_cuda else []
        maps = []
        for image, target in zip(images.float().split(1), targets.tolist(), strict=True):
            with torch.random.fork_rng(devices):
                torch.manual_seed(0)
                maps.append(self.explain(image, target).detach().float())
        return torch.stack(maps)

    def explain(self, image: torch.Tensor, target: int) -> torch.Tensor:
        """The map (H, W) of one image (1, 3, H, W), by the method of the config."""
        config, model = self.config, self.classifier
        if config.method == "saliency":
            return attribution.saliency(model, image, target)
        if config.method == "smoothgrad":
            return attribution.smoothgrad(model, image, target, config.sigma, config.noise_samples)
        if config.method == "gradcam":
            return attribution.gradcam(model, image, target, self.layers(image))
        mean_colour = image.mean((2, 3), keepdim=True).expand_as(image)
        baseline = torch.zeros_like(image) if config.baseline == "black" else mean_colour
        if config.method == "lime":
            return attribution.lime(model, image, target, baseline, config.superpixels, config.perturbed_samples)
        return attribution.integrated_gradients(model, image, target, baseline, config.steps)

    def by(self, method: str) -> "Explainer":
        """The same classifier, explained by another method."""
        return Explainer(self.config.model_copy(update={"method": method}), self.classifier)

    def layers(self, image: torch.Tensor) -> list[nn.Module]:
        """Grad-CAM's layer of each member of the classifier.

        Raises:
            BadInput: a member's feature maps have fewer resolutions.
        """
        found = []
        for number, network in enumerate(self.classifier.members):
            layers = attribution.last_layers(network, partial(self.classifier, image, number))
            if self.config.layer >= len(layers):
                raise BadInput(f"layer is {self.config.layer}, but the classifier has maps of {len(layers)} "
                               f"resolutions: expected 0 to {len(layers) - 1}")  # fmt: skip
            found.append(layers[-1 - self.config.layer])
        return found


def train(config: ExplainConfig, run: Run) -> None:
    images = validation_images(run.data_dir)
    explainer, randomised = (net.to(run.device) for net in load_classifier(config, run))
    texts = shards.manifest(run.data_dir)["facts"]["texts"]
    if texts and run.rank == 0:
        reader = bert.load(run.upstream(READER))
        hidden_state_file.write(run.folder / HIDDEN_STATES, hidden_state_file.encode_texts(reader, texts))
    batches = torch.arange(len(images)).split(config.batch_size)
    progress: dict[str, Any] = {"scores": []}

    for epoch in run.epochs(len(batches), state={"progress": progress}):
        # Each worker explains and scores its part of the batch.
        batch, scores = TensorDataset(batches[epoch], *images[batches[epoch]]), []
        for numbers, *columns in run.loader(batch, config.batch_size):
            _, rows = score_maps(explainer.classifier, explainer, randomised, *columns)
            scores += [{"number": number, **row} for number, row in zip(numbers.tolist(), rows, strict=True)]
        # Sorted, so that the floating-point sums do not depend on the number of workers.
        progress["scores"] += sorted(run.gather(scores), key=lambda row: row["number"])
        # The means over all images so far.
        run.log({f"val/{name}": value for name, value in means(progress["scores"]).items()})
        run.keep(explainer)


def validation_images(data_dir: Path) -> shards.ArrowDataset:
    """Images with masks or, if the data have none, the images to explain without masks."""
    if "validation" in shards.manifest(data_dir)["splits"]:
        return shards.ArrowDataset(data_dir, "validation", ("image", "mask"))
    return shards.ArrowDataset(data_dir, "test", ("image",))


def load_classifier(config: ExplainConfig, run: Run) -> tuple[Explainer, Explainer]:
    """The method on the classifier, the course's or of the run that this one needs, and on the same classifier with
    randomised weights.

    The classifier's config and number of classes are written for `load`.

    Raises:
        BadInput: it has no such layer; with every method, as the delivery compares all of them.
    """
    classifier, classes = classifier_of(run)
    run.write_shape(classes=classes, classifier=classifier.config.model_dump())
    explainer = Explainer(config, classifier)
    explainer.layers(torch.zeros(1, 3, 64, 64))
    return explainer, Explainer(config, randomise_weights(classifier))


def load(folder: Path) -> Explainer:
    shape = load_shape(folder)
    classifier = cnn.Classifier(cnn.CnnConfig.model_validate(shape["classifier"]), shape["classes"])
    return load_weights(folder, Explainer(LAB.read_config(folder), classifier))


def predict(model: Explainer, inputs: np.ndarray) -> np.ndarray:
    """(B, 3, H, W) uint8 -> attribution maps (B, H, W) of the predicted classes, float32."""
    device = next(model.parameters()).device
    output: np.ndarray = model(torch.from_numpy(inputs).to(device)).cpu().numpy()
    return output


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `statistics.json`, prediction and scores of each image to explain, `maps.npy`, their maps, and the report,
    which compares all methods, whatever the run's."""
    explainer = load(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    config, classifier = explainer.config, explainer.classifier
    out.mkdir(parents=True, exist_ok=True)
    randomised = Explainer(config, randomise_weights(classifier))
    rows = write_statistics(classifier, explainer, randomised, config.method, data_dir, out / LAB.submission)
    shown = shards.ArrowDataset(data_dir, "test", ("image",))[torch.arange(len(rows[:SHOWN]))][0]
    methods = {name: (explainer.by(name), randomised.by(name)) for name in METHODS}
    maps, table = compare_methods(classifier, methods, validation_images(data_dir), shown)
    titles = [title(row, load_shape(folder)["classes"]) for row in rows[:SHOWN]]
    figures = image_figures(classifier, shown, maps, titles, config.ascent_steps)
    texts = shards.manifest(data_dir)["facts"]["texts"]
    states = hidden_state_file.read(folder / HIDDEN_STATES) if texts else None
    report.write(LAB, folder, out, figures, table, states, texts)


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    """Means over the test images. `test/trivial` is the mass accuracy of a map that is the same everywhere: the share
    of the picture that the object covers; `test/centre` is the pointing game of maps whose peak is the centre."""
    if not (data_dir / data.ANSWERS).is_dir():
        return {}
    statistics, uniform, centre = json.loads((delivered / LAB.submission).read_text()), [], []
    rows, side = statistics["images"], statistics["side"]
    for row, heatmap in zip(rows, torch.from_numpy(np.load(delivered / MAPS)), strict=True):
        mask = data.read_mask(data_dir / data.ANSWERS / f"{Path(row['file']).stem}.png", side)
        row.update(mask_scores(heatmap, torch.from_numpy(mask), row["x"], row["y"]))
        uniform.append(float(mask.mean()))
        centre.append(float(mask[side // 2, side // 2]))
    scores = {f"test/{name}": value for name, value in means(rows).items()}
    return {**scores, "test/trivial": fmean(uniform), "test/centre": fmean(centre)}


def space() -> dict[str, dict[str, object]]:
    return {
        "method": {"type": "choice", "values": list(METHODS)},
        "sigma": {"type": "loguniform", "low": 0.01, "high": 0.5, "when": {"method": "smoothgrad"}},
        "noise_samples": {"type": "choice", "values": [10, 25, 50, 100], "when": {"method": "smoothgrad"}},
        "baseline": {"type": "choice", "values": ["black", "mean"]},
        "steps": {"type": "randint", "low": 2, "high": 65, "when": {"method": "integrated-gradients"}},
        "superpixels": {"type": "randint", "low": 10, "high": 201, "when": {"method": "lime"}},
        "perturbed_samples": {"type": "choice", "values": [50, 100, 200, 400], "when": {"method": "lime"}},
        "layer": {"type": "randint", "low": 0, "high": 4, "when": {"method": "gradcam"}},
    }


SMALL = {"sigma": 0.1, "noise_samples": 25, "baseline": "mean", "superpixels": 20, "perturbed_samples": 100}
LAB = Lab(
    heading=COURSE["explain"],
    config=ExplainConfig,
    presets={method: {"method": method} for method in METHODS},
    sizes={
        "tiny": {"noise_samples": 4, "steps": 4, "superpixels": 10, "perturbed_samples": 20, "ascent_steps": 3,
                 "batch_size": 6},
        "small": {**SMALL, "ascent_steps": 50, "batch_size": 22},
        "course": {},
    },
    train=train,
    load=load,
    predict=predict,
    example=cnn.example,  # the packed columns are those of homework 3
    demo=DEMO,
    deliver=deliver,
    check_submission=check_submission,
    score=score,
    submission="statistics.json",
    space=space,
    network=lambda config: cnn.LAB.network(cnn.LAB.resolve("simple", "course")),  # any classifier can be explained
    data=data,
    needs={CLASSIFIER: "cnn", READER: "bert"},
    provided=provided,
    seconds={"tiny": 2, "small": 20, "course": 600},
)  # fmt: skip
