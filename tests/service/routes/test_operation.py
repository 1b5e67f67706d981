"""Alive and ready, with and without what the service leans on."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import create_engine

from tests.service.conftest import Api


def test_without_a_broker_the_service_is_degraded_but_answers(api: Api) -> None:
    assert api.get("/healthz").json() == {"status": "ok"}
    answer = api.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    checks = answer.json()["checks"]
    assert [name for name in checks if checks[name]["ok"]] == ["database", "keeper", "data", "artifacts"]
    assert checks["data"]["datasets"] == ["digits"]


def test_with_a_broker_it_is_ready_and_a_job_rings(new_api: Callable[..., Api], valkey_url: str, net: bytes) -> None:
    api = new_api(broker_url=valkey_url)
    assert api.get("/readyz").json()["status"] == "ok"
    assert api.submit(net).status_code == 202
    for _ in range(200):
        if api.get("/readyz").json()["checks"]["broker"]["waiting"] == 1:
            break
    else:
        raise AssertionError("nobody rang")


def test_without_a_database_it_is_not_ready(new_api: Callable[..., Api], postgres_url: str) -> None:
    api = new_api(database_url=postgres_url)
    assert api.get("/readyz").status_code == 200
    database = api.here.database
    # The server refuses this database from now on, as it does while it starts or stops.
    url = database.engine.url
    operator = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with operator.connect() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS false")
    operator.dispose()
    database.dispose()
    answer = api.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert answer.json()["checks"]["database"] == {"ok": False, "detail": "OperationalError"}
    jobs = api.get("/jobs")
    assert (jobs.status_code, jobs.headers["retry-after"]) == (503, "5")
    assert jobs.json()["code"] == "database_unavailable"
    assert api.get("/healthz").status_code == 200
