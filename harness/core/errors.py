"""Every error of ours: what happened, the value, where it came from, what to do next."""

import difflib
from collections.abc import Iterable

from harness.core.exit_codes import ExitCode


class StormproofError(Exception):
    """Base of our errors; carries the four parts and the exit code that it leads to."""

    exit_code = ExitCode.HARNESS

    def __init__(self, what: str, *, value: str = "", where: str = "", fix: str = "") -> None:
        self.what, self.value, self.where, self.fix = what, value, where, fix
        super().__init__(self.one_line())

    def one_line(self) -> str:
        """All four parts on one line, for logs and records."""
        parts = [self.what]
        if self.value:
            parts.append(f"value: {self.value}")
        if self.where:
            parts.append(f"where: {self.where}")
        if self.fix:
            parts.append(f"next: {self.fix}")
        return " · ".join(parts)


class UsageError(StormproofError):
    """The request could not be understood; nothing ran."""

    exit_code = ExitCode.USAGE


class NothingRanError(StormproofError):
    """The selection matched nothing that this stack can run."""

    exit_code = ExitCode.NOTHING_RAN


class HarnessError(StormproofError):
    """stormproof or the machine could not do its part."""


class SteadyStateError(HarnessError):
    """The target never became healthy, so nothing was learned about it."""


class DeadlineError(HarnessError):
    """A bounded wait ended without its condition."""


class FaultError(HarnessError):
    """A fault could not be applied."""


class NotUndoneError(StormproofError):
    """A fault could not be healed."""

    exit_code = ExitCode.NOT_UNDONE


class EvidenceError(StormproofError):
    """A stored run is damaged or was edited."""

    exit_code = ExitCode.EVIDENCE


class InterruptedRun(BaseException):
    """A signal asked the run to end; not an `Exception`, so that no handler swallows it."""

    def __init__(self, exit_code: ExitCode) -> None:
        self.exit_code = exit_code
        super().__init__(exit_code.name)


_LISTED = ("scenario", "fault", "invariant", "workload", "variant", "profile")


def unknown_name(kind: str, name: str, known: Iterable[str], *, where: str = "") -> UsageError:
    """The error for a name that does not exist, with the nearest ones that do."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    if close:
        fix = "did you mean " + " or ".join(f"“{match}”" for match in close) + "?"
    else:
        fix = f"known: {', '.join(names) or 'none'}"
    listed = f" {kind}s" if kind in _LISTED else ""
    fix += f" List them with: stormproof list{listed}"
    return UsageError(f"unknown {kind} “{name}”", value=name, where=where, fix=fix)
