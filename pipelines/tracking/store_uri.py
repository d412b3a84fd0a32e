"""The URI of an MLflow store: whether MLflow can open it at all, and how it is shown without its secrets."""

import re
from importlib import metadata
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from labs.core.errors import BadInput, choices

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
SERVERS = ("http", "https")
EXAMPLES = "http://host:5000, sqlite:////folder/mlflow.db or postgresql://user@host/database"
PACKAGES = {"psycopg2": "psycopg2-binary", "psycopg": "'psycopg[binary]'", "MySQLdb": "mysqlclient"}
"""Module of a database's driver -> its distribution, where the names differ."""
USER = re.compile(r"(?<=://)(?!/).*@")
"""User and password, or a token, up to the last @: a password may hold any other sign, quoted or not."""


def kind_of(uri: str) -> str:
    """The scheme without a database's driver: `postgresql` of postgresql+psycopg2://host/database."""
    return uri.partition(":")[0].partition("+")[0]


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
    known = [*SERVERS, *DATABASES, *(point.name for point in metadata.entry_points(group="mlflow.tracking_store"))]
    if kind not in known:
        raise BadInput(f"MLflow store {without_password(uri)} must be a URI such as {EXAMPLES}: {choices(known, kind)}")
    if kind in SERVERS:
        _check_server(uri)
    if kind in DATABASES:
        _check_database(uri)


def is_database(uri: str) -> bool:
    """Whether this process is to open a database itself, and not to ask a server."""
    return kind_of(uri) in DATABASES


def place(uri: str) -> str:
    """The store itself: the same whoever writes to it."""
    return USER.sub("", uri)


def sqlite_file(uri: str) -> Path | None:
    """The file of an SQLite store; None for any other store."""
    found = re.match(r"sqlite(?:\+\w+)?:///([^:?][^?]*)", uri)
    return Path(found[1]) if found else None


def without_password(uri: str) -> str:
    """A URI that may be shown: no password, no token in place of a user, no value of a query string."""
    secret = _secret(uri)
    shown = uri.replace(f"{secret}@", "***@", 1) if secret else uri
    address, mark, query = shown.partition("?")
    return address + mark + re.sub(r"=[^&]*", "=***", query)


def without_secrets(text: str, uri: str) -> str:
    """A text, such as an error's, without what `without_password` hides."""
    secret = _secret(uri)
    values = [value for _, value in parse_qsl(uri.partition("?")[2])]
    text = text.replace(uri, without_password(uri))
    for hidden in {secret, unquote(secret), *values} - {""}:
        text = re.sub(rf"(?<!\w){re.escape(hidden)}(?!\w)", "***", text)
    return text


def _secret(uri: str) -> str:
    """The password; to a server, a name without a password may be a token."""
    found = USER.search(uri)
    user, colon, password = found[0][:-1].partition(":") if found else ("", "", "")
    return password if colon or is_database(uri) else user


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
    if sqlite_file(uri):  # its driver comes with Python, and SQLAlchemy takes half a second to import
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
