"""Operations, attempts and their outcomes: what clients did and what they were told."""

from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """What a client may conclude: it happened, it did not, or nobody can tell yet."""

    OK = "ok"
    FAIL = "fail"
    INFO = "info"


# A refusal that promises no effect. Everything that is neither here nor 2xx is unknown.
_DEFINITE_REFUSALS = frozenset({400, 401, 403, 404, 405, 406, 410, 413, 415, 422})


def classify(status: int | None, *, retryable: bool | None = None) -> Outcome:
    """The one total function from a reply to an outcome.

    `status` is the HTTP status, or None when no complete reply arrived (refused, reset, timed out,
    unparsable). `retryable` is what the service itself says of a 409: a conflict that may be
    retried is work in progress and tells nothing; one that may not is a refusal. Source: the
    IETF draft on idempotency keys (409 is both), Jepsen's rule to call nothing failed that may
    have happened.
    """
    if status is None:
        return Outcome.INFO
    if 200 <= status < 300:
        return Outcome.OK
    if status in _DEFINITE_REFUSALS:
        return Outcome.FAIL
    if status == 409 and retryable is False:
        return Outcome.FAIL
    return Outcome.INFO


@dataclass(frozen=True)
class Operation:
    """What one client wants: everything about it follows from the seed and its number.

    `kind` is a word of the target's clients (`execute-investment`); `params` holds what the
    request needs and earlier replies gave (ids). `secret` is the bearer token and `user_secret`
    the one that the user has or is to have; both are used by senders and never written to the
    journal.
    """

    id: str
    kind: str
    number: int
    user: str
    key: str
    trace: str
    amount_minor: int = 0
    currency: str = ""
    params: dict[str, str] = field(default_factory=dict)
    secret: str = field(default="", repr=False)
    user_secret: str = field(default="", repr=False)


@dataclass(frozen=True)
class Request:
    """One HTTP request, complete but for the address: the sender knows where `entry` is."""

    method: str
    path: str
    entry: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Reply:
    """What came back: a status with body, or `error` when no complete reply arrived."""

    status: int | None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: str = ""


@dataclass(frozen=True)
class Reading:
    """What the target's client makes of a reply.

    `again` asks for another attempt with the same key (unknown outcome, work in progress, a job
    not yet done); `learned` are ids for later operations; `subject` is the id of the business
    row that the operation is about.
    """

    outcome: Outcome
    again: bool = False
    subject: str = ""
    learned: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Attempt:
    """One exchange with the service. Times are nanoseconds of the monotonic clock."""

    operation: str
    number: int
    entry: str
    sent_ns: int
    done_ns: int
    status: int | None
    outcome: Outcome
    error: str = ""
    body_sha256: str = ""
    replayed: bool = False
    location: str = ""


@dataclass(frozen=True)
class Completed:
    """An operation with all its attempts and what became of it."""

    operation: Operation
    outcome: Outcome
    attempts: tuple[Attempt, ...]
    reading: Reading
    body: bytes = b""

    @property
    def sent_ns(self) -> int:
        """When the first attempt was sent."""
        return self.attempts[0].sent_ns

    @property
    def done_ns(self) -> int:
        """When the last attempt ended."""
        return self.attempts[-1].done_ns


def overall(outcomes: list[Outcome]) -> Outcome:
    """Ok if one attempt was, fail if all were definite refusals, else unknown."""
    if Outcome.OK in outcomes:
        return Outcome.OK
    if outcomes and all(outcome is Outcome.FAIL for outcome in outcomes):
        return Outcome.FAIL
    return Outcome.INFO
