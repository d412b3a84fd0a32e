"""The best model of each lab in MLflow's registry: `labs-cnn` with the alias `best`.

Which run is a lab's best one, `best_run.py` says. In a store that several homes write to, the best one of all of them
that was trained on the same data keeps the alias.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import labs
from pipelines.best_run import BestRun, best_runs, rows
from pipelines.home import result

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

ALIAS = "best"
DIGEST, ROWS, VALUE = "labs.data.digest", "labs.data.rows", "labs.value"
"""Tags of a version: digest and rows of the data that it was trained on, and its validation metric."""


def update(client: "MlflowClient", home: Path, run_id: Callable[[Path], str | None]) -> None:
    """Let the alias point to the model of each lab's best run, as far as the store has that model.

    Args:
        client: of the store.
        home: the home folder.
        run_id: id of the store's run that mirrors a folder; None where there is none.
    """
    known = {model.name: model for model in client.search_registered_models("name LIKE 'labs-%'")}
    for lab, best in best_runs(home).items():
        name, mirrored = f"labs-{lab}", run_id(best.folder)
        models = client.get_run(mirrored).outputs.model_outputs if mirrored else []
        if not models:
            continue
        if name not in known:
            client.create_registered_model(name, description=_about(lab))
        now = known[name].aliases.get(ALIAS) if name in known else None
        if now is None or not _is_as_good(client.get_model_version(name, now), mirrored, best):
            client.set_registered_model_alias(name, ALIAS, _version(client, name, mirrored, models[0].model_id, best))


def _is_as_good(version: "ModelVersion", run_id: str | None, best: BestRun) -> bool:
    """Whether the best version so far keeps the alias: it is of the same run, of larger data, or not worse."""
    if version.run_id == run_id or int(version.tags[ROWS]) > rows(best):
        return True
    metric = labs.heading(best.record["lab"]).metric
    same_data = version.tags[DIGEST] == best.record["data"]["digest"]
    return same_data and not metric.better(best.value, float(version.tags[VALUE]))


def _version(client: "MlflowClient", name: str, run_id: str | None, model_id: str, best: BestRun) -> str:
    """The version of the run's model, which is made where there is none yet."""
    for version in client.search_model_versions(f"run_id = '{run_id}'"):
        if version.name == name:
            return str(version.version)
    tags = {DIGEST: best.record["data"]["digest"], ROWS: str(rows(best)), VALUE: repr(best.value)}
    source, about = f"models:/{model_id}", _about_run(best)
    made = client.create_model_version(name, source, run_id, tags, description=about, model_id=model_id)
    return str(made.version)


def _about(lab: str) -> str:
    heading = labs.heading(lab)
    return (
        f"Homework {heading.number}: {heading.title}. The alias `{ALIAS}` is the run with the best val/"
        f"{heading.metric.name} on the largest data; `labs predict {lab} INPUT...` tries it."
    )


def _about_run(best: BestRun) -> str:
    """Metrics, config and data of a version in a few lines of Markdown."""
    record, metric = best.record, labs.heading(best.record["lab"]).metric.name
    tested = {name: value for name, value in result(best.folder)["metrics"].items() if name.startswith("test/")}
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in {f"val/{metric}": best.value, **tested}.items())
    data = record["data"]
    return "\n".join([
        f"- {metrics}",
        f"- preset {record['preset']}, size {record['size']}, seed {record['seed']}",
        f"- data: {data['origin']}, {rows(best)} rows, digest {data['digest']}",
        f"- run folder {best.folder.name}",
    ])  # fmt: skip
