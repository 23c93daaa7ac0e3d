"""Problem documents (RFC 9457): what happened, and whether the same key may be retried."""

from dataclasses import dataclass, field

_TYPE_PREFIX = "urn:problem-type:investment:"


@dataclass(frozen=True)
class ProblemType:
    code: str
    status: int
    title: str
    retryable: bool


_REGISTRY = (
    ProblemType("unauthenticated", 401, "A valid bearer token is needed.", False),
    ProblemType("forbidden", 403, "This token may not do that.", False),
    ProblemType("not-found", 404, "There is no such resource.", False),
    ProblemType("method-not-allowed", 405, "This resource does not support the method.", False),
    ProblemType("idempotency-key-missing", 400, "An Idempotency-Key header is needed.", False),
    ProblemType("idempotency-key-malformed", 400, "The Idempotency-Key is malformed.", False),
    ProblemType("malformed-request", 400, "The request could not be read.", False),
    ProblemType("payload-too-large", 413, "The body is too large.", False),
    ProblemType("unsupported-media-type", 415, "The body must be application/json.", False),
    ProblemType("headers-too-large", 431, "The headers are too large.", False),
    ProblemType("idempotency-key-reused", 422, "The key was used with another payload.", False),
    ProblemType("request-in-progress", 409, "A request with this key is being processed.", True),
    ProblemType("validation-failed", 422, "The request is not valid.", False),
    ProblemType("currency-mismatch", 422, "The wallet has another currency.", False),
    ProblemType("insufficient-funds", 422, "The wallet does not hold enough.", False),
    ProblemType("wallet-full", 422, "The wallet cannot hold that much.", False),
    ProblemType("user-exists", 409, "The user exists already.", False),
    ProblemType("deposit-exists", 409, "A deposit with this reference exists already.", False),
    ProblemType("already-accepted", 409, "The investment was already accepted.", False),
    ProblemType("not-executable", 409, "The investment cannot be executed any more.", False),
    ProblemType("not-cancellable", 409, "The investment cannot be cancelled any more.", False),
    ProblemType("wallet-closed", 409, "The wallet is closed.", False),
    ProblemType("wallet-not-empty", 409, "The wallet is not empty.", False),
    ProblemType("dividend-exists", 409, "The dividend was already distributed.", False),
    ProblemType("no-holders", 422, "Nobody holds the instrument.", False),
    ProblemType("feature-disabled", 403, "The feature is switched off for this user.", True),
    ProblemType("version-conflict", 409, "Somebody else changed it meanwhile.", False),
    ProblemType("canary-conflict", 409, "The canary is in another state.", False),
    ProblemType("rate-limited", 429, "The limit of accepted requests is reached.", True),
    ProblemType("outcome-unknown", 503, "It is unknown whether the request took effect.", True),
    ProblemType("unavailable", 503, "The service cannot answer now.", True),
    ProblemType("undecryptable", 500, "A sealed value does not open.", False),
    ProblemType("internal-error", 500, "The service failed; the outcome is unknown.", True),
)
PROBLEMS = {problem.code: problem for problem in _REGISTRY}


@dataclass(eq=False)  # not frozen: Python itself sets __traceback__ on exceptions
class Problem(Exception):  # noqa: N818 - the RFC's own word
    """An error answer. Raised, it rolls the transaction back and nothing is stored."""

    code: str
    detail: str
    extensions: dict[str, object] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        return PROBLEMS[self.code].status

    def document(self) -> dict[str, object]:
        problem = PROBLEMS[self.code]
        return {
            "type": _TYPE_PREFIX + problem.code,
            "title": problem.title,
            "status": problem.status,
            "detail": self.detail,
            "code": problem.code,
            "retryable": problem.retryable,
            **self.extensions,
        }


def retry_later(code: str, detail: str, *, after_s: int = 1) -> Problem:
    return Problem(code, detail, headers={"Retry-After": str(after_s)})
