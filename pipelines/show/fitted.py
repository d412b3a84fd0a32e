"""A table that fits the screen: it leaves out whole columns and breaks lines between words, or a name
wider than the screen within it, but cuts no value."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.table import Table

UNLIMITED = 10_000
GAP = 2
"""Blank characters between two columns."""


@dataclass(frozen=True)
class FittedTable:
    """Rows of texts, drawn for the width that the screen has at that moment."""

    rows: Sequence[Mapping[str, str]]
    columns: Mapping[str, str]
    """Key of the rows -> heading."""
    title: str = ""
    drop: Sequence[str] = ()
    """Keys of the columns that a screen too narrow for every word may lose, the first one first."""
    right: Sequence[str] = ()
    """Keys of the columns that are aligned to the right."""
    whole: Sequence[str] = ()
    """Keys of the columns whose lines are broken nowhere, not even between words."""
    rules: bool = True
    """Whether a line stands below the headings."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        sizes = self.kept(console, options)
        widths = {key: size.maximum for key, size in sizes.items()}
        # The widest column that still has words to break is made narrower, until the table fits; where none has, the
        # widest one of texts, which is a name's: its words are folded, and the numbers beside it stay whole.
        while self._width(list(widths.values())) > options.max_width and max(widths.values()) > 1:
            breakable = [key for key in widths if widths[key] > sizes[key].minimum]
            breakable = (
                breakable or [key for key in widths if key not in self.right and widths[key] > 1] or list(widths)
            )
            widths[max(breakable, key=widths.__getitem__)] -= 1
        yield self._table(widths)

    def kept(self, console: Console, options: ConsoleOptions) -> dict[str, Measurement]:
        """Width of each column that is not dropped: at least that of its longest word, at most of its longest line."""
        sizes = {key: self._size(console, key) for key in self.columns}
        for key in self.drop:
            if self._width([size.minimum for size in sizes.values()]) <= options.max_width:
                break
            sizes.pop(key, None)
        return sizes

    def _size(self, console: Console, key: str) -> Measurement:
        options = console.options.update(width=UNLIMITED)
        texts = [self.columns[key], *(row[key] for row in self.rows)]
        found = [Measurement.get(console, options, text) for text in texts]
        most = max(size.maximum for size in found)
        return Measurement(most if key in self.whole else max(size.minimum for size in found), most)

    def _width(self, widths: list[int]) -> int:
        return sum(widths) + GAP * (len(widths) - 1)

    def _table(self, widths: Mapping[str, int]) -> Table:
        head = box.SIMPLE_HEAD if self.rules else None
        gap = GAP - 1 if self.rules else GAP  # a box with rules puts a blank between columns itself
        title = f"\n{self.title}" if self.title else None
        table = Table(
            title=title, title_justify="left", box=head, show_edge=False, pad_edge=False, padding=(0, gap, 0, 0)
        )
        for key, width in widths.items():
            right = key in self.right
            table.add_column(self.columns[key], justify="right" if right else "left", width=width, overflow="fold")
        for row in self.rows:
            table.add_row(*(row[key] for key in widths))
        return table
