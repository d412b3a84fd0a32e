"""What `labs list` and `labs show` say of a lab: presets, cost, data, config fields, and the lesson's own words."""

import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labs.core.heading import SIZES, Heading

if TYPE_CHECKING:
    from labs.core.lab import Lab


def about(heading: Heading) -> dict[str, Any]:
    """A lab as `labs list --json` prints it; the lab is not imported."""
    metric = heading.metric
    judged = {"name": metric.name, "goal": metric.goal, "thresholds": dict(metric.thresholds)}
    named = {"name": heading.name, "number": heading.number, "title": heading.title, "metric": judged}
    return {**named, "presets": list(heading.presets), "sizes": list(SIZES)}


def document(lab: "Lab", home: Path) -> dict[str, Any]:
    """A lab as `labs show --json` prints it."""
    scale = [lab.scale(preset, size) for preset in lab.presets for size in lab.sizes]
    small = lab.resolve(next(iter(lab.presets)), "small").model_dump(mode="json")
    fields = {
        name: {
            "small": small[name],
            "default": info.get_default(call_default_factory=True),
            "description": " ".join((info.description or "").split()),
        }
        for name, info in lab.config.model_fields.items()
    }
    return {
        **about(lab.heading),
        "differences": differences(lab),
        "scale": [{**row, "seconds": lab.seconds.get(row["size"])} for row in scale],
        "data": data_rows(lab, home),
        "fields": fields,
    }


def differences(lab: "Lab", size: str = "small") -> dict[str, dict[str, Any]]:
    """Preset -> the fields that it sets otherwise than the first preset, at one size; none for the first one."""
    configs = {preset: lab.resolve(preset, size).model_dump(mode="json") for preset in lab.presets}
    first = next(iter(configs.values()))
    return {
        preset: {name: value for name, value in config.items() if value != first[name]}
        for preset, config in configs.items()
    }


def data_rows(lab: "Lab", home: Path) -> list[dict[str, Any]]:
    """Size, samples of each split and bytes of a lab's generated data; empty for a lab without a data set.

    Data that the home folder has were counted when they were packed. Of others the bytes are not known, and the samples
    only where the lab's data module declares them (`COUNTS`: size -> split -> samples).
    """
    from labs.core import shards
    from pipelines import datasets

    rows = []
    for size in lab.sizes if lab.data else ():
        place = datasets.location(home, lab, size, None)
        made = (place / shards.MANIFEST).exists()
        samples = shards.manifest(place)["splits"] if made else _declared(lab, size)
        size_in_bytes = sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) if made else None
        rows.append({"size": size, "made": made, "samples": samples, "bytes": size_in_bytes})
    return rows


def _declared(lab: "Lab", size: str) -> dict[str, int] | None:
    counts = getattr(lab.data, "COUNTS", {}).get(size)
    return dict(counts._asdict() if hasattr(counts, "_asdict") else counts) if counts else None


def words(lab: "Lab", width: int) -> str:
    """The lesson's docstring, its paragraphs wrapped to the width of the screen."""
    return reflow(inspect.getdoc(sys.modules[lab.train.__module__]) or "", width)


def reflow(text: str, width: int) -> str:
    """Wrap the paragraphs of a docstring anew where a line is too long; headings and lists keep their indentation."""
    if max(map(len, text.splitlines()), default=0) <= width:
        return text
    wrapped = []
    for paragraph in _paragraphs(text):
        first, *others = paragraph
        item = re.match(r"\s+\S.*?\s{2,}", first)  # an item of a list: its name, a gap, what it is
        indent = " " * (item.end() if item else len(first) - len(first.lstrip()))
        whole = " ".join([first.rstrip(), *(line.strip() for line in others)])
        wrapped += textwrap.wrap(whole, width, subsequent_indent=indent, break_on_hyphens=False) or [""]
    return "\n".join(wrapped)


def _paragraphs(text: str) -> Iterator[list[str]]:
    """Lines that belong together: a heading, an item of a list, or a plain paragraph."""
    paragraph: list[str] = []
    for line in text.splitlines():
        continues = line.startswith(" ") and not re.match(r" {4}\S.*?\S {2,}\S", line)
        if paragraph and not (continues and paragraph[-1].startswith(" ")):
            yield paragraph
            paragraph = []
        paragraph.append(line)
    if paragraph:
        yield paragraph
