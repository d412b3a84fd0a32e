"""Canny's edge detector (IEEE PAMI 8, 1986) as OpenCV computes it by default, which the course's sample uses.

scikit-image's thresholds the gradient's Euclidean norm instead of |gx| + |gy|, which is up to 1.4 times as large, finds
no edge in the outermost pixels, and interpolates where OpenCV rounds the gradient's direction: with the same thresholds
it draws fewer lines, above all fewer slanted ones.
"""

import numpy as np
import torch
from torch.nn import functional as F

SMOOTH, DIFFERENCE = torch.tensor([1.0, 2.0, 1.0]), torch.tensor([-1.0, 0.0, 1.0])
SOBEL = torch.stack([SMOOTH.outer(DIFFERENCE), DIFFERENCE.outer(SMOOTH)])[:, None]
"""(2, 1, 3, 3) kernels of the gradient's two components, x to the right and y downwards."""
SCALE, TAN_22, TAN_67 = 2**15, 13573, 13573 + 2**16
"""The tangents of 22.5 and of 67.5 degrees, times `SCALE` and rounded as in OpenCV."""
SAME_IMAGE = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])
"""Pixels of a stack of images that are neighbours of the one in the middle."""


def canny(images: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Edges of each image, one pixel wide; the image is not smoothed first.

    Args:
        images: (N, H, W), grey values 0 to 255.
        low: threshold of |gx| + |gy|, the L1 norm of the Sobel gradient, for all pixels of an edge.
        high: that for at least one pixel of each edge.

    Returns:
        (N, H, W) bool.
    """
    gradient = F.conv2d(F.pad(images[:, None].float(), (1, 1, 1, 1), mode="replicate"), SOBEL).int()
    gx, gy = gradient.unbind(1)
    magnitude = gx.abs() + gy.abs()
    candidates = is_ridge(magnitude, gx, gy) & (magnitude > low)
    return connected(candidates, candidates & (magnitude > high))


def is_ridge(magnitude: torch.Tensor, gx: torch.Tensor, gy: torch.Tensor) -> torch.Tensor:
    """Non-maximum suppression: (N, H, W) bool, whether the gradient is larger than at both neighbours in its direction,
    rounded to multiples of 45 degrees. Of two equal neighbours in a row or column the left or upper one counts."""
    height, width = magnitude.shape[1:]
    padded = F.pad(magnitude, (1, 1, 1, 1))

    def beside(down: int, right: int) -> torch.Tensor:
        return padded[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width]

    along_x = (magnitude > beside(0, -1)) & (magnitude >= beside(0, 1))
    along_y = (magnitude > beside(-1, 0)) & (magnitude >= beside(1, 0))
    falling = (magnitude > beside(-1, -1)) & (magnitude > beside(1, 1))
    rising = (magnitude > beside(-1, 1)) & (magnitude > beside(1, -1))
    diagonal = torch.where(gx.sign() == gy.sign(), falling, rising)
    steep = SCALE * gy.abs()
    return torch.where(steep < TAN_22 * gx.abs(), along_x, torch.where(steep > TAN_67 * gx.abs(), along_y, diagonal))


def connected(candidates: torch.Tensor, certain: torch.Tensor) -> torch.Tensor:
    """Hysteresis: those candidates (N, H, W) that a path of candidates, diagonal steps included, connects to a certain
    one."""
    from scipy.ndimage import label  # half a second to import

    numbers, count = label(candidates.numpy(), SAME_IMAGE)
    kept = np.zeros(count + 1, bool)
    kept[numbers[certain.numpy()]] = True
    return torch.from_numpy(kept[numbers])
