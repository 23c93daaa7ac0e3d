"""Performing one operation: attempts with the same key until its outcome is known, or enough."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Protocol

from harness.core import clock
from harness.core.history import (
    Attempt,
    Completed,
    Operation,
    Outcome,
    Reading,
    Reply,
    Request,
    overall,
)
from harness.core.seeds import Seed
from harness.core.target import Clients
from harness.core.waits import Deadline

_READS = frozenset({"GET", "HEAD"})
_TIMEOUT_MIN_SECONDS = 0.05
_ERROR_CHARACTERS_MAX = 200


class Send(Protocol):
    """Sends one request and returns what came back; names of headers are in lower case."""

    def __call__(self, request: Request, *, timeout_seconds: float) -> Reply:
        """One exchange, never repeated: without a complete reply, one with an error."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one operation: its time, that of an attempt, its writes, and the pauses."""

    operation_seconds: float = 30.0
    attempt_seconds: float = 10.0
    write_attempts: int = 12
    first_pause_ms: int = 20
    pause_max_ms: int = 250

    def pause_seconds(self, operation: Operation, attempt: int) -> float:
        """How long to wait after an attempt: doubled each time, capped, spread by the id."""
        pause_ms = min(self.pause_max_ms, self.first_pause_ms << min(attempt, 16))
        spread = int(Seed(0, operation.id, attempt).hex(4), 16) / 0xFFFF
        return pause_ms * (0.5 + spread / 2) / 1000


def perform(
    operation: Operation,
    clients: Clients,
    send: Send,
    *,
    limits: Limits | None = None,
    stop: Event | None = None,
    observe: Callable[[Operation, Attempt], None] | None = None,
) -> Completed:
    """Send an operation, again and again while the target's client asks for it.

    A write is repeated within the limits, and every attempt is kept: ok if one was, fail if all
    were definite refusals, else info. A read (GET) has no effect, so what it was told last is its
    outcome; it is repeated until its time is over, and only its first and last attempt are kept:
    `number` counts all of them, so the gap is the number of those left out. `stop` ends the
    repetition; the attempt in flight still ends by its own timeout. `observe` is told of every
    attempt.
    """
    limits, stop = limits or Limits(), stop or Event()
    deadline = Deadline(limits.operation_seconds)
    attempts: list[Attempt] = []
    while True:
        number = attempts[-1].number + 1 if attempts else 0
        request = clients.request(operation, number)
        left_seconds = max(_TIMEOUT_MIN_SECONDS, deadline.remaining_seconds)
        sent_ns = clock.monotonic_ns()
        reply = send(request, timeout_seconds=min(limits.attempt_seconds, left_seconds))
        done_ns = clock.monotonic_ns()
        reading = clients.read(operation, reply)
        attempt = _attempt(operation, number, request, reply, reading, sent_ns, done_ns)
        if observe:
            observe(operation, attempt)
        is_read = request.method in _READS
        if is_read and len(attempts) == 2:
            attempts.pop()
        attempts.append(attempt)
        if not reading.again or (not is_read and number + 1 >= limits.write_attempts):
            break
        pause_seconds = limits.pause_seconds(operation, number)
        if pause_seconds >= deadline.remaining_seconds or stop.wait(pause_seconds):
            break
    return Completed(
        operation, _outcome(attempts, reading, is_read), tuple(attempts), reading, reply.body
    )


def _attempt(
    operation: Operation,
    number: int,
    request: Request,
    reply: Reply,
    reading: Reading,
    sent_ns: int,
    done_ns: int,
) -> Attempt:
    unfinished = reading.again and reading.outcome is Outcome.OK
    return Attempt(
        operation=operation.id,
        number=number,
        entry=request.entry,
        sent_ns=sent_ns,
        done_ns=done_ns,
        status=reply.status,
        outcome=Outcome.INFO if unfinished else reading.outcome,
        error=reply.error[:_ERROR_CHARACTERS_MAX],
        body_sha256=hashlib.sha256(reply.body).hexdigest() if reply.body else "",
        replayed=reply.headers.get("idempotent-replayed", "").lower() == "true",
        location=reply.headers.get("location", ""),
    )


def _outcome(attempts: list[Attempt], last: Reading, is_read: bool) -> Outcome:
    if is_read:
        return Outcome.INFO if last.again else attempts[-1].outcome
    return overall([attempt.outcome for attempt in attempts])
