"""An MLflow server as a team runs one: runs in PostgreSQL, users with passwords, files in an S3 bucket.

python -m tests.pipelines.tracking_server FOLDER

It runs what `mlflow server --app-name basic-auth` runs, and an S3 server without any bucket beside it. DATABASE in its
environment is where the runs go. It writes the addresses of both to FOLDER/addresses, once they listen.
"""

import json
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

ADMIN, PASSWORD = "admin", "tr4cking-p@ss"
BUCKET = "results"
KEYS = {"AWS_ACCESS_KEY_ID": "labs", "AWS_SECRET_ACCESS_KEY": "s3-s3cret", "AWS_DEFAULT_REGION": "us-east-1"}


class Proxy:
    """Passes on what comes for a server: at once, late, or not at all.

    Args:
        server: port of the server, on this machine.
    """

    def __init__(self, server: int) -> None:
        self.server, self.port, self.delay_s = server, 0, 0.0
        self.open: list[socket.socket] = []
        self.up()

    def up(self) -> None:
        """Listen, at the same port as before."""
        self.listening = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self._accept, args=(self.listening,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections, and end those that there are: as where the server was stopped."""
        for each in (self.listening, *self.open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self.open.clear()

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):  # it was closed
            while True:
                client = listening.accept()[0]
                server = socket.create_connection(("127.0.0.1", self.server))
                self.open += [client, server]
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, sender: socket.socket, receiver: socket.socket) -> None:
        with suppress(OSError):
            while data := sender.recv(2**16):
                time.sleep(self.delay_s)
                receiver.sendall(data)
        for end in (sender, receiver):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def serve(folder: Path) -> None:
    """Serve until the process is killed."""
    import uvicorn
    from moto.server import ThreadedMotoServer

    storage = ThreadedMotoServer("127.0.0.1", port=0)
    storage.start()
    endpoint = "http://{}:{}".format(*storage.get_host_and_port())
    (folder / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder}/auth.db\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "auth_cache_ttl_seconds = 600\n"  # to check a password takes a tenth of a second
    )
    os.environ.update(
        KEYS,
        MLFLOW_S3_ENDPOINT_URL=endpoint,
        MLFLOW_AUTH_CONFIG_PATH=f"{folder}/auth.ini",
        MLFLOW_AUTH_ADMIN_USERNAME=ADMIN,
        MLFLOW_AUTH_ADMIN_PASSWORD=PASSWORD,
        MLFLOW_FLASK_SERVER_SECRET_KEY="any",
        MLFLOW_DISABLE_TELEMETRY="true",
        _MLFLOW_SERVER_FILE_STORE=os.environ["DATABASE"],
        _MLFLOW_SERVER_ARTIFACT_ROOT="mlflow-artifacts:/",
        _MLFLOW_SERVER_ARTIFACT_DESTINATION=f"s3://{BUCKET}",
        _MLFLOW_SERVER_SERVE_ARTIFACTS="true",
        _MLFLOW_SGI_NAME="uvicorn",
    )
    from mlflow.server import auth

    app = auth.create_app()
    listening = socket.create_server(("127.0.0.1", 0))
    part = folder / "addresses.part"
    part.write_text(json.dumps([listening.getsockname()[1], endpoint]))
    part.rename(folder / "addresses")
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listening])


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
