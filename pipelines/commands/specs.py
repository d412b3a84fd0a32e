"""Pipeline specs that come with the program, taken by name: `labs pipeline plan ladder`."""

from pathlib import Path

from labs.core.errors import BadInput, choices

SPECS = Path(__file__).parents[1] / "specs"


def packaged_specs() -> list[str]:
    """Names of the specs that come with the program."""
    return sorted(path.stem for path in SPECS.glob("*.yaml"))


def find_spec(spec: Path | None) -> Path:
    """The file of a spec that a user named: a path, or else the bare name of one that comes with the program.

    Raises:
        BadInput: neither is there; the message lists the names.
    """
    named = str(spec or "course")
    if spec is not None and spec.exists():
        return spec
    if named in packaged_specs():
        return SPECS / f"{named}.yaml"
    near = choices(packaged_specs(), named)
    raise BadInput(f"pipeline spec {spec} does not exist, and no spec of the program has that name: {near}")
