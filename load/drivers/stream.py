"""The stream of records from the Locust process to the harness: one JSON object per line.

It carries whole operations with their secrets and bodies, for it ends in the harness's memory.
"""

import base64

import orjson
from pydantic import TypeAdapter

from harness.core.history import Completed
from load.job import LoadResult

_completed = TypeAdapter(Completed)
_result = TypeAdapter(LoadResult)


def operation_line(completed: Completed) -> bytes:
    """A line that carries one finished operation."""
    return orjson.dumps({"operation": completed}, default=_body_text) + b"\n"


def result_line(result: LoadResult) -> bytes:
    """The last line of a stream that is complete."""
    return orjson.dumps({"result": result}, option=orjson.OPT_NON_STR_KEYS) + b"\n"


def failure_line(error: Exception) -> bytes:
    """The last line of a stream whose job failed."""
    return orjson.dumps({"failure": str(error)}) + b"\n"


def read_line(line: bytes) -> Completed | LoadResult | str:
    """What a line carries; raises `ValueError` when it is none of ours."""
    data = orjson.loads(line)
    match data:
        case {"operation": {"body": str(body), **rest}}:
            return _completed.validate_python({**rest, "body": base64.b64decode(body)})
        case {"result": value}:
            return _result.validate_python(value)
        case {"failure": str(text)}:
            return text
    raise ValueError(f"unknown line: {line[:80]!r}")


def _body_text(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(type(value).__name__)
