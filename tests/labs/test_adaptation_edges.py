"""The adaptation lab's photographs as edges: those of OpenCV's Canny, which the course's sample uses."""

import math
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, sobel

import labs
from labs.adaptation import data
from labs.adaptation.domains import photographs

LAB = labs.get("adaptation")


def edges(grey: np.ndarray, low: float, high: float, folder: Path) -> np.ndarray:
    """Where photographs (N, 32, 32) of these grey values have edges."""
    for number, image in enumerate(grey):
        path = folder / f"made/train_data/{number % 2}/{number}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).convert("RGB").save(path)
    (folder / "made/test_data/0").mkdir(parents=True)
    Image.fromarray(grey[0, :28, :28]).save(folder / "made/test_data/0/00000.bmp")
    (folder / "packed").mkdir()
    data.prepare(folder / "made", folder / "packed", "generated")
    found: np.ndarray = photographs(folder / "packed", (low, high)).images.numpy() == 255
    return found[np.argsort([number % 2 for number in range(len(grey))], kind="stable").argsort()]


def test_edges_are_thresholded_by_the_sum_of_both_gradients(tmp_path: Path) -> None:
    """At steps of 50 the Sobel gradient is (150, 150) on a diagonal, where its Euclidean norm is 212, and (200, 0) on a
    vertical line. Between 200 and 300, OpenCV's Canny sees the diagonal alone."""
    row, column = np.indices((32, 32))
    steps = np.stack([column > row, column > 16]) * np.uint8(50)
    diagonal, vertical = edges(steps, 240, 260, tmp_path)
    assert diagonal[1:-1].any(1).all()
    assert not vertical.any()


def test_edges_are_those_of_opencvs_canny(tmp_path: Path) -> None:
    """Pixel by pixel as its documentation has it: the largest of three along the gradient, then hysteresis."""
    noise = np.random.default_rng(0).normal(size=(6, 32, 32))
    grey = (128 + 160 * gaussian_filter(noise, (0, 1, 1))).clip(0, 255).astype(np.uint8)
    for image, found in zip(grey, edges(grey, 170, 300, tmp_path), strict=True):
        gx, gy = (sobel(image.astype(float), axis, mode="nearest") for axis in (1, 0))
        norm = np.pad(abs(gx) + abs(gy), 1)
        thin = set()
        for y, x in zip(*np.nonzero(norm[1:-1, 1:-1] > 170), strict=True):
            octant = round(math.atan2(gy[y, x], gx[y, x]) / (math.pi / 4)) % 4
            dx, dy = ((1, 0), (1, 1), (0, 1), (-1, 1))[octant]
            here, before, after = (norm[y + 1 + k * dy, x + 1 + k * dx] for k in (0, -1, 1))
            if here > before and (here > after or (here == after and octant % 2 == 0)):
                thin.add((y, x))
        expected, edge = set(), [(y, x) for y, x in thin if norm[y + 1, x + 1] > 300]
        while edge:
            y, x = edge.pop()
            if (y, x) in thin - expected:
                expected.add((y, x))
                edge += [(y + down, x + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        assert len(expected) < len(thin)
        assert {*zip(*np.nonzero(found), strict=True)} == expected


def test_edges_are_white_lines_on_black(data_dir: Path) -> None:
    """Photographs become binary, with more black than white; without edges they keep their grey values."""
    edges, grey = (photographs(data_dir, thresholds).images for thresholds in ((110, 220), None))
    assert edges.unique().tolist() == [0, 255]
    assert (edges == 255).float().mean() < 0.4
    assert len(grey.unique()) > 100
