"""The look of all figures: readable sizes, colours that colour-blind people can tell apart, legends beside the data."""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.rcsetup import cycler
from matplotlib.ticker import LogFormatter, MaxNLocator

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours of Okabe & Ito (Color Universal Design, 2008), without yellow, which is too light for a line."""
CHINESE = [
    name
    for name in ("Noto Sans CJK TC", "Noto Sans CJK JP", "Microsoft JhengHei", "PingFang TC", "WenQuanYi Zen Hei")
    if name in fontManager.get_font_names()
]
"""Installed fonts with Chinese characters, of which matplotlib includes none."""

styled = rc_context(
    {
        "axes.prop_cycle": cycler(color=COLOURS),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 11,
        "figure.constrained_layout.use": True,
        "font.family": ["sans-serif", *CHINESE],
        "font.size": 11,
        "legend.fontsize": 10,
        "legend.frameon": False,
        "lines.linewidth": 2,
        "lines.markersize": 5,
        "savefig.bbox": "tight",
        "savefig.dpi": 100,
    }
)
"""Decorator of a function that draws a figure: in the shared style."""


@styled
def save(figure: Figure, file: Path) -> None:
    """Write a figure, whose ticks are drawn only now, as a PNG file; its parent folder is made if missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


def legend_beside(axes: Axes, title: str | None = None) -> None:
    """A legend on the right of the axes, where it covers no data."""
    axes.legend(title=title, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, alignment="left")


def logarithmic(axes: Axes) -> None:
    """A logarithmic y axis with plain numbers at its ticks, also where it covers less than a power of ten."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(_PlainNumbers())
    axes.yaxis.set_minor_formatter(_PlainNumbers(minor_thresholds=(2, 0.4)))


class _PlainNumbers(LogFormatter):
    """Labels where matplotlib has them, but 0.5 for 5e-01."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def whole_numbers(axes: Axes) -> None:
    """Ticks of the x axis at whole numbers only, as for epochs."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
