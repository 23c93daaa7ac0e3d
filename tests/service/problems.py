"""What every error answer must be."""

import re

from system_under_test.investment.errors import PROBLEMS

MEMBERS = {"type", "title", "status", "detail", "code", "retryable"}
INTERNALS = re.compile(
    r"traceback|\.py\b|psycopg|sqlalchemy|pydantic|sqlstate|select |insert into|update .* set |"
    r"postgres|redis|127\.0\.0\.1|api_tokens|idempotency_keys",
    re.IGNORECASE,
)


def assert_problem(reply: object, *codes: str) -> None:
    """A problem document of the registry, with its status, that tells nothing of the inside."""
    assert reply.headers["Content-Type"] == "application/problem+json", reply.content
    document = reply.document
    assert document.keys() >= MEMBERS
    problem = PROBLEMS[document["code"]]
    assert not codes or problem.code in codes, document
    assert reply.status == document["status"] == problem.status
    assert document["type"] == f"urn:problem-type:investment:{problem.code}"
    assert document["retryable"] is problem.retryable
    assert not INTERNALS.search(reply.content.decode()), reply.content
