"""The doorbell: Celery with the settings of docs/decisions/0001, carrying nothing but a job's id.

A message may be lost, doubled or reordered without harm: whoever hears one claims the next waiting job in the database.
"""

from __future__ import annotations

from celery import Celery
from kombu.entity import Queue as KombuQueue
from kombu.exceptions import OperationalError

from lastsam_jobs.settings import Settings

__all__ = ["DOORBELL", "QUEUE", "BrokerDown", "depth", "make_celery", "ring_broker"]

DOORBELL = "lastsam.doorbell"
QUEUE = "lastsam"

# What a broker that is down, frozen or restarting raises through kombu.
BrokerDown = (OperationalError, OSError)


def make_celery(settings: Settings) -> Celery:
    """The Celery app that the service rings with and the worker listens on."""
    app = Celery("lastsam", broker=settings.broker_url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        task_ignore_result=True,
        # A message is acknowledged when it is heard: what recovers a job is its lease, never a redelivery.
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        task_default_queue=QUEUE,
        task_queues=[KombuQueue(QUEUE)],
        task_publish_retry=False,
        worker_pool="prefork",
        worker_concurrency=1,
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        worker_soft_shutdown_timeout=30,
        worker_enable_soft_shutdown_on_idle=True,
        # A broker's hiccup must not kill hours of work on a GPU.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=3,
        broker_transport_options={
            "visibility_timeout": 3600,
            "socket_timeout": 5,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "retry_on_timeout": True,
            "global_keyprefix": "lastsam:",
            "max_retries": 0,
        },
    )
    return app


def ring_broker(app: Celery, job_id: str) -> None:
    """Ring once; one of BrokerDown where the broker does not take it."""
    app.send_task(DOORBELL, args=[{"job_id": job_id}], queue=QUEUE, ignore_result=True, retry=False)


def depth(app: Celery) -> int:
    """How many doorbells nobody has heard yet; one of BrokerDown where the broker does not answer."""
    with app.connection_for_write() as connection:
        try:
            channel = connection.default_channel
            return channel.queue_declare(QUEUE, durable=True, exclusive=False, auto_delete=False).message_count
        except (*connection.connection_errors, *connection.channel_errors) as error:
            # kombu translates what connecting raises, but not what the transport's own commands do.
            raise OperationalError(str(error)) from error
