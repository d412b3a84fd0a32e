"""Mode collapse: the generator's pictures are nearly the same whatever the noise. The losses do not show it."""

from labs.core.run import Run

MIN_VARIETY = 0.25
"""Below this variety, a fraction of the real pictures', generated pictures count as collapsed."""
PATIENCE = 3
"""Validations in succession that have to find a collapse before the training ends."""
WARMUP = 1 / 3
"""Fraction of the training in which a collapse is ignored: every generator begins with pictures that are alike."""


def detect_collapse(progress: dict[str, int], variety: float, done: float, run: Run) -> float:
    """1.0 if the generated pictures have collapsed, else 0.0; ends the training after `PATIENCE` collapses in a row.

    Args:
        progress: its entry `collapsed`, the collapses in a row, is updated.
        variety: how much generated pictures vary, as a fraction of how much real ones do.
        done: fraction of the training that is over, 0 to 1.
    """
    collapsed = done > WARMUP and variety < MIN_VARIETY
    progress["collapsed"] = progress["collapsed"] + 1 if collapsed else 0
    if progress["collapsed"] == PATIENCE:
        run.stop(f"collapsed: generated pictures vary by less than {MIN_VARIETY:.0%} of what real ones do")
    return float(collapsed)
