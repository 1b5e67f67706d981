from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery

from lastsam_jobs.queue import DOORBELL, QUEUE, BrokerDown, depth, make_celery, ring_broker
from lastsam_jobs.settings import Settings

# Measured on Celery 5.7: docs/decisions/0001-database-truth.md says what each of them prevents.
MEASURED = {
    "task_serializer": "json",
    "accept_content": ["json"],
    "result_backend": None,
    "task_ignore_result": True,
    "task_acks_late": False,
    "task_reject_on_worker_lost": False,
    "worker_pool": "prefork",
    "worker_concurrency": 1,
    "worker_disable_prefetch": True,
    "worker_prefetch_multiplier": 1,
    "worker_soft_shutdown_timeout": 30,
    "worker_enable_soft_shutdown_on_idle": True,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "task_publish_retry": False,
}
TRANSPORT = {
    "visibility_timeout": 3600,
    "socket_timeout": 5,
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "health_check_interval": 25,
    "retry_on_timeout": True,
    "global_keyprefix": "lastsam:",
}


@contextmanager
def _closing(app: Celery) -> Iterator[Celery]:
    yield app
    app.close()


@pytest.fixture
def app(settings_factory: Callable[..., Settings], valkey_url: str) -> Iterator[Celery]:
    with _closing(make_celery(settings_factory(broker_url=valkey_url))) as made:
        yield made


def test_the_settings_are_the_measured_ones(settings_factory: Callable[..., Settings]) -> None:
    app = make_celery(settings_factory())
    assert {name: app.conf[name] for name in MEASURED} == MEASURED
    options = app.conf["broker_transport_options"]
    assert {name: options[name] for name in TRANSPORT} == TRANSPORT


def test_no_app_becomes_the_current_one_by_being_made(settings_factory: Callable[..., Settings]) -> None:
    from celery import current_app

    assert current_app.main != make_celery(settings_factory()).main


def test_a_doorbell_carries_an_id_and_nothing_else(app: Celery, valkey_server: Any) -> None:
    assert depth(app) == 0
    ring_broker(app, "job_1")
    ring_broker(app, "job_2")
    assert depth(app) == 2
    with app.connection_for_read() as connection, connection.SimpleQueue(QUEUE) as queue:
        message = queue.get(timeout=5)
        message.ack()
    assert message.headers["task"] == DOORBELL
    assert message.payload[0] == [{"job_id": "job_1"}]
    assert depth(app) == 1
    client = valkey_server.client()
    assert all(key.startswith(b"lastsam:") for key in client.keys())  # noqa: SIM118 - a Redis command
    client.close()


def test_asking_for_the_depth_takes_nothing_away(app: Celery) -> None:
    ring_broker(app, "job_1")
    assert [depth(app) for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("url", ["redis+socket:///tmp/lastsam-nobody.sock", "redis://127.0.0.1:1/0"])
def test_a_broker_that_is_down_says_so_at_once(settings_factory: Callable[..., Settings], url: str) -> None:
    with _closing(make_celery(settings_factory(broker_url=url))) as app:
        started = time.monotonic()
        with pytest.raises(BrokerDown):
            ring_broker(app, "job_1")
        with pytest.raises(BrokerDown):
            depth(app)
        assert time.monotonic() - started < 3


@pytest.fixture
def cutting_broker(valkey_server: Any) -> Iterator[str]:
    """The URL of a broker whose connection is cut when it is asked how long a queue is."""
    import socket
    import threading

    listener = socket.create_server(("127.0.0.1", 0))

    def relay(client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(str(valkey_server.unix_socket_path))
            while sent := client.recv(65536):
                if b"LLEN" in sent.upper():
                    return
                server.sendall(sent)
                client.sendall(server.recv(65536))

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=relay, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
    listener.close()


def test_a_broker_that_dies_between_question_and_answer_is_a_broker_that_is_down(
    settings_factory: Callable[..., Settings], cutting_broker: str
) -> None:
    with _closing(make_celery(settings_factory(broker_url=cutting_broker))) as app, pytest.raises(BrokerDown):
        depth(app)
