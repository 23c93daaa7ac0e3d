"""The relay publishes the outbox: at least once, one row a transaction.

PostgreSQL's NOTIFY wakes it; a slow poll makes it independent of notifications.
"""

import threading
import time

import psycopg
from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import SQLAlchemyError

from . import broker, db, logs, tracing
from .settings import Settings

_NEXT = text("""
SELECT seq, id, job_id, traceparent FROM outbox WHERE status = 'pending'
ORDER BY seq LIMIT 1 FOR UPDATE SKIP LOCKED""")
_MARK = text("""
UPDATE outbox SET status = 'published', publishes = publishes + 1,
    published_at = clock_timestamp() WHERE seq = :seq""")
_IS_PUBLISHED = text("SELECT true FROM outbox WHERE seq = :seq AND status = 'published'")

_FAILURES = (SQLAlchemyError, db.CommitOutcomeUnknown, OSError, *broker.PUBLISH_ERRORS)


class Relay:
    """Several publishers, so that one hanging reply does not stop the others."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine = db.make_engine(settings, pool_size=settings.relay_threads)
        self._celery = broker.make_celery(settings)
        self._wake = threading.Semaphore(settings.relay_threads)

    def run(self) -> None:
        for number in range(self._settings.relay_threads):
            threading.Thread(target=self._publish_forever, name=f"publisher-{number}").start()
        while True:
            try:
                self._listen()
            except psycopg.Error as error:
                logs.warning("outbox_listen_lost", error=type(error).__name__)
                self._wake.release()
                time.sleep(self._settings.relay_poll_ms / 1000)

    def _listen(self) -> None:
        arguments, dsn = db.connect_arguments(self._settings), db.plain_dsn(self._settings)
        with psycopg.connect(dsn, autocommit=True, **arguments) as connection:
            connection.execute("LISTEN outbox")
            poll_s = self._settings.relay_poll_ms / 1000
            while True:
                for _ in connection.notifies(timeout=poll_s, stop_after=1):
                    pass
                self._wake.release()

    def _publish_forever(self) -> None:
        pause_s = 0.0
        while True:
            self._wake.acquire()
            try:
                while self.publish_one():
                    pass
                pause_s = 0.0
            except _FAILURES as error:
                logs.warning("relay_interrupted", error=type(error).__name__)
                pause_s = min(1.0, pause_s + 0.1)
                time.sleep(pause_s)

    def publish_one(self) -> bool:
        """Publish the oldest free row and mark it; False when there is none."""
        row: Row | None = None

        def work(connection: Connection) -> bool:
            nonlocal row
            row = connection.execute(_NEXT).one_or_none()
            if row is None:
                return False
            with tracing.traced(row.traceparent):
                self._publish(row)
                connection.execute(_MARK, {"seq": row.seq})
            return True

        def find(connection: Connection) -> bool | None:
            if row is None:
                return False
            with tracing.traced(row.traceparent):
                return connection.execute(_IS_PUBLISHED, {"seq": row.seq}).scalar_one_or_none()

        try:
            return db.run_with_read_back(self._engine, work, read_back=find, step="relay")
        except db.NotCommitted:
            return True  # still pending: it is published once more, under the same id

    def _publish(self, row: Row) -> None:
        headers = {"traceparent": row.traceparent} if row.traceparent else {}
        try:
            self._celery.send_task(
                broker.TASK,
                args=[str(row.job_id)],
                task_id=str(row.id),
                queue=broker.QUEUE,
                headers=headers,
                retry=False,
            )
        except broker.PUBLISH_ERRORS as error:
            # Published or not, nobody can tell: the row stays pending and is published again.
            logs.warning("publish_failed", job_id=row.job_id, error=type(error).__name__)
            raise
