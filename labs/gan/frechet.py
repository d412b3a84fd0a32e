"""How far apart two sets of feature vectors are: Fréchet distance, precision and recall.

Heusel et al., FID (arXiv:1706.08500); Kynkäänniemi et al., improved precision and recall (arXiv:1904.06991).
"""

import torch

NEIGHBOURS = 3
"""The ball around a vector reaches to this neighbour of its own set (Kynkäänniemi et al. use 3)."""


def frechet_distance(first: torch.Tensor, second: torch.Tensor) -> float:
    """Squared distance of two Gaussians with the sets' means and covariances; features (N, d) and (M, d).

    |m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^½), where the last trace is the sum of the roots of S1^½ S2 S1^½'s eigenvalues.
    """
    (mean_1, cov_1), (mean_2, cov_2) = ((part.mean(0), part.T.cov()) for part in (first.double(), second.double()))
    values, vectors = torch.linalg.eigh(cov_1)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    mixed = torch.linalg.eigvalsh(root @ cov_2 @ root).clamp(min=0).sqrt().sum()
    return float((mean_1 - mean_2).square().sum() + cov_1.trace() + cov_2.trace() - 2 * mixed)


def precision_recall(real: torch.Tensor, generated: torch.Tensor) -> tuple[float, float]:
    """Share of generated vectors within a real one's ball, and share of real ones within a generated one's."""
    return _covered(generated, real), _covered(real, generated)


def _covered(points: torch.Tensor, centres: torch.Tensor) -> float:
    # A vector is its own nearest neighbour.
    radius = torch.cdist(centres, centres).kthvalue(NEIGHBOURS + 1, dim=1).values
    return float((torch.cdist(points, centres) <= radius).any(1).double().mean())
