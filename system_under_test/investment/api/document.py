"""What FastAPI cannot see in the code, told in the OpenAPI document: keys, tokens, problems."""

from fastapi import FastAPI

from ..errors import PROBLEMS
from ..paths import PREFIX
from .answers import Problem

_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
PROBLEM_RESPONSES = {
    status: {"description": "A problem document (RFC 9457).", "content": _PROBLEM}
    for status in sorted({problem.status for problem in PROBLEMS.values()})
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:~-]{1,255}$"},
}


def document(app: FastAPI) -> None:
    """Complete the document that FastAPI made, which it serves from then on."""
    content = app.openapi()
    content["components"]["schemas"]["Problem"] = Problem.model_json_schema()
    content["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer"},
        "signature": {"type": "apiKey", "in": "header", "name": "X-Partner-Signature"},
    }
    for path, operations in content["paths"].items():
        for method, operation in operations.items():
            if not path.startswith(PREFIX):
                continue
            if "partner" in operation.get("tags", ()):
                operation["security"] = [{"signature": []}]
                continue
            operation["security"] = [{"token": []}]
            if method != "get":
                operation.setdefault("parameters", []).append(_KEY)
