"""From frames to one vector for an utterance, (B, T, d) and mask (B, T), True at real frames, -> (B, d); from there to
logits."""

import torch
from torch import nn
from torch.nn import functional as F


class MeanPooling(nn.Module):
    """The mean over the real frames."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)


class AttentivePooling(nn.Module):
    """A mean weighted by what a small network thinks of each frame (Safari et al., arXiv:2008.01077): frames of noise
    need not count."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        # Without a bias at the end: what all scores share is lost in the softmax.
        self.score = nn.Sequential(nn.Linear(d_model, d_model), nn.Tanh(), nn.Linear(d_model, 1, bias=False))

    def weights(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T); each row sums to 1 over its real frames, 0 elsewhere."""
        scores: torch.Tensor = self.score(x)[:, :, 0]
        return scores.masked_fill(~mask, -torch.inf).softmax(1)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return (self.weights(x, mask)[:, None] @ x)[:, 0]


class Cosines(nn.Module):
    """`scale` times the cosines between what comes in, (B, d), and a direction for each class -> (B, classes)."""

    def __init__(self, d: int, classes: int, scale: float) -> None:
        super().__init__()
        self.directions = nn.Parameter(nn.init.xavier_normal_(torch.empty(classes, d)))
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * F.linear(F.normalize(x), F.normalize(self.directions))
