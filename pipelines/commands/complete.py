"""What the shell completes: names of labs, presets, sizes and specs, from the table of contents alone."""

from collections.abc import Iterable
from pathlib import Path

import typer

import labs
from labs.core.heading import SIZES
from pipelines.commands.specs import packaged_specs


def lab_names(incomplete: str) -> list[tuple[str, str]]:
    """Labs, each with its title."""
    return [(name, heading.title) for name, heading in labs.COURSE.items() if name.startswith(incomplete)]


def preset_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Presets of the lab that is already typed; of all labs where none is."""
    typed = [ctx.params.get("lab"), *ctx.args]  # in `args` where the option that is completed has no value yet
    known = [labs.COURSE[word] for word in typed if word in labs.COURSE] or labs.COURSE.values()
    return _starting(dict.fromkeys(preset for heading in known for preset in heading.presets), incomplete)


def size_names(incomplete: str) -> list[str]:
    """tiny, small and course."""
    return _starting(SIZES, incomplete)


def spec_names(incomplete: str) -> list[str]:
    """Specs that come with the program, YAML files and the folders on the way to them."""
    folder = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    found = sorted(path for path in folder.glob("*") if not path.name.startswith("."))
    files = [str(path) for path in found if path.suffix == ".yaml"]
    folders = [f"{path}/" for path in found if path.is_dir()]
    return _starting([*packaged_specs(), *files, *folders], incomplete)


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
