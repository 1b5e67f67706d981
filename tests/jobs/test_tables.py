from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from lastsam_jobs import repository
from lastsam_jobs.database import Database, clock
from lastsam_jobs.tables import Base, Event, Job
from tests.jobs.conftest import add_job


def test_no_column_holds_a_path_or_a_secret() -> None:
    names = {column.name for table in Base.metadata.tables.values() for column in table.columns}
    assert not [name for name in names if "path" in name or "secret" in name or name in {"password", "token"}]


def test_a_lease_is_never_null() -> None:
    assert not Job.__table__.c.lease_until.nullable


def test_rows_of_a_job_go_with_it(database: Database, new_job: Callable[..., str]) -> None:
    id = new_job()
    with database.write() as session:
        session.execute(delete(Job).where(Job.id == id))
    with database.read() as session:
        assert session.scalars(select(Event)).all() == []


def test_a_job_of_no_checkpoint_is_refused_by_the_database(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as session:
        made = add_job(session)
        session.flush()
        made.checkpoint_id = "ckpt_none"


def test_an_event_number_is_given_once(database: Database, new_job: Callable[..., str]) -> None:
    id = new_job()
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(
            insert(Event).values(
                job_id=id, number=1, id="evt_x", type="x", message="x", data={}, created_at=clock(session)
            )
        )


def test_json_comes_back_as_it_went_in(database: Database, new_job: Callable[..., str]) -> None:
    meta = {"größe": [1, 2.5, None, True, {"tief": "ja"}]}
    id = new_job(meta=meta, tags=["a", "ä"])
    with database.read() as session:
        found = repository.job(session, id)
        assert found.meta == meta
        assert found.tags == ["a", "ä"]
        assert found.result is None
