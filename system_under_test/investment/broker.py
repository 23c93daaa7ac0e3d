"""The queue: Celery on Redis carries job ids, nothing else, and may lose or repeat them."""

from celery import Celery
from celery.app.amqp import AMQP
from kombu import Connection, Queue
from kombu.exceptions import OperationalError
from redis import RedisError

from .settings import Settings

QUEUE = "investment-execution"
TASK = "investment.run_job"
PUBLISH_ERRORS = (OperationalError, RedisError)


class _PatientConnection(Connection):
    """Reconnects soon and for ever; kombu's own pauses grow to 30 s."""

    def ensure_connection(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        pauses = {"interval_start": 0.1, "interval_step": 0.2, "interval_max": 1.0}
        return super().ensure_connection(*args, **(pauses | kwargs))


class _Amqp(AMQP):
    Connection = _PatientConnection


def make_celery(settings: Settings) -> Celery:
    app = Celery("investment", broker=settings.redis_url, amqp=_Amqp, set_as_current=True)
    app.conf.update(
        task_queues=[Queue(QUEUE, routing_key=QUEUE)],
        task_default_queue=QUEUE,
        task_create_missing_queues=False,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        result_backend=None,
        # A killed child gives its message back; retries are the job row's business.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_publish_retry=False,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_proc_alive_timeout=30,
        worker_concurrency=settings.worker_children,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=1,
        broker_pool_limit=settings.relay_threads,
        broker_transport_options={
            "visibility_timeout": settings.visibility_timeout_s,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "socket_connect_timeout": 1,
            "socket_timeout": 5,
            "health_check_interval": 5,
        },
    )
    return app
