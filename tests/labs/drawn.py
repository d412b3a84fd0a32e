"""What figures show: a figure without data is as large a file as one with data."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle


@contextmanager
def noted(file: Path) -> Iterator[None]:
    """While entered, each figure that is saved is noted in a JSON file: its name -> the panels that show nothing."""
    empty: dict[str, list[str]] = {}
    save = Figure.savefig

    def noting(figure: Figure, name: Path, **options: Any) -> None:
        empty[Path(name).name] = [f"panel {n}" for n, axes in enumerate(figure.axes) if not shows_data(axes)]
        save(figure, name, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", noting)
        yield
    file.write_text(json.dumps(empty))


def shows_data(axes: Axes) -> bool:
    """Whether there is a line or point with finite coordinates, a bar with a length, or a picture of two colours."""
    return (
        axes.get_label() == "<colorbar>"
        or any(np.isfinite(np.asarray(line.get_xydata(), float)).all(1).any() for line in axes.lines)
        or any(np.isfinite(np.asarray(part.get_offsets(), float)).all(1).any() for part in axes.collections)
        or any(np.ptp(image.get_array()) > 0 for image in axes.images)
        or any(bar.get_height() and bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle))
    )
