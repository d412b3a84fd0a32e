"""The served model of a lab, as MLflow's models-from-code: this file is the model, the weights are safetensors.

MLflow runs this file when it loads the model; nothing is unpickled.
"""

import json
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel, PythonModelContext


class LabModel(PythonModel):  # type: ignore[misc]
    """Loads the run's folder with the lab's `load` and predicts with the lab's `predict`."""

    def load_context(self, context: PythonModelContext) -> None:
        folder = Path(context.artifacts["run"])
        sys.path.insert(0, str(folder / "labs.zip"))  # the code that the model was trained with, installed or not
        import labs

        self.lab = labs.get(json.loads((folder / "record.json").read_text())["lab"])
        self.model = self.lab.load(folder)

    def predict(self, context: PythonModelContext, model_input: np.ndarray, params: Any = None) -> np.ndarray:
        return self.lab.predict(self.model, np.asarray(model_input))


mlflow.models.set_model(LabModel())
