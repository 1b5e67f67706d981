from __future__ import annotations

import threading

import pytest
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Integer, inspect, text

from lastsam_jobs import migrate, repository
from lastsam_jobs.database import Database
from lastsam_jobs.errors import SettingsError
from lastsam_jobs.tables import Base
from tests.jobs.conftest import add_job


@pytest.fixture
def empty(empty_database_url: str):
    opened = Database(empty_database_url)
    yield opened
    opened.dispose()


def _tables(database: Database) -> set[str]:
    return set(inspect(database.engine).get_table_names()) - {"alembic_version"}


def test_up_down_and_up_again(empty: Database) -> None:
    assert migrate.current(empty) is None
    migrate.upgrade(empty)
    assert migrate.current(empty) == migrate.head()
    assert _tables(empty) == set(Base.metadata.tables)
    migrate.downgrade(empty, "base")
    assert _tables(empty) == set()
    assert migrate.current(empty) is None
    migrate.upgrade(empty)
    assert _tables(empty) == set(Base.metadata.tables)


def test_the_migrations_make_exactly_the_tables_that_the_code_declares(empty: Database) -> None:
    migrate.upgrade(empty)
    with empty.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_upgrading_again_changes_nothing(empty: Database) -> None:
    migrate.upgrade(empty)
    with empty.write() as session:
        id = add_job(session).id
    migrate.upgrade(empty)
    with empty.read() as session:
        assert repository.job(session, id).status == "queued"


def test_processes_that_start_together_migrate_once(empty_database_url: str) -> None:
    errors: list[BaseException] = []

    def start() -> None:
        database = Database(empty_database_url)
        try:
            migrate.upgrade(database)
        except BaseException as error:
            errors.append(error)
        finally:
            database.dispose()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    database = Database(empty_database_url)
    assert migrate.current(database) == migrate.head()
    database.dispose()


def test_a_database_of_a_newer_version_is_left_alone(empty: Database) -> None:
    migrate.upgrade(empty)
    with empty.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SettingsError, match="9999"):
        migrate.upgrade(empty)


def test_a_failed_migration_leaves_the_database_as_it_was(empty: Database) -> None:
    def fail(_: object) -> None:
        migrate.command.upgrade(_, "head")  # pyright: ignore[reportArgumentType]
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        migrate._run(empty, fail)
    assert _tables(empty) == set()


def test_rebuilding_a_table_keeps_the_rows_that_point_at_it(database: Database) -> None:
    # SQLite can only alter a column by making the table anew, and dropping the old one deletes what refers to it.
    with database.write() as session:
        id = add_job(session).id

    def rebuild(config: object) -> None:
        context = MigrationContext.configure(config.attributes["connection"])  # pyright: ignore[reportAttributeAccessIssue]
        with Operations.context(context), op.batch_alter_table("jobs", recreate="auto") as batch:
            batch.alter_column("priority", existing_type=Integer(), server_default="0")

    migrate._run(database, rebuild)
    with database.read() as session:
        assert [event.type for event in repository.events(session, id)] == ["job.created"]
    with database.read() as session:
        if database.engine.dialect.name == "sqlite":
            assert session.scalar(text("PRAGMA foreign_keys")) == 1
