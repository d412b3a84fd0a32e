"""The URI of an MLflow store: whether MLflow can open it at all, and which store it is."""

import re
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cluster.uri import DATABASES, USER, kind_of, without_password
from labs.core.errors import BadInput, choices

SERVERS = ("http", "https")
EXAMPLES = "http://host:5000, sqlite:////folder/mlflow.db or postgresql://user@host/database"
PACKAGES = {"psycopg2": "psycopg2-binary", "psycopg": "'psycopg[binary]'", "MySQLdb": "mysqlclient"}
"""Module of a database's driver -> its distribution, where the names differ."""


def check(uri: str) -> None:
    """`BadInput` for a URI that MLflow can never open; whether the store answers is another question."""
    kind = kind_of(uri)
    if kind == "databricks":
        return
    if kind == "file" or ("://" not in uri and not re.match(r"[\w.-]+:", uri)):
        raise BadInput(
            f"MLflow store {uri}: MLflow keeps no runs in a plain folder; sqlite:///{_database_file(uri)} keeps them "
            "in a file there"
        )
    if kind in SERVERS:
        return _check_server(uri)
    if kind in DATABASES:
        return _check_database(uri)
    plugins = [point.name for point in metadata.entry_points(group="mlflow.tracking_store")]
    if kind not in plugins:
        known = choices([*SERVERS, *DATABASES, *plugins], kind)
        raise BadInput(f"MLflow store {without_password(uri)} must be a URI such as {EXAMPLES}: {known}")
    return None


def place(uri: str) -> str:
    """The store itself: the same whoever writes to it."""
    return USER.sub("", uri)


def sqlite_file(uri: str) -> Path | None:
    """The file of an SQLite store; None for any other store."""
    found = re.match(r"sqlite(?:\+\w+)?:///([^:?][^?]*)", uri)
    return Path(found[1]) if found else None


def _database_file(uri: str) -> Path:
    """Where an SQLite file would stand in place of a folder."""
    path = Path(unquote(urlsplit(uri).path) or ".").absolute()
    return path if path.suffix else path / "mlflow.db"


def _check_server(uri: str) -> None:
    try:
        parts = urlsplit(uri)
        found = parts.hostname and (parts.port is None or parts.port)
    except ValueError:  # a port that is no number
        found = None
    if not found:
        raise BadInput(f"MLflow store {without_password(uri)}: expected a host and a port, as in http://host:5000")


def _check_database(uri: str) -> None:
    """The driver is there, and an SQLite store has a file."""
    if file := sqlite_file(uri):  # its driver comes with Python, and SQLAlchemy takes half a second to import
        if not file.parent.is_dir():
            raise BadInput(f"MLflow store {uri}: folder {file.parent} does not exist: make it, or correct the path")
        return
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    shown = without_password(uri)
    try:
        make_url(uri).get_dialect().import_dbapi()
    except ImportError as error:
        package = PACKAGES.get(error.name or "", error.name)
        raise BadInput(f"MLflow store {shown} needs the Python package {error.name}: pip install {package}") from None
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise BadInput(f"MLflow store {shown} must be a URI such as {EXAMPLES}") from None
    if uri.startswith("sqlite"):
        raise BadInput(f"MLflow store {shown} must name a file: sqlite:////folder/mlflow.db")
