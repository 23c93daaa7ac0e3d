"""What is looked at before any endpoint: sizes, the content's type, JSON that has one meaning."""

import json

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import Problem
from ..paths import PREFIX
from .context import problem_response

_MAX_PATH_CHARACTERS, _MAX_HEADER_BYTES, _MAX_BODY_BYTES = 500, 16 * 1024, 64 * 1024


class IntakeMiddleware:
    """Plain ASGI: reads the whole body, bounded, and hands it on if it may be handed on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await _read(Request(scope, receive))
            if body and scope["path"].startswith(PREFIX + "/"):
                _check_json(body, Headers(scope=scope).get("content-type", ""))
        except ClientDisconnect:
            return
        except Problem as problem:
            await problem_response(problem)(scope, receive, send)
            return
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_again() -> Message:
            return unread.pop() if unread else await receive()

        await self._app(scope, receive_again, send)


async def _read(request: Request) -> bytes:
    path = request.scope["path"]
    if "\0" in path or len(path) > _MAX_PATH_CHARACTERS:
        raise Problem("not-found", "No resource has such an address.")
    size = len(request.scope["query_string"])
    size += sum(len(name) + len(value) for name, value in request.scope["headers"])
    if size > _MAX_HEADER_BYTES:
        raise Problem("headers-too-large", f"All headers together: {_MAX_HEADER_BYTES} bytes.")
    declared = request.headers.get("content-length", "0")
    body = bytearray()
    if not declared.isdecimal() or int(declared[:18]) <= _MAX_BODY_BYTES:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_BODY_BYTES:
                break
        else:
            return bytes(body)
    raise Problem("payload-too-large", f"Send at most {_MAX_BODY_BYTES} bytes.")


def _check_json(body: bytes, content_type: str) -> None:
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Problem("unsupported-media-type", "Send application/json.")
    try:
        json.loads(body.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise Problem(
            "malformed-request", "Send one JSON document in UTF-8 whose names are unique."
        ) from None


def _unique(pairs: list[tuple[str, object]]) -> None:
    """Parsers differ in which of two equal names they take: none is right."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name occurs twice")
