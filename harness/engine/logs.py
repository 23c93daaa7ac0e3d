"""Copies the stack's logs into the run directory, with secrets taken out and a bound on size."""

import re
from pathlib import Path

from harness.core.stack import Stack

_BYTES_MAX = 2_000_000
# Every bearer token of ours begins so; see harness.core.seeds.
_TOKEN = re.compile(r"sp_[0-9a-f]{16,}")


def redact(text: str, secrets: list[str]) -> str:
    """The text without bearer tokens and without the given secrets."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[redacted]")
    return _TOKEN.sub("[redacted]", text)


def copy_logs(stack: Stack, destination: Path) -> None:
    """Write each log, redacted; of a long one its end, and a line that says so."""
    destination.mkdir(exist_ok=True)
    secrets = list(stack.secrets.values())
    for name in stack.log_names():
        text = redact(stack.log(name)[0], secrets)
        if len(text) > _BYTES_MAX:
            text = f"[the last {_BYTES_MAX} of {len(text)} characters]\n{text[-_BYTES_MAX:]}"
        (destination / f"{name}.log").write_text(text, "utf-8")
