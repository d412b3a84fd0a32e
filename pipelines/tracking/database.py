"""Opens an MLflow store that is a database: sees that it answers, and makes the tables where they are missing."""

import os
import re
import time
from pathlib import Path

from cluster.uri import kind_of
from pipelines.home import locked
from pipelines.tracking.moved_store import bring_home
from pipelines.tracking.store_uri import sqlite_file

REACH_S = 5
"""Seconds that a store has to answer when it is opened."""
CONNECT_ARGS = {"mysql": {"connect_timeout": REACH_S}, "mssql": {"timeout": REACH_S}}
"""The same for drivers of databases; PostgreSQL's reads PGCONNECT_TIMEOUT."""
RETRY_AFTER_S = (1.0, 2.0, 4.0)
SAME_ROW = re.compile("IntegrityError|UniqueViolation|UNIQUE constraint|Duplicate|duplicate key|already exists")
"""How databases say that another process has just written the same."""


def open_database(home: Path, uri: str, artifacts: str) -> None:
    """Tables and MLflow's own first experiment, whose files must not go into the current folder's `mlruns`.

    Two processes that make the tables at once break them. Those of an SQLite file are kept apart by a lock beside the
    file, those of one home by a lock in it; of several homes that open one fresh server, the slower ones try again.

    Args:
        home: the home folder.
        uri: the database.
        artifacts: where the files of that experiment go.

    Raises:
        Exception: the database does not answer, or refuses; MLflow and drivers have many classes.
    """
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        with locked(Path(f"{file}.lock"), "creating the MLflow store"):
            _make_sqlite(file, artifacts)
    elif file is not None:
        if has_tables(uri):
            bring_home(file.resolve())
    else:
        with locked(home / "mlflow.lock", "creating the MLflow store"):
            _make_tables(uri, artifacts)


def _make_sqlite(file: Path, artifacts: str) -> None:
    """Make a fresh SQLite store whole or not at all: MLflow can't go on with tables that a kill left half made."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    if file.exists():  # another process has made it meanwhile
        return
    part = file.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)
    SqlAlchemyStore(f"sqlite:///{part}", artifacts).engine.dispose()
    os.replace(part, file)


def has_tables(uri: str) -> bool:
    """Whether MLflow's tables are there.

    This connects once: MLflow would try ten times, for 101 s, what is refused or not answered.
    """
    import sqlalchemy

    arguments = CONNECT_ARGS.get(kind_of(uri), {})
    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool, connect_args=arguments)
    return sqlalchemy.inspect(engine).has_table("alembic_version")


def _make_tables(uri: str, artifacts: str) -> None:
    """Make what is missing; where another home does so in the same moment, look again until it is there."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy.exc import SQLAlchemyError

    for wait in RETRY_AFTER_S:
        try:
            SqlAlchemyStore(uri, artifacts)
            return
        except (MlflowException, SQLAlchemyError) as error:
            if not SAME_ROW.search(str(error)):
                raise
        time.sleep(wait)
    SqlAlchemyStore(uri, artifacts)
