"""What happens to a job is written down, in the transaction in which it happens."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lastsam_jobs.database import clock
from lastsam_jobs.ids import new_id
from lastsam_jobs.tables import Event

__all__ = ["add_event"]


def add_event(
    session: Session,
    job_id: str,
    type: str,
    message: str,
    data: dict[str, Any] | None = None,
    *,
    at: datetime | None = None,
) -> Event:
    """Append an event; its number follows the job's last one without a gap.

    The caller holds the job's row (a lock, or its fenced update), so that no other transaction takes the number.
    """
    last = session.scalar(select(func.max(Event.number)).where(Event.job_id == job_id)) or 0
    made = Event(
        job_id=job_id,
        number=last + 1,
        id=new_id("evt"),
        type=type,
        message=message[:2000],
        data=data or {},
        created_at=at or clock(session),
    )
    session.add(made)
    session.flush()
    return made
