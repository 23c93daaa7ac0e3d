"""Copies the stack's logs into the run directory: without secrets, without paths, bounded."""

import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from harness.core.stack import Stack
from harness.core.target import Target

_BYTES_MAX = 2_000_000
# Every bearer token of ours begins so; see harness.core.seeds.
_TOKEN = re.compile(r"sp_[0-9a-f]{16,}")


def redact(text: str, replacements: Mapping[str, str]) -> str:
    """The text without bearer tokens and with every key of `replacements` replaced, long ones
    first, so that a folder inside another keeps its own name."""
    for found in sorted(replacements, key=len, reverse=True):
        if found:
            text = text.replace(found, replacements[found])
    return _TOKEN.sub("[redacted]", text)


def machine_paths(target: Target) -> dict[str, str]:
    """Where this machine keeps things is nobody's business, and differs on the next one."""
    return {
        sys.prefix: "[venv]",
        sys.base_prefix: "[python]",
        str(target.spec.folder): "[target]",
        str(Path(__file__).parents[2]): "[stormproof]",
        str(Path.home()): "[home]",
        tempfile.gettempdir(): "[tmp]",
    }


def copy_logs(stack: Stack, destination: Path) -> None:
    """Write each log, redacted; of a long one its end, and a line that says so."""
    destination.mkdir(exist_ok=True)
    replacements = dict.fromkeys(stack.secrets.values(), "[redacted]")
    replacements |= machine_paths(stack.target)
    for name in stack.log_names():
        text = redact(stack.log(name)[0], replacements)
        if len(text) > _BYTES_MAX:
            text = f"[the last {_BYTES_MAX} of {len(text)} characters]\n{text[-_BYTES_MAX:]}"
        (destination / f"{name}.log").write_text(text, "utf-8")
