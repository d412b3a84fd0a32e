"""Mode collapse: a generator that draws nearly the same picture whatever its noise. The losses don't show it."""

from labs.core.run import Run

COLLAPSED, PATIENCE = 0.25, 3
"""Generated pictures collapsed if they vary by less than this share of what real ones do, so often in succession."""
EARLY = 1 / 3
"""Every generator starts with pictures that are alike; this share of the training is for getting away from there."""


def watch(progress: dict[str, int], variety: float, done: float, run: Run) -> float:
    """Whether pictures are all alike, or no numbers: 1 or 0. So found several times, it ends the training.

    Args:
        progress: `collapsed` counts.
        variety: how much generated pictures vary, as a share of what real ones do.
        done: share of the training that is over, 0 to 1.
    """
    alike = done > EARLY and variety < COLLAPSED
    progress["collapsed"] = progress["collapsed"] + 1 if alike else 0
    if progress["collapsed"] == PATIENCE:
        run.stop(f"collapsed: generated pictures vary by less than {COLLAPSED:.0%} of what real ones do")
    return float(alike)
