"""A real MLflow server on an SQLite store that takes its time for each answer.

python -m tests.faults.slow_server STORE FOLDER

It writes its address to FOLDER/address and reads from FOLDER/delay, for each answer, the seconds to wait before it.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def serve(store: Path, folder: Path) -> None:
    """Serve until the process is killed."""
    os.environ["_MLFLOW_SERVER_FILE_STORE"] = f"sqlite:///{store}"
    os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = "mlflow-artifacts:/"
    os.environ["_MLFLOW_SERVER_ARTIFACT_DESTINATION"] = str(folder / "artifacts")
    os.environ["_MLFLOW_SERVER_SERVE_ARTIFACTS"] = "true"
    from mlflow.server import app
    from werkzeug.serving import make_server

    def slow(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        time.sleep(float((folder / "delay").read_text()))
        return app(environment, start)

    server = make_server("127.0.0.1", 0, slow, threaded=True)
    part = folder / "address.part"
    part.write_text(f"http://127.0.0.1:{server.server_port}")
    part.rename(folder / "address")
    server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
