"""Relational distillation (Park et al., arXiv:1904.05068): the student's embeddings of a batch of images lie to each
other as the teacher's do. Their lengths and numbers of channels may differ."""

import torch
from torch.nn import functional as F


def relational_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """L_RKD-D + 2 L_RKD-A, the distance-wise and the angle-wise loss in the ratio of the paper's experiments.

    Embeddings (B, channels of each). l_delta is the Huber loss, here a mean over all pairs and over all triples.
    """
    # L_RKD-D = sum_(i,j) l_delta(psi_D(t_i, t_j), psi_D(s_i, s_j))   (eq. 5)
    distance_wise = F.smooth_l1_loss(distances(student), distances(teacher))
    # L_RKD-A = sum_(i,j,k) l_delta(psi_A(t_i, t_j, t_k), psi_A(s_i, s_j, s_k))   (eq. 8)
    return distance_wise + 2 * F.smooth_l1_loss(angles(student), angles(teacher))


def distances(x: torch.Tensor) -> torch.Tensor:
    """(B, d) -> (B, B): psi_D(x_i, x_j) = ||x_i - x_j|| / mu, with mu the mean distance of two embeddings (eq. 3)."""
    apart = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    return apart / (apart.sum() / (len(x) * (len(x) - 1)))


def angles(x: torch.Tensor) -> torch.Tensor:
    """(B, d) -> (B, B, B), at [j, i, k]: psi_A(x_i, x_j, x_k), the cosine of the angle at x_j (eq. 6)."""
    directions = F.normalize(x[None] - x[:, None], dim=2)  # at [j, i], e^ij = (x_i - x_j) / ||x_i - x_j||
    cosines: torch.Tensor = directions @ directions.mT
    return cosines
