"""Verdicts and findings, and how several verdicts become one."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from harness.core.exit_codes import ExitCode


class Verdict(StrEnum):
    """What is known at the end. Inconclusive is never green."""

    PASS = "pass"
    DEGRADED = "degraded"
    INCONCLUSIVE = "inconclusive"
    FAIL = "fail"

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of this verdict alone."""
        return _EXIT_CODES[self]


_EXIT_CODES = {
    Verdict.PASS: ExitCode.PASS,
    Verdict.DEGRADED: ExitCode.DEGRADED,
    Verdict.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
    Verdict.FAIL: ExitCode.FAIL,
}
_ORDER = list(Verdict)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Fail beats inconclusive beats degraded beats pass; nothing at all is inconclusive."""
    return max(verdicts, key=_ORDER.index, default=Verdict.INCONCLUSIVE)


@dataclass(frozen=True)
class Finding:
    """One violation: what was expected, what was found, and the records that show it.

    `subject` names the thing (an investment, an account, a key) in the target's own ids;
    `operation` is the id of the harness's operation where there is one; `records` are sequence
    numbers in the journal. `key` makes the finding's id stable across runs, so it holds no id
    that a new seed changes. `weight` finds the worst of many: the minor units at stake.
    """

    title: str
    key: str
    subject: str
    expected: str
    actual: str
    operation: str = ""
    at_ns: int | None = None
    records: tuple[int, ...] = ()
    weight: int = 0


@dataclass(frozen=True)
class Judgement:
    """What an invariant concluded: how many things it looked at, and what was wrong or missing.

    `unknown` holds reasons why no pass is supported; with neither findings nor reasons the
    judgement is a pass, except that an invariant which looked at nothing is inconclusive.
    """

    checked: int
    findings: tuple[Finding, ...] = ()
    unknown: tuple[str, ...] = ()
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """Fail with findings, inconclusive with reasons or nothing checked, else pass."""
        if self.findings:
            return Verdict.FAIL
        if self.unknown or self.checked == 0:
            return Verdict.INCONCLUSIVE
        return Verdict.PASS


@dataclass
class Tally:
    """Collects what an invariant sees, one thing at a time."""

    checked: int = 0
    findings: list[Finding] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def judgement(self, note: str = "") -> Judgement:
        """The finished judgement."""
        return Judgement(self.checked, tuple(self.findings), tuple(self.unknown), note)
