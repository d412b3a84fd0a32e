"""What goes into the store of a run: events, files, data set, model, the version of the code, the environment."""

import getpass
import json
import os
import platform
import shutil
import zipfile
from functools import cache
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from labs.core import events
from pipelines import checkout
from pipelines.fingerprint import ROOT
from pipelines.home import RECORD, RESULT, read_record, result
from pipelines.torch_lock import TORCH_LOCK

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, LoggedModel, Run

SERVED = ("torch", "torchvision", "numpy", "pydantic", "pyarrow", "safetensors", "filelock", "scikit-learn", "ray",
          "transformers", "tokenizers")  # fmt: skip
"""Distributions that a served model may import."""
CODE = "labs.zip"
"""The package `labs` beside a served model's weights; `model.py` imports it from there."""


def final_events(folder: Path) -> list[dict[str, Any]]:
    """The events that a continued run will not write again: all of a run that has ended, else up to a checkpoint."""
    written = events.read(folder)
    if result(folder) or (folder / "trials").exists():  # a sweep's events are of trials that have ended
        return written
    saved = max((int(path.name.split("-")[1]) for path in (folder / "checkpoints").glob("step-*")), default=0)
    return [event for event in written if event["step"] <= saved]


def dataset(record: dict[str, Any]) -> "DatasetInput":
    """The run's data as MLflow records them: where they came from, digest, counts."""
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = record["data"]
    source = CodeDatasetSource({"mlflow.source.type": data["origin"], "mlflow.source.name": data["source"]})
    entity = Dataset(
        name=f"{record['lab']} ({data['origin']})",
        digest=data["digest"][:36],
        source_type=source._get_source_type(),
        source=source.to_json(),
        profile=json.dumps(data["splits"]),
    )
    return DatasetInput(entity, [InputTag("mlflow.data.context", "training")])


@cache
def code_version() -> dict[str, str]:
    """Tags with the commit, whether the tree differs from it, and the versions that matter."""
    tags = {
        "labs.version": metadata.version("ml-labs") if _installed("ml-labs") else "source",
        "labs.python": platform.python_version(),
        **{f"labs.{name}": metadata.version(name) for name in ("torch", "ray", "mlflow")},
        "mlflow.source.name": "labs",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
    }
    if found := checkout.head():
        tags["mlflow.source.git.commit"] = found.commit
        tags["labs.git.dirty"] = str(found.dirty)
    return tags


def write_environment(folder: Path) -> None:
    """`environment.txt`: every installed distribution with its version, as pip would pin it."""
    events.write_text(folder / "environment.txt", _environment())


@cache
def _environment() -> str:
    pins = sorted({f"{dist.metadata['Name']}=={dist.version}" for dist in metadata.distributions()}, key=str.lower)
    return "\n".join([f"# Python {platform.python_version()}", *pins, ""])


def artifacts(folder: Path) -> list[Path]:
    """The files of a run or a pipeline that go into the store."""
    single = ["config.json", RECORD, RESULT, "environment.txt", "spec.yaml", "best.yaml", "error.txt"]
    below = [path for name in ("figures", "deliver", "files") for path in sorted((folder / name).rglob("*"))]
    return [path for path in [*(folder / name for name in single), *below] if path.is_file()]


def predicted(folder: Path) -> "tuple[np.ndarray, np.ndarray] | None":
    """An input of a run's trained model and what it predicts; None while a bare run trains in this process.

    Loading a model draws random numbers for weights that are then replaced: a bare run would miss those numbers.
    """
    import labs

    if not TORCH_LOCK.acquire(blocking=False):
        return None
    try:
        record = read_record(folder)
        lab = labs.get(record["lab"])
        model = lab.load(folder)
        inputs = getattr(model, "example", lab.example)(Path(record["data"]["packed"]))
        return inputs, lab.predict(model, inputs)
    finally:
        TORCH_LOCK.release()


def model_of(client: "MlflowClient", run: "Run") -> "LoggedModel | None":
    """The run's model in the store, if there is one."""
    models = run.outputs.model_outputs
    return client.get_logged_model(models[0].model_id) if models else None


def has_whole_model(client: "MlflowClient", run: "Run") -> bool:
    """Whether the run's model is there with its files, which are written last and may have been refused."""
    from mlflow.entities.logged_model_status import LoggedModelStatus

    model = model_of(client, run)
    return model is not None and model.status == LoggedModelStatus.READY


def log_model(
    client: "MlflowClient", folder: Path, run: "Run", example: "np.ndarray", predictions: "np.ndarray"
) -> None:
    """Log the trained model to its run: code and safetensors, with signature and input, loadable without pickle.

    `mlflow.pyfunc.log_model` would load the model once more and run it, only to check what is known here.

    Args:
        client: of the store.
        folder: the run's folder.
        run: the run; an earlier attempt may have begun its model.
        example: inputs of the model; the first of them is kept.
        predictions: what it predicts for them.
    """
    from mlflow import pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, infer_signature

    run_id = run.info.run_id
    if (model := model_of(client, run)) is None:
        name = read_record(folder)["name"]
        model = client.create_logged_model(run.info.experiment_id, name, run_id, params=run.data.params)
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    with TemporaryDirectory(prefix="labs-") as temporary:
        pyfunc.save_model(
            Path(temporary, "model"),
            mlflow_model=Model(artifact_path=model.artifact_location, run_id=run_id, model_id=model.model_id),
            python_model=str(Path(__file__).with_name("model.py")),
            artifacts={"run": str(_served(folder, Path(temporary, "served")))},
            signature=infer_signature(example, predictions),
            input_example=example[:1],
            pip_requirements=[f"{name}=={metadata.version(name)}" for name in SERVED],
        )
        client.log_model_artifacts(model.model_id, str(Path(temporary, "model")))
    client.finalize_logged_model(model.model_id, "READY")


def _served(folder: Path, served: Path) -> Path:
    """What a served model loads. The code is one file, as a server takes each file in a request of its own."""
    served.mkdir()
    for name in ("config.json", "shape.json", "weights.safetensors", "record.json"):
        if (folder / name).exists():
            shutil.copy(folder / name, served)
    with zipfile.ZipFile(served / CODE, "w", zipfile.ZIP_DEFLATED) as code:
        for file in sorted((ROOT / "labs").rglob("*.py")):
            code.write(file, file.relative_to(ROOT))
    return served


def _user() -> str:
    """Name of the user; in a container its number may have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
