"""`labs predict`: a trained model on a person's own pictures, tables and sentences."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labs.core.errors import BadInput
from pipelines.commands.options import ABOUT, Home, Json, LabName, print_json, print_table, writable

if TYPE_CHECKING:
    from labs.core.demo import Demo, Row


def add_to(app: typer.Typer) -> None:
    """Add the command to the program's."""
    app.command(rich_help_panel=ABOUT)(predict)


def predict(
    lab: LabName,
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="What to predict for: pictures, CSV tables, sentences in quotes, ..., by the lab.", metavar="INPUT"
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(help="best-LAB, or a run: its MLflow id, its folder or name, or a beginning. Default: best-LAB."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for pictures that the model draws.")] = Path(),
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show what a trained model predicts for your own pictures, tables or sentences."""
    import labs
    from pipelines.home import find_home
    from pipelines.show.display import number, rows_table, say

    heading = labs.heading(lab)
    folder, value = _find(find_home(home), lab, model)
    say(f"{lab}: run {folder.name}" + (f" with val/{heading.metric.name} {number(value)}" if value is not None else ""))
    found, demo = labs.get(lab), _demo(lab)
    from labs.core.demo import Trained
    from pipelines.datasets import packed_data

    data_dir = packed_data(folder)
    loaded = found.load(folder)
    trained = Trained(lambda batch: found.predict(loaded, batch), folder, data_dir)
    try:
        predictions = demo.rows(trained, inputs)
    except BadInput as error:
        raise BadInput(f"{error} (lab {lab} takes {demo.takes})") from None
    rows = [_with_files(row, place, lab, out) for place, row in enumerate(predictions, 1)]
    if as_json:
        return print_json({"lab": lab, "run": folder.name, "value": value, "predictions": rows})
    print_table(rows_table(rows, {name: name for name in rows[0]}))


def _demo(lab: str) -> "Demo":
    import labs

    demo = labs.get(lab).demo
    if demo is None:
        raise BadInput(
            f"lab {lab} takes no input of yours: `labs deliver {lab} --run RUN --out DIR` shows what a run has learnt"
        )
    return demo


def _find(home: Path, lab: str, model: str | None) -> tuple[Path, float | None]:
    """Folder of the run and its validation metric."""
    import labs
    from pipelines.best_run import best_run
    from pipelines.home import result
    from pipelines.show.find import find_run

    if model not in (None, f"best-{lab}"):
        folder = find_run(home, lab, model)
        return folder, labs.heading(lab).metric.validated(result(folder)["metrics"])
    best = best_run(home, lab)
    if best is None:
        _demo(lab)  # without one, no run would help
        raise BadInput(f"no finished run of lab {lab} in {home}: `labs train {lab}` makes one")
    return best.folder, best.value


def _with_files(row: "Row", number: int, lab: str, out: Path) -> "Row":
    """The row with the names of files in place of its pictures, which are written."""
    import numpy as np
    from PIL import Image

    shown: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, np.ndarray):
            writable(out, "--out")
            shown[name] = str(out / f"{lab}-{name}-{number}.png")
            Image.fromarray(value).save(shown[name])
        else:
            shown[name] = value
    return shown
