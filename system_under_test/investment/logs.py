"""Structured logs: one JSON object a line on stdout, with the trace id and without secrets."""

import json
import logging
import re
import sys
from datetime import UTC, datetime

from . import tracing

_logger = logging.getLogger("investment")

_HIDDEN = "[redacted]"
# What is a secret wherever it stands: a bearer token, a password in an address or in a DSN.
_PATTERNS = (
    re.compile(r"(?i)(\bbearer\s+)[^\s\"'\\,]+"),
    re.compile(r"(://[^\s:/@\"]*:)[^\s/@\"]+(?=@)"),
    # The row that PostgreSQL refused, to the end of its line.
    re.compile(r"(DETAIL:)(?:[^\\\n\"]|\\[^n])*"),
    re.compile(r"(?i)(\b(?:password|api_key|callback_secret|token)\W{1,8})[^\s\"'\\,}]{8,}"),
)
_hidden: set[str] = set()


def hide(*secrets: str) -> None:
    """Keep these values out of every line that this process logs from now on."""
    for secret in filter(None, secrets):
        _hidden.update((secret, json.dumps(secret)[1:-1]))  # the second as a line holds it


def redact(line: str) -> str:
    """The line without what is known to be secret, and without what looks like it."""
    for secret in sorted(_hidden, key=len, reverse=True):
        line = line.replace(secret, _HIDDEN)
    for pattern in _PATTERNS:
        line = pattern.sub(rf"\1{_HIDDEN}", line)
    return line


class _JsonFormatter(logging.Formatter):
    def __init__(self, process_name: str) -> None:
        super().__init__()
        self._process_name = process_name

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process_name,
            "pid": record.process,
            "event": record.getMessage(),
        }
        if trace_id := tracing.trace_id():
            line["trace_id"] = trace_id
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return redact(json.dumps(line, default=str))


def configure(process_name: str, level: str) -> None:
    """Send every log record of this process to stdout as JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_JsonFormatter(process_name))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for chatty in ("alembic", "urllib3", "kombu", "amqp", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def info(event: str, **fields: object) -> None:
    _logger.info(event, extra={"fields": fields})


def warning(event: str, **fields: object) -> None:
    _logger.warning(event, extra={"fields": fields})


def exception(event: str, error: BaseException, **fields: object) -> None:
    """Log an exception with its traceback."""
    _logger.error(event, exc_info=error, extra={"fields": fields})
