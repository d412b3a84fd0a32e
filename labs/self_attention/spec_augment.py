"""SpecAugment (Park et al., arXiv:1904.08779): hide a stretch of time and a band of frequencies of a spectrogram."""

import torch


def spec_augment(frames: torch.Tensor, lengths: torch.Tensor, time_mask: int, frequency_mask: int) -> torch.Tensor:
    """Replace some frames and some mel bands of each utterance by the utterance's mean; one mask of each kind.

    The paper's third augmentation, time warping, is left out: there it made the least difference.

    Args:
        frames: (B, T, mels), padded with zeros.
        lengths: (B,) real frames.
        time_mask: longest mask in frames, T in the paper.
        frequency_mask: widest mask in mel bands, F in the paper.
    """
    total, mels = frames.shape[1:]
    hidden_frames = _spans(lengths, time_mask, total)
    hidden_bands = _spans(torch.full_like(lengths, mels), frequency_mask, mels)
    mean = frames.sum((1, 2)) / (lengths * mels)
    return torch.where(hidden_frames[:, :, None] | hidden_bands[:, None], mean[:, None, None], frames)


def _spans(sizes: torch.Tensor, longest: int, total: int) -> torch.Tensor:
    """(B, total): True in a span at random among each row's first `sizes` (B,), drawn on the CPU for every device."""
    # t ~ U{0, ..., T};  t_0 ~ U{0, ..., tau - t};  positions t_0 to t_0 + t - 1 are hidden
    widths, starts = torch.rand(2, len(sizes)).to(sizes.device)
    width = (widths * (longest + 1)).long().minimum(sizes)
    start = (starts * (sizes - width + 1)).long()
    position = torch.arange(total, device=sizes.device)
    inside: torch.Tensor = (position >= start[:, None]) & (position < (start + width)[:, None])
    return inside
