"""Focal loss (Lin et al., arXiv:1708.02002) for class probabilities as targets."""

import torch


def focal_loss(logits: torch.Tensor, targets: torch.Tensor, gamma: float, label_smoothing: float) -> torch.Tensor:
    """Cross-entropy in which a class counts less, the more probability it already has; the mean over the batch.

    torchvision's `sigmoid_focal_loss` is for independent classes. Here the classes exclude each other, and the targets
    may be a mixture of them, as mixup and label smoothing make them.

    Args:
        logits: (B, classes).
        targets: (B, classes) class probabilities.
        gamma: focusing parameter; 0 gives the cross-entropy.
        label_smoothing: fraction of the target probability that is spread evenly over all classes.
    """
    log_p = logits.log_softmax(1)
    # t = (1 - eps) y + eps / classes
    smoothed = targets * (1 - label_smoothing) + label_smoothing / targets.shape[1]
    # FL = -sum_c t_c (1 - p_c)^gamma log p_c   (Lin et al., eq. 4, for soft targets)
    return -(log_p * (smoothed * (1 - log_p.exp()) ** gamma)).sum() / len(logits)
