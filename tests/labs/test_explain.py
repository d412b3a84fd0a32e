"""Promises of the explain lab: its data format, its runs with a classifier, its submission, its methods and scores."""

import csv
import json
import shutil
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torchvision.transforms.v2.functional import gaussian_blur

from labs.cnn import lesson as cnn
from labs.core import shards
from labs.core.errors import BadInput
from labs.core.run import Run
from labs.explain import attribution, data, filters, scores
from labs.explain.lesson import CLASSIFIER, LAB, METHODS, Explainer, predict
from labs.shared.vision import food
from tests.labs.folders import contents, made, one_fault
from tests.labs.store import SEED, Store
from tests.labs.workers import in_two_processes, last_metrics

Upstream = Mapping[str, Path]
"""Roles and the runs that a run needs."""


def fit(folder: Path, data_dir: Path, upstream: Upstream, preset: str = "smoothgrad", **overrides: object) -> None:
    run = Run(folder, data_dir, seed=3, upstream=upstream)
    LAB.fit(LAB.resolve(preset, "tiny", overrides), run)


@pytest.fixture(scope="module")
def finished(store: Store) -> Path:
    return store.finished("explain", "smoothgrad")


@pytest.fixture
def course(source: Path, tmp_path: Path) -> Path:
    """A folder as the course gives it, without its own classifier: ten images without masks."""
    folder = tmp_path / "course"
    shutil.copytree(source / "food", folder / "food", ignore=shutil.ignore_patterns("10_10.jpg"))
    return folder


# --- data ----------------------------------------------------------------------------------------------------------


def test_no_image_is_in_two_splits(source: Path, tmp_path: Path) -> None:
    """No image is one of homework 3's of the same seed, and none is both to validate on and to explain."""
    theirs = {content for name, content in contents(made(food, tmp_path / "food11")).items() if name.endswith(".jpg")}
    ours = [content for name, content in contents(source).items() if name.endswith(".jpg")]
    assert len(ours) == len(set(ours)) == 2 * data.COUNTS["tiny"]["images"]
    assert not theirs & set(ours)


def test_masks_show_the_food(source: Path, data_dir: Path) -> None:
    """Each image has a mask of its size, white in part, which is packed like the image."""
    for images, masks in (("food", "answers/masks"), ("validation", "validation-masks")):
        for path in (source / images).iterdir():
            with Image.open(path) as image, Image.open(source / masks / f"{path.stem}.png") as mask:
                assert image.size == mask.size
                assert 0.01 < np.mean(np.asarray(mask) > 127) < 0.7
    packed_images, packed_masks = (
        c.all() for c in shards.ArrowDataset(data_dir, "validation", ("image", "mask")).columns
    )
    assert packed_images.shape == (11, 3, 64, 64)
    assert packed_masks.shape == (11, 64, 64)
    assert packed_masks.unique().tolist() == [0, 1]


def test_a_mask_is_cropped_like_its_image(tmp_path: Path) -> None:
    """To the centre square: the left half of a wide mask stays the left half."""
    wide = np.zeros((60, 100), np.uint8)
    wide[:, :50] = 255
    Image.fromarray(wide).save(tmp_path / "mask.png")
    mask = data.read_mask(tmp_path / "mask.png", 30)
    assert mask[:, :15].all()
    assert not mask[:, 15:].any()


def test_check_accepts_what_make_writes_and_what_the_course_gives(source: Path, course: Path) -> None:
    """Generated data have the course's format; the course's own folder has ten images and no masks."""
    assert data.check(source) == []
    assert data.check(course) == []


def test_images_are_read_in_the_order_of_their_index(course: Path, tmp_path: Path) -> None:
    """10_2 comes before 3_10."""
    (course / "food/4_4.jpg").rename(course / "food/3_10.jpg")
    (course / "food/2_2.jpg").rename(course / "food/10_2.jpg")
    (tmp_path / "packed").mkdir()
    names = data.prepare(course, tmp_path / "packed", "folder")["facts"]["names"]
    assert [int(name.split("_")[1][:-4]) for name in names] == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]


FAULTS = {
    "no folder": (lambda d: (d / "food").rename(d / "images"), "food/ is missing"),
    "no masks": (
        lambda d: shutil.rmtree(d / "validation-masks"),
        "validation-masks/ is missing: validation/ needs it",
    ),
    "empty": (lambda d: [path.unlink() for path in (d / "food").iterdir()], "food/ is empty: expected JPEG images"),
    "name": (
        lambda d: (d / "food/0_0.jpg").rename(d / "food/bread.jpg"),
        "food/bread.jpg: the name must be <class>_<index>.jpg, for example 3_5.jpg",
    ),
    "void": (
        lambda d: (d / "food/0_0.jpg").write_bytes(b""),
        "food/0_0.jpg: expected a whole JPEG image, found a broken one",
    ),
    "a mask too few": (
        lambda d: (d / "validation-masks/0_0.png").unlink(),
        "validation/0_0.jpg: expected its mask in validation-masks/0_0.png, but there is none",
    ),
    "broken mask": (
        lambda d: (d / "validation-masks/0_0.png").write_bytes(b"white"),
        "validation/0_0.jpg: its mask validation-masks/0_0.png: expected a whole PNG image, found a broken one",
    ),
    "mask of another size": (
        lambda d: Image.new("L", (9, 7), 255).save(d / "validation-masks/0_0.png"),
        "validation/0_0.jpg: its mask validation-masks/0_0.png is 9x7 pixels, expected",
    ),
    "mask of one colour": (
        lambda d: Image.new("L", Image.open(d / "validation/0_0.jpg").size).save(d / "validation-masks/0_0.png"),
        "validation/0_0.jpg: its mask validation-masks/0_0.png must be white on the food and black elsewhere",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_names_the_fault(fault: str, source: Path, tmp_path: Path) -> None:
    """One sentence per fault, with the file, what was found and what was expected."""
    spoil, message = FAULTS[fault]
    assert message in one_fault(data.check, source, tmp_path / "data", spoil)


# --- runs ----------------------------------------------------------------------------------------------------------


def test_the_scores_are_means_over_all_images(finished: Path, data_dir: Path) -> None:
    """`val/pointing` and `val/mass_accuracy`, gathered batch by batch, are those of all maps computed at once; the test
    set's are those of the delivered peaks and maps; the trivial map is the same everywhere."""
    result = json.loads((finished / "result.json").read_text())["metrics"]
    images, masks = (c.all() for c in shards.ArrowDataset(data_dir, "validation", ("image", "mask")).columns)
    maps = LAB.load(finished)(images)
    pointing = [mask.flatten()[heatmap.argmax()].item() for heatmap, mask in zip(maps, masks, strict=True)]
    masses = [(heatmap * mask).sum().item() / heatmap.sum().item() for heatmap, mask in zip(maps, masks, strict=True)]
    assert result["val/pointing"] == pytest.approx(np.mean(pointing))
    assert result["val/mass_accuracy"] == pytest.approx(np.mean(masses), rel=1e-5)
    statistics = json.loads((finished / "deliver/statistics.json").read_text())
    pointing, centre, covered = [], [], []
    for image in statistics["images"]:
        mask = data.read_mask(data_dir / data.ANSWERS / f"{Path(image['file']).stem}.png", 64)
        pointing.append(mask[image["y"], image["x"]])
        centre.append(mask[32, 32])
        covered.append(mask.mean())
    test_scores = LAB.score(finished / "deliver", data_dir)
    assert test_scores["test/pointing"] == pytest.approx(np.mean(pointing))
    assert test_scores["test/centre"] == pytest.approx(np.mean(centre))
    assert test_scores["test/trivial"] == pytest.approx(np.mean(covered))
    assert set(test_scores) == {"test/trivial", "test/centre", *(f"test/{name}" for name in scores.SCORES)}


def test_what_is_delivered(finished: Path, data_dir: Path) -> None:
    """Valid statistics, one entry per image in the order of the index; the maps that the served model computes; a row
    of scores for every method; both figures."""
    out = finished / "deliver"
    assert LAB.check_submission(out / LAB.submission) == []
    statistics = json.loads((out / LAB.submission).read_text())
    assert [image["file"] for image in statistics["images"]] == [f"{number}_{number}.jpg" for number in range(11)]
    maps = np.load(out / "maps.npy")
    assert maps.shape == (11, 64, 64)
    assert predict(LAB.load(finished), LAB.example(data_dir)) == pytest.approx(maps[:2], rel=1e-3)
    with (out / "methods.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["method"] for row in rows] == list(METHODS)
    assert list(rows[0]) == ["method", *scores.SCORES, "seconds"]
    validated = json.loads((finished / "result.json").read_text())["metrics"]
    assert float(rows[METHODS.index("smoothgrad")]["pointing"]) == pytest.approx(validated["val/pointing"], abs=1e-4)


def test_the_multiple_choice_answers_follow_from_the_table(finished: Path) -> None:
    """Which method's maps depend least on the weights, and by which scores SmoothGrad beats saliency."""
    with (finished / "deliver/methods.csv").open(newline="") as handle:
        rows = {row["method"]: row for row in csv.DictReader(handle)}
    report = (finished / "deliver/report.md").read_text()
    steadiest = max(rows, key=lambda method: float(rows[method]["sanity"]))
    assert f"\n{steadiest}: the rank correlation" in report
    scored = ("deletion", "insertion")
    plain, smooth = ({n: round(float(rows[m][n]), 3) for n in scored} for m in ("saliency", "smoothgrad"))
    better = [name for name, sign in (("deletion", -1), ("insertion", 1)) if sign * (smooth[name] - plain[name]) > 0]
    assert f"\nBy {' and '.join(better) or 'neither'}, to three decimals: " in report


def test_delivery_needs_only_the_runs_own_folder(
    finished: Path, data_dir: Path, upstream: Upstream, tmp_path: Path
) -> None:
    """The kept weights are the classifier's, bit for bit; delivering again from them gives the same statistics."""
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("deliver"))
    LAB.deliver(tmp_path / "run", data_dir, tmp_path / "out")
    first = json.loads((finished / "deliver/statistics.json").read_text())
    assert json.loads((tmp_path / "out/statistics.json").read_text()) == first
    kept, original = LAB.load(finished).classifier.state_dict(), cnn.load(upstream[CLASSIFIER]).state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in original.items())


def score(rank: int, data_dir: Path, folder: Path, upstream: Upstream) -> None:
    LAB.train(LAB.resolve("smoothgrad", "tiny"), Run(folder, data_dir, seed=SEED, upstream=upstream))


def test_two_workers_score_as_one(finished: Path, data_dir: Path, upstream: Upstream, tmp_path: Path) -> None:
    """Two workers share the images, of the last batch's five one gets three and one two: all scores are equal."""
    in_two_processes(score, data_dir, tmp_path, upstream)
    result = json.loads((finished / "result.json").read_text())["metrics"]
    assert last_metrics(tmp_path) == {f"val/{name}": result[f"val/{name}"] for name in scores.SCORES}


def test_the_courses_own_folder_gets_the_scores_that_need_no_masks(
    course: Path, upstream: Upstream, tmp_path: Path
) -> None:
    """The course's ten images, without masks and texts: deletion, insertion and the sanity check on the images
    themselves, no score that needs a mask, no test score; the delivery is complete but for the figures of texts."""
    data_dir, folder = tmp_path / "packed", tmp_path / "run"
    data_dir.mkdir()
    data.prepare(course, data_dir, "folder")
    fit(folder, data_dir, upstream, "gradcam")
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    assert {name for name in metrics if "/" in name and "time" not in name} == {
        "model/parameters", "val/deletion", "val/insertion", "val/sanity"
    }  # fmt: skip
    delivered = sorted(path.name for path in (folder / "deliver").iterdir())
    assert delivered == ["filters.png", "maps.npy", "methods.csv", "methods.png", "report.md", "statistics.json"]
    assert LAB.check_submission(folder / "deliver/statistics.json") == []


@pytest.mark.parametrize("preset", LAB.presets)
def test_a_layer_that_is_not_there_is_named(preset: str, data_dir: Path, upstream: Upstream, tmp_path: Path) -> None:
    """A layer beyond the classifier's resolutions is refused before anything is explained, whatever the method."""
    with pytest.raises(BadInput, match="layer is 9, but the classifier has maps of 5 resolutions: expected 0 to 4"):
        fit(tmp_path, data_dir, upstream, preset, layer=9)
    assert not (tmp_path / "events.jsonl").exists()


# --- methods -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(upstream: Upstream) -> cnn.Classifier:
    return cnn.load(upstream[CLASSIFIER]).requires_grad_(False)


@pytest.fixture(scope="module")
def image(data_dir: Path) -> torch.Tensor:
    return shards.ArrowDataset(data_dir, "test", ("image",))[torch.tensor([3])][0].float()


def logit_gradient(model: nn.Module, image: torch.Tensor, target: int) -> torch.Tensor:
    """Gradient of a logit by the pixels, (3, H, W)."""
    image = image.clone().requires_grad_()
    return torch.autograd.grad(model(image)[0, target], image)[0][0]


@pytest.mark.parametrize("preset", LAB.presets)
@pytest.mark.parametrize("network", ["plain", "residual", "six"])
def test_every_method_explains_at_course_size(preset: str, network: str) -> None:
    """A finite map of each of two images of the size that photographs are stored at, for each kind of network; an
    image's map does not depend on the rest of the batch."""
    few = {"noise_samples": 2, "perturbed_samples": 4, "superpixels": 5}  # 500 and 1,000 samples take minutes on a CPU
    config = LAB.resolve(preset, "course", few)
    assert {**LAB.resolve(preset, "course").model_dump(), **few} == config.model_dump()
    net = cnn.LAB.network(cnn.LAB.resolve("simple", "tiny", {"network": network}))
    explainer = Explainer(config, net)
    images = torch.randint(0, 256, (2, 3, 160, 160), dtype=torch.uint8)
    maps = explainer(images)
    assert maps.shape == (2, 160, 160)
    assert torch.isfinite(maps).all()
    torch.testing.assert_close(explainer(images[1:])[0], maps[1], rtol=1e-3, atol=1e-6)


def test_saliency_is_the_gradient(model: cnn.Classifier, image: torch.Tensor) -> None:
    """|d logit / d pixel|, the largest of the three channels."""
    torch.testing.assert_close(attribution.saliency(model, image, 4), logit_gradient(model, image, 4).abs().amax(0))


def test_smoothgrad_is_a_mean_of_saliency(model: cnn.Classifier, image: torch.Tensor) -> None:
    """Without noise it is saliency; with noise the mean of |gradient| over images with the same noise, in chunks."""
    torch.testing.assert_close(attribution.smoothgrad(model, image, 4, 0.0, 3), attribution.saliency(model, image, 4))
    torch.manual_seed(5)
    smooth = attribution.smoothgrad(model, image, 4, 0.1, 40)
    torch.manual_seed(5)
    noise = torch.cat([torch.normal(0, torch.full((count, *image.shape[1:]), 25.5)) for count in (32, 8)])
    expected = torch.stack([logit_gradient(model, noisy[None], 4).abs() for noisy in image[0] + noise]).mean(0).amax(0)
    torch.testing.assert_close(smooth, expected, rtol=1e-3, atol=1e-7)


def test_integrated_gradients_are_complete(model: cnn.Classifier, image: torch.Tensor) -> None:
    """Their sum is the logit's difference from the baseline; for a linear model they are weight times difference."""
    baseline = torch.full_like(image, 90.0)
    difference = (model(image) - model(baseline))[0, 4].item()
    assert attribution.integrated_gradients(model, image, 4, baseline, 200).sum().item() == pytest.approx(
        difference, rel=0.02
    )
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 5))
    expected = (linear[1].weight[4].view(3, 64, 64) * (image - baseline)[0]).sum(0).detach()
    found = attribution.integrated_gradients(linear, image, 4, baseline, 2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("folds", [1, 2])
def test_gradcam_is_the_formula(folds: int, image: torch.Tensor) -> None:
    """ReLU of the sum over channels of mean gradient times feature map, enlarged; for an ensemble, its members' sum."""
    torch.manual_seed(0)
    model = cnn.LAB.network(cnn.LAB.resolve("simple", "tiny", {"folds": folds})).eval()
    layers = Explainer(LAB.resolve("gradcam", "tiny"), model).layers(image)
    weighted = torch.zeros(1, 1, *feature_map_shape(model, layers[0], image))
    for layer in layers:
        kept: list[torch.Tensor] = []
        with layer.register_forward_hook(lambda layer, inputs, output, kept=kept: kept.append(output)):
            logit = model(image.clone().requires_grad_())[0, 4]
        gradient = torch.autograd.grad(logit, kept[0])[0]
        weighted += (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1, keepdim=True)
    expected = F.interpolate(weighted.clamp(min=0), (64, 64), mode="bilinear")[0, 0].detach()
    assert len(layers) == folds
    assert expected.max() > 0
    torch.testing.assert_close(attribution.gradcam(model, image, 4, layers), expected)


def feature_map_shape(model: nn.Module, layer: nn.Module, image: torch.Tensor) -> torch.Size:
    return filters.activation(model, layer, image).shape[-2:]


@pytest.mark.parametrize(
    ("network", "sides"), [("plain", [32, 16, 8, 4, 2, 1]), ("residual", [32, 16, 8, 4, 2]), ("six", [32, 16, 8])]
)
def test_the_last_layer_of_each_resolution_is_found(network: str, sides: list[int], image: torch.Tensor) -> None:
    """In each kind of network, the finest resolution first."""
    model = cnn.LAB.network(cnn.LAB.resolve("simple", "tiny", {"network": network})).eval()
    found = attribution.last_layers(model.members[0], partial(model, image, 0))
    assert [feature_map_shape(model, layer, image)[0] for layer in found] == sides


def test_lime_finds_the_superpixel_that_counts() -> None:
    """Of an image of four squares, classified by the brightness of one, this one gets a weight equal to the logit that
    hiding it costs, up to the ridge penalty; the others get none."""

    class Corner(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.stack([images[:, 0, :32, 32:].mean((1, 2)) / 100, images.mean((1, 2, 3)) * 0], 1)

    image = torch.zeros(1, 3, 64, 64)
    for number, (rows, columns) in enumerate([(0, 0), (0, 32), (32, 0), (32, 32)]):
        image[0, :, rows : rows + 32, columns : columns + 32] = torch.tensor([200.0, 60 * number, 90])[:, None, None]
    torch.manual_seed(0)
    heatmap = attribution.lime(Corner(), image, 0, torch.zeros_like(image), 4, 200)
    # The borders of SLIC's superpixels are exact to a pixel or two.
    important, *others = heatmap[:30, 34:], heatmap[:30, :30], heatmap[34:, :30], heatmap[34:, 34:]
    assert important.mean() == pytest.approx(2.0, rel=0.1)
    assert torch.cat(others).abs().max() < 0.1
    y, x = scores.peak(heatmap)
    assert 10 < y < 22
    assert 42 < x < 54


def test_no_hook_is_left(upstream: Upstream, image: torch.Tensor) -> None:
    """All methods and the figure of filters remove their hooks from the classifier."""
    model = cnn.load(upstream[CLASSIFIER])
    for preset in LAB.presets:
        Explainer(LAB.resolve(preset, "tiny"), model)(image)
    for layer in filters.early_and_late_convolution(model).values():
        filters.maximise_activation(model, layer, image, 2)
    assert not any(
        hooks
        for layer in model.modules()
        for hooks in (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    )


def test_gradient_ascent_raises_the_activation(model: cnn.Classifier, image: torch.Tensor) -> None:
    """Each filter's activation is higher than on the initial image, which is not changed."""
    before = image.clone()
    for layer in filters.early_and_late_convolution(model).values():
        found = filters.maximise_activation(model, layer, image, 20)
        assert filters.activation(model, layer, found).sum() > filters.activation(model, layer, image).sum()
        assert 0 <= found.min() <= found.max() <= 255
    assert torch.equal(image, before)


# --- scores --------------------------------------------------------------------------------------------------------


class Toy(nn.Module):
    """Two classes; the logit of the first is a weighted sum of the red pixels."""

    weights = torch.tensor([[0.02, -0.01], [0.03, 0.005]])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logit = (images[:, 0] * self.weights).sum((1, 2))
        return torch.stack([logit, torch.zeros_like(logit)], 1)


def test_deletion_is_brute_force() -> None:
    """Pixel by pixel, the most important first, to the mean colour: the mean of the trapezoids."""
    image, heatmap = torch.rand(1, 3, 2, 2) * 255, torch.tensor([[0.3, 0.9], [0.1, 0.5]])
    changed, curve = image.clone(), []
    for pixel in [None, (0, 1), (1, 1), (0, 0), (1, 0)]:
        if pixel:
            changed[0, :, pixel[0], pixel[1]] = image.mean((2, 3))[0]
        curve.append(Toy()(changed).softmax(1)[0, 0].item())
    expected = sum((one + other) / 2 for one, other in pairwise(curve)) / 4
    assert scores.deletion_and_insertion(Toy(), image, 0, heatmap)[0] == pytest.approx(expected, rel=1e-5)


def test_insertion_goes_from_a_blurred_image_to_the_image(model: cnn.Classifier, image: torch.Tensor) -> None:
    """Brute force in ten steps, with ranks by sorting; the deletion score of the same map differs."""
    heatmap = torch.rand(64, 64)
    order, curve = heatmap.flatten().sort(descending=True).indices, []
    changed = gaussian_blur(image, [11, 11], [5.0, 5.0]).flatten(2)
    for step in range(11):
        first = order[: round(4096 * step / 10)]
        changed[0, :, first] = image.flatten(2)[0, :, first]
        curve.append(model(changed.view_as(image)).softmax(1)[0, 4].item())
    expected = sum((one + other) / 2 for one, other in pairwise(curve)) / 10
    deletion, insertion = scores.deletion_and_insertion(model, image, 4, heatmap)
    assert insertion == pytest.approx(expected, rel=1e-4)
    assert deletion != pytest.approx(expected, rel=1e-4)


def test_a_better_map_scores_better() -> None:
    """The map of the pixels' true effects has the lowest deletion score; its negative has a higher one."""
    torch.manual_seed(0)
    image = torch.rand(1, 3, 2, 2) * 255
    effect = (image - image.mean((2, 3), keepdim=True))[0, 0] * Toy.weights
    random = torch.rand(2, 2)
    deletions = [scores.deletion_and_insertion(Toy(), image, 0, heatmap)[0] for heatmap in (effect, random, -effect)]
    assert deletions == sorted(deletions)
    assert deletions[0] < deletions[2]


def test_mass_accuracy_is_a_fraction() -> None:
    """Of the positive attribution, that on the object; 0 for a map without any."""
    heatmap, mask = torch.tensor([[3.0, -5.0], [1.0, 0.0]]), torch.tensor([[True, True], [False, False]])
    assert scores.mass_accuracy(heatmap, mask) == pytest.approx(0.75)
    assert scores.mass_accuracy(heatmap / 1000, mask) == pytest.approx(0.75)
    assert scores.mass_accuracy(-heatmap.abs(), mask) == 0


def test_rank_correlation_is_spearmans() -> None:
    """1 - 6 sum d^2 / (n (n^2 - 1)) without ties; 0 with a constant map."""
    one, other = torch.randperm(20).view(4, 5).float(), torch.randperm(20).view(4, 5).float()
    expected = 1 - 6 * (one - other).square().sum().item() / (20 * 399)
    assert scores.rank_correlation(one.exp(), other) == pytest.approx(expected)
    assert scores.rank_correlation(one, torch.ones(4, 5)) == scores.rank_correlation(torch.ones(4, 5), one) == 0


def test_the_peak_of_a_superpixel_is_its_middle() -> None:
    """Row and column of the largest value; of many, of the one nearest to their centre."""
    heatmap = torch.rand(8, 8)
    heatmap[1, 6] = 2
    assert scores.peak(heatmap) == (1, 6)
    heatmap[3:6, 2:7] = 3
    assert scores.peak(heatmap) == (4, 4)


def test_maps_change_when_the_weights_are_randomised(model: cnn.Classifier, image: torch.Tensor) -> None:
    """The copy has other weights, the same in every call, and the original is not changed; the ranks of a map
    change."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    randomised = scores.randomise_weights(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    convolutions = [name for name, tensor in before.items() if tensor.dim() > 1]
    assert not any(torch.equal(before[name], randomised.state_dict()[name]) for name in convolutions)
    again = scores.randomise_weights(model).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in randomised.state_dict().items())
    heatmap, other = (attribution.saliency(net, image, 4) for net in (model, randomised))
    assert scores.rank_correlation(heatmap, heatmap) == pytest.approx(1)
    assert scores.rank_correlation(heatmap, other) < 0.8


IMAGE = {
    "file": "0_0.jpg", "predicted": 3, "probability": 0.9, "x": 5, "y": 63, "deletion": 0.1, "insertion": 0.8,
    "sanity": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file": "bread.jpg"}, "field 'images.0.file' is 'bread.jpg'"),
        ({"probability": 1.5}, "field 'images.0.probability' is 1.5: input should be less than or equal to 1"),
        ({"y": 64}, "0_0.jpg points to 5, 64; expected 0 to 63"),
        ({"deletion": float("nan")}, "field 'images.0.deletion' is nan"),
        ({"colour": 1}, "unknown field 'images.0.colour'"),
    ],
)
def test_a_bad_submission_is_named(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    """Each fault of a submission file is a sentence with the field and the value."""
    file = tmp_path / "statistics.json"
    for image in (IMAGE, {**IMAGE, **changes}):
        file.write_text(json.dumps({"method": "lime", "side": 64, "images": [image]}))
        faults = LAB.check_submission(file)
        assert len(faults) == (image != IMAGE)
    assert message in faults[0]


def test_a_submission_without_images_is_named(tmp_path: Path) -> None:
    """And so is a file in another format."""
    file = tmp_path / "statistics.json"
    file.write_text('{"method": "lime", "side": 64, "images": []}')
    assert "field 'images' is []" in LAB.check_submission(file)[0]
    file.write_text("Id,Category\n")
    with pytest.raises(BadInput, match="expected JSON"):
        LAB.check_submission(file)
