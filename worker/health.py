"""`python -m worker.health`: exit status 0 when this worker can reach its database and its broker; a container asks.

The worker's own process is watched by the container's engine; what this adds is whether it could do any work.
"""

from __future__ import annotations

import sys

from sqlalchemy.exc import SQLAlchemyError

from lastsam_jobs.database import Database, clock
from lastsam_jobs.queue import BrokerDown, depth, make_celery
from lastsam_jobs.settings import Settings

__all__ = ["main"]


def main() -> int:
    """0 or 1; says what does not answer on stderr."""
    settings = Settings.load()
    assert settings.database_url is not None
    try:
        database = Database(settings.database_url)
        with database.read() as session:
            clock(session)
        depth(make_celery(settings))
    except (*BrokerDown, SQLAlchemyError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
