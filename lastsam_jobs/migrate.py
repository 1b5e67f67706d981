"""Bring a database to this version's tables; safe to call from every process that starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from lastsam_jobs.database import Database
from lastsam_jobs.errors import SettingsError

__all__ = ["current", "downgrade", "head", "upgrade"]

# An arbitrary constant: processes that start together on PostgreSQL migrate one after another.
_LOCK = 0x1A57_5A4D


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def head() -> str:
    """The revision this version of the program works with."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def current(database: Database) -> str | None:
    """The revision the database is at; None for an empty one."""
    with database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(database: Database, revision: str = "head") -> None:
    """Migrate up; SettingsError where a newer version of LastSAM has been at this database."""
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    at = current(database)
    if at is not None and at not in known:
        raise SettingsError(
            f"The database is at revision {at}, which this version of LastSAM does not know.",
            hint="Start the newer version that made it, or restore a backup.",
        )
    if revision == "head" and at == head():
        return
    _run(database, lambda config: command.upgrade(config, revision))


def downgrade(database: Database, revision: str) -> None:
    """Migrate down; for tests and for an operator who goes back a version."""
    _run(database, lambda config: command.downgrade(config, revision))


def _run(database: Database, work: Callable[[Config], None]) -> None:
    config = _config()
    with database._writer.connect() as connection, _without_cascades(connection), connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        config.attributes["connection"] = connection
        work(config)


@contextmanager
def _without_cascades(connection: Connection) -> Iterator[None]:
    # SQLite alters a column by making the table anew; dropping the old one would delete the rows that point at it.
    # The pragma does nothing inside a transaction, so it is set on the driver's connection, before one begins.
    if connection.dialect.name != "sqlite":
        yield
        return
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys=ON")
