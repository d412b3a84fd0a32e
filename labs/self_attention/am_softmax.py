"""Additive margin softmax (Wang et al., arXiv:1801.05599): logits from cosines, and the loss with a margin."""

import torch
from torch import nn
from torch.nn import functional as F


class CosineLogits(nn.Module):
    """Logits s * cos(theta_j), the scaled cosines between an embedding and a learned direction for each class j.

    (B, d) -> (B, classes).

    Args:
        scale: the factor s.
    """

    def __init__(self, d: int, classes: int, scale: float) -> None:
        super().__init__()
        self.directions = nn.Parameter(nn.init.xavier_normal_(torch.empty(classes, d)))
        self.scale = scale

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        return self.scale * F.linear(F.normalize(embeddings), F.normalize(self.directions))


def am_softmax(logits: torch.Tensor, labels: torch.Tensor, margin: float, scale: float) -> torch.Tensor:
    """The mean loss over a batch; with a margin of 0 it is the cross-entropy of the logits.

    Args:
        logits: (B, classes), scaled cosines.
        labels: (B,), the true class y of each sample.
        margin: the margin m.
        scale: the factor s of the logits.
    """
    # L = -log( exp(s (cos(theta_y) - m)) / (exp(s (cos(theta_y) - m)) + sum_(j != y) exp(s cos(theta_j))) )
    return F.cross_entropy(logits - scale * margin * F.one_hot(labels, logits.shape[1]), labels)
