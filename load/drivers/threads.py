"""Threads as clients: no start-up cost, for small loads and for rounds that start together."""

import threading

from harness.core.target import Clients
from load.job import LoadJob, LoadResult
from load.session import Record, Session


def run_threads(
    job: LoadJob, clients: Clients, record: Record, *, stop: threading.Event | None = None
) -> LoadResult:
    """Run a load with one thread per client.

    `record` is called once per operation, from any of the threads, also for those that were sent
    but not finished when time was over or `stop` was set. Raises `HarnessError` when a client
    fails; a journey that cannot go on is no failure but is in the result's `stopped`.
    """
    session = Session(job, clients, record)
    for client in range(session.width):
        name = f"client-{client}"
        threading.Thread(target=session.run_client, args=(client,), name=name, daemon=True).start()
    return session.supervise(stop.is_set if stop else lambda: False)
