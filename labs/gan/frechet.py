"""Distances between two sets of feature vectors: Fréchet distance, precision and recall.

Heusel et al., FID (arXiv:1706.08500); Kynkäänniemi et al., improved precision and recall (arXiv:1904.06991).
"""

import torch

NEIGHBOURS = 3
"""A vector's ball reaches to this nearest neighbour of its own set, as in Kynkäänniemi et al."""


def frechet_distance(first: torch.Tensor, second: torch.Tensor) -> float:
    """Squared Fréchet distance of two Gaussians with the means and covariances of two sets of features.

    Args:
        first: (N, d).
        second: (M, d).
    """
    (mean_1, cov_1), (mean_2, cov_2) = _gaussian(first), _gaussian(second)
    # tr((S1 S2)^(1/2)) is the sum of the square roots of the eigenvalues of S1^(1/2) S2 S1^(1/2), which is symmetric.
    values, vectors = torch.linalg.eigh(cov_1)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    trace_of_root = torch.linalg.eigvalsh(root @ cov_2 @ root).clamp(min=0).sqrt().sum()
    # d^2 = ||m1 - m2||^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))   (Heusel et al., equation 6)
    return float((mean_1 - mean_2).square().sum() + cov_1.trace() + cov_2.trace() - 2 * trace_of_root)


def precision_recall(real: torch.Tensor, generated: torch.Tensor) -> tuple[float, float]:
    """Precision, the fraction of generated vectors within a real one's ball, and recall, the fraction of real vectors
    within a generated one's ball; features (N, d) and (M, d)."""
    return _fraction_covered(generated, real), _fraction_covered(real, generated)


def _gaussian(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (d,) and covariance (d, d), in fp64."""
    features = features.double()
    return features.mean(0), features.T.cov()


def _fraction_covered(points: torch.Tensor, centres: torch.Tensor) -> float:
    # One more than NEIGHBOURS: each centre is its own nearest neighbour.
    radius = torch.cdist(centres, centres).kthvalue(NEIGHBOURS + 1, dim=1).values
    return float((torch.cdist(points, centres) <= radius).any(1).double().mean())
