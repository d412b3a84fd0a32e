"""Homework 9, explainable AI: which pixels of a picture made a classifier of food say what it said.

Task
    Explain a finished classifier, a run of the cnn lab, picture by picture; and look into a question-answering model, a
    run of the bert lab. The course asks 30 questions about the explanations, which this lab's figures answer: 1 to 20
    are about pictures, 21 to 30 about attention, embeddings layer by layer, and likeness of embeddings.
Data
    `labs.explain.data`: the pictures to explain, ten in the course, and others whose object is known to validate on;
    `labs.explain.texts`: questions and sentences for the model that reads.
Metric
    Pointing game, higher is better: the share of pictures whose most important pixel lies on the object that the
    picture is of. No thresholds: the course looks at explanations, it does not score them. Beside it are logged
    mass_accuracy     the share of what speaks for the class that lies on the object; high is right.
    deletion          area under the class's probability while the picture loses its pixels, important ones first; low.
    insertion         the same while a blurred picture gets them back; high.
    sanity            rank correlation with the map of a classifier of random weights; low: a map that stays as it was
                      shows the picture's edges, not what was learnt.
    The last three need no masks; they are all that a folder without masks is scored by.
Methods
    saliency              the gradient of the class's logit by the pixels.
    smoothgrad            its mean over noisy copies of the picture.
    integrated-gradients  its mean along the way from a picture of nothing, times the difference.
    lime                  a linear model of the logit on which superpixels are there.
    gradcam               feature maps weighted by their gradients.
    Nothing is trained: an epoch explains a batch of pictures, and the weights that are kept are the classifier's.
Papers
    Simonyan et al., saliency (arXiv:1312.6034); Smilkov et al., SmoothGrad (arXiv:1706.03825); Sundararajan et al.,
    Integrated Gradients (arXiv:1703.01365); Ribeiro et al., LIME (arXiv:1602.04938); Selvaraju et al., Grad-CAM
    (arXiv:1610.02391); Zhang et al., pointing game (arXiv:1608.00507); Arras et al., mass accuracy (arXiv:2003.07258);
    Petsiuk et al., deletion and insertion (arXiv:1806.07421); Adebayo et al., sanity checks (arXiv:1810.03292).
"""

import json
import time
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, ValidationError
from torch import nn
from torch.utils.data import TensorDataset

from labs import COURSE
from labs.bert import lesson as bert
from labs.cnn import lesson as cnn
from labs.core import shards
from labs.core.config import Config
from labs.core.errors import BadInput, sentences
from labs.core.lab import Lab
from labs.core.run import Run
from labs.core.weights import load_shape, load_weights
from labs.explain import attribution as methods
from labs.explain import data, hidden_state_file
from labs.explain import scores as measures
from labs.explain.figures import title, write_sheets, write_table
from labs.explain.text_figures import write_readings

METRIC = COURSE["explain"].metric
METHODS = ("saliency", "smoothgrad", "integrated-gradients", "lime", "gradcam")
CLASSIFIER, READER = "classifier", "reader"
"""Roles of the runs that are needed."""
MAPS, READINGS = "maps.npy", "readings.safetensors"
SHOWN, TABLE = 10, 33
"""Pictures in the figures, as many as the course has, and at most so many behind the table of methods."""


class ExplainConfig(Config):
    method: Literal["saliency", "smoothgrad", "integrated-gradients", "lime", "gradcam"] = "saliency"
    """How a map is made."""
    sigma: float = Field(0.4, ge=0, le=1)
    """Standard deviation of SmoothGrad's noise, as a share of the range of values."""
    copies: int = Field(500, ge=1)
    """Noisy copies of a picture that SmoothGrad looks at."""
    nothing: Literal["black", "mean"] = "black"
    """The picture of nothing, where integrated gradients begin and which LIME hides superpixels behind: black, or in
    the picture's mean colour."""
    steps: int = Field(10, ge=1)
    """Steps of integrated gradients."""
    superpixels: int = Field(200, ge=2)
    """About how many superpixels LIME cuts a picture into."""
    samples: int = Field(1000, ge=1)
    """Pictures with hidden superpixels that LIME's linear model learns from."""
    layer: int = Field(1, ge=0)
    """Which maps GradCAM looks at: the last ones of a resolution, counted back from the coarsest, which is 0."""
    ascent_steps: int = Field(100, ge=1)
    """Steps of gradient ascent for the figure of filters."""
    batch_size: int = Field(64, ge=1)
    """Pictures of an epoch, over all workers."""


class Explainer(nn.Module):
    """A classifier, and a method to explain what it says."""

    def __init__(self, config: ExplainConfig, classifier: cnn.Classifier) -> None:
        super().__init__()
        self.config, self.classifier = config, classifier.requires_grad_(False).eval()

    def forward(self, images: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
        """(B, 3, H, W), values 0 to 255 of any type, -> maps (B, H, W) of what speaks for the classes (B,) int64; for
        the ones that the classifier sees, if none are given. A picture has the same map in any company."""
        targets = self.classifier(images).argmax(1) if targets is None else targets
        devices = [images.device] if images.is_cuda else []
        maps = []
        for image, target in zip(images.float().split(1), targets.tolist(), strict=True):
            with torch.random.fork_rng(devices):
                torch.manual_seed(0)
                maps.append(self.explain(image, target).detach().float())
        return torch.stack(maps)

    def explain(self, image: torch.Tensor, target: int) -> torch.Tensor:
        """The map (H, W) of one picture (1, 3, H, W), by the method of the config."""
        config, model = self.config, self.classifier
        if config.method == "saliency":
            return methods.saliency(model, image, target)
        if config.method == "smoothgrad":
            return methods.smoothgrad(model, image, target, config.sigma, config.copies)
        if config.method == "gradcam":
            return methods.gradcam(model, image, target, self.layers(image))
        grey = image.mean((2, 3), keepdim=True).expand_as(image)
        nothing = torch.zeros_like(image) if config.nothing == "black" else grey
        if config.method == "lime":
            return methods.lime(model, image, target, nothing, config.superpixels, config.samples)
        return methods.integrated_gradients(model, image, target, nothing, config.steps)

    def layers(self, image: torch.Tensor) -> list[nn.Module]:
        """What GradCAM looks at, in each of the classifier's networks.

        Raises:
            BadInput: a network has fewer resolutions.
        """
        found = []
        for number, network in enumerate(self.classifier.members):
            maps = methods.resolutions(network, partial(self.classifier, image, number))
            if self.config.layer >= len(maps):
                raise BadInput(f"layer is {self.config.layer}, but the classifier has maps of {len(maps)} resolutions: "
                               f"expected 0 to {len(maps) - 1}")  # fmt: skip
            found.append(maps[-1 - self.config.layer])
        return found


def train(config: ExplainConfig, run: Run) -> None:
    pictures = validation(run.data_dir)
    explainer, blank = (net.to(run.device) for net in take_classifier(config, run))
    texts = shards.manifest(run.data_dir)["facts"]["texts"]
    if texts and run.rank == 0:
        hidden_state_file.write(
            run.folder / READINGS, hidden_state_file.read_texts(bert.load(run.upstream(READER)), texts)
        )
    parts = torch.arange(len(pictures)).split(config.batch_size)
    progress: dict[str, Any] = {"found": []}
    for epoch in run.epochs(len(parts), state={"progress": progress}):
        batch, found = TensorDataset(parts[epoch], *pictures[parts[epoch]]), []
        for numbers, *columns in run.loader(batch, config.batch_size):
            _, rows = measures.examine(explainer.classifier, explainer, blank, *columns)
            found += [{"number": number, **row} for number, row in zip(numbers.tolist(), rows, strict=True)]
        # In the pictures' order, so that any number of workers adds up the same numbers in the same order.
        progress["found"] += sorted(run.gather(found), key=lambda row: row["number"])
        run.log({f"val/{name}": value for name, value in measures.means(progress["found"]).items()})
        run.keep(explainer)


def validation(data_dir: Path) -> shards.ArrowDataset:
    """Pictures with masks, or, where the data have none, the pictures to explain without."""
    if "validation" in shards.manifest(data_dir)["splits"]:
        return shards.ArrowDataset(data_dir, "validation", ("image", "mask"))
    return shards.ArrowDataset(data_dir, "test", ("image",))


def take_classifier(config: ExplainConfig, run: Run) -> tuple[Explainer, Explainer]:
    """The classifier that is needed, explained, and the same drawn afresh; notes what `load` rebuilds it from.

    Raises:
        BadInput: it has no such layer; the delivery looks at it whatever the method.
    """
    source = run.upstream(CLASSIFIER)
    classifier = cnn.load(source)
    run.write_shape(classes=load_shape(source)["classes"], classifier=classifier.config.model_dump())
    explainer, blank = pair(config, classifier)
    explainer.layers(torch.zeros(1, 3, 64, 64))
    return explainer, blank


def pair(config: ExplainConfig, classifier: cnn.Classifier) -> tuple[Explainer, Explainer]:
    """The method on the classifier, and on one with weights drawn afresh."""
    return Explainer(config, classifier), Explainer(config, measures.randomised(classifier))


def load(folder: Path) -> Explainer:
    shape = load_shape(folder)
    classifier = cnn.Classifier(cnn.CnnConfig.model_validate(shape["classifier"]), shape["classes"])
    return load_weights(folder, Explainer(LAB.read_config(folder), classifier))


def predict(model: Explainer, inputs: np.ndarray) -> np.ndarray:
    """(B, 3, H, W) uint8 -> maps (B, H, W) of the class that the classifier sees, float32."""
    device = next(model.parameters()).device
    output: np.ndarray = model(torch.from_numpy(inputs).to(device)).cpu().numpy()
    return output


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `statistics.json`, what there is to say about each picture, and `maps.npy`, (N, H, W) float32. Whatever the
    method, for the course's questions: `methods.png`, ten pictures as all methods see them; `filters.png`, what two
    filters look at in them; `methods.csv`, all methods' scores on some of the pictures with masks, if there are any. Of
    the texts: `attention.png`, `embeddings.png`, `similarity.png`, and `layers.csv`, what these show in numbers."""
    explainer = load(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    out.mkdir(parents=True, exist_ok=True)
    named = write_statistics(explainer, data_dir, out)
    shown = shards.ArrowDataset(data_dir, "test", ("image",))[torch.arange(len(named[:SHOWN]))][0]
    maps, table = compare(explainer, validation(data_dir), shown)
    write_table(out / "methods.csv", table)
    titles = [title(row, load_shape(folder)["classes"]) for row in named[:SHOWN]]
    write_sheets(out, explainer.classifier, shown, maps, titles, explainer.config.ascent_steps)
    if texts := shards.manifest(data_dir)["facts"]["texts"]:
        write_readings(out, hidden_state_file.read(folder / READINGS), texts)


def write_statistics(explainer: Explainer, data_dir: Path, out: Path) -> list[measures.Scores]:
    """Write what there is to say about the pictures to explain, which is returned as well, and their maps."""
    device = next(explainer.parameters()).device
    pictures, facts = shards.ArrowDataset(data_dir, "test", ("image",)), shards.manifest(data_dir)["facts"]
    _, blank = pair(explainer.config, explainer.classifier)
    parts = [
        measures.examine(explainer.classifier, explainer, blank, pictures[rows][0].to(device))
        for rows in torch.arange(len(pictures)).split(64)
    ]
    found = (row for _, rows in parts for row in rows)
    named = [{"file": name, **row} for name, row in zip(facts["names"], found, strict=True)]
    statistics = {"method": explainer.config.method, "side": facts["side"], "pictures": named}
    (out / LAB.submission).write_text(json.dumps(statistics, indent=1))
    np.save(out / MAPS, torch.cat([maps for maps, _ in parts]).cpu().numpy())
    return named


def compare(
    explainer: Explainer, pictures: shards.ArrowDataset, shown: torch.Tensor
) -> tuple[dict[str, torch.Tensor], list[measures.Scores]]:
    """Every method's maps of the pictures `shown`, (N, H, W), and a row of its scores on some others."""
    maps, table, classifier = {}, [], explainer.classifier
    device = next(classifier.parameters()).device
    some = [column.to(device) for column in pictures[torch.arange(min(TABLE, len(pictures)))]]
    for method in METHODS:
        other, blank = pair(explainer.config.model_copy(update={"method": method}), classifier)
        scores = measures.means(measures.examine(classifier, other, blank, *some)[1])
        start = time.process_time()
        maps[method] = other(shown.to(device)).cpu()
        table.append({"method": method, **scores, "seconds": (time.process_time() - start) / len(shown)})
    return maps, table


def check_submission(file: Path) -> list[str]:
    try:
        measures.Statistics.model_validate_json(file.read_text())
    except ValidationError as error:
        return [f"{file.name}: {fault}" for fault in sentences(error, measures.Statistics.model_fields)]
    return []


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    """Means over the test pictures; `test/trivial` is the pointing game of a map that always points to the middle."""
    if not (data_dir / data.ANSWERS).is_dir():
        return {}
    statistics, trivial = json.loads((delivered / LAB.submission).read_text()), []
    found, side = statistics["pictures"], statistics["side"]
    for row, heat in zip(found, torch.from_numpy(np.load(delivered / MAPS)), strict=True):
        mask = data.read_mask(data_dir / data.ANSWERS / f"{Path(row['file']).stem}.png", side)
        row.update(measures.located(heat, torch.from_numpy(mask), row["x"], row["y"]))
        trivial.append(float(mask[side // 2, side // 2]))
    return {**{f"test/{name}": value for name, value in measures.means(found).items()}, "test/trivial": fmean(trivial)}


def space() -> dict[str, dict[str, object]]:
    return {
        "method": {"type": "choice", "values": list(METHODS)},
        "sigma": {"type": "loguniform", "low": 0.01, "high": 0.5, "when": {"method": "smoothgrad"}},
        "copies": {"type": "choice", "values": [10, 25, 50, 100], "when": {"method": "smoothgrad"}},
        "nothing": {"type": "choice", "values": ["black", "mean"]},
        "steps": {"type": "randint", "low": 2, "high": 65, "when": {"method": "integrated-gradients"}},
        "superpixels": {"type": "randint", "low": 10, "high": 201, "when": {"method": "lime"}},
        "samples": {"type": "choice", "values": [50, 100, 200, 400], "when": {"method": "lime"}},
        "layer": {"type": "randint", "low": 0, "high": 4, "when": {"method": "gradcam"}},
    }


SMALL = {"sigma": 0.1, "copies": 25, "nothing": "mean", "superpixels": 20, "samples": 100}
LAB = Lab(
    heading=COURSE["explain"],
    config=ExplainConfig,
    presets={method: {"method": method} for method in METHODS},
    sizes={
        "tiny": {"copies": 4, "steps": 4, "superpixels": 10, "samples": 20, "ascent_steps": 3, "batch_size": 6},
        "small": {**SMALL, "ascent_steps": 50, "batch_size": 22},
        "course": {},
    },
    train=train,
    load=load,
    predict=predict,
    example=cnn.example,  # packed as homework 3's pictures are
    deliver=deliver,
    check_submission=check_submission,
    score=score,
    submission="statistics.json",
    space=space,
    network=lambda config: cnn.LAB.network(cnn.LAB.resolve("simple", "course")),  # the sample's; any can be explained
    data=data,
    needs={CLASSIFIER: "cnn", READER: "bert"},
    seconds={"tiny": 2, "small": 20, "course": 600},
)
