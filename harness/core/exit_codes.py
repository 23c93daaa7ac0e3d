"""Exit codes, each with its sentence, and which one wins when several apply."""

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells its caller; `--help` and the docs print the sentences."""

    sentence: str

    def __new__(cls, code: int, sentence: str) -> "ExitCode":
        member = int.__new__(cls, code)
        member._value_ = code
        member.sentence = sentence
        return member

    PASS = 0, "Pass: nothing was violated, every fault bit, every outcome is known."
    FAIL = (
        1,
        "Fail: a safety invariant is broken, or after the recovery window an acknowledged operation"
        " lacks its effect, or a row is stuck that nothing drives.",
    )
    USAGE = 2, "Usage: the request could not be understood; nothing ran."
    INCONCLUSIVE = (
        3,
        "Inconclusive: no violation was seen, but no pass is supported (a fault did not bite,"
        " nothing happened, an outcome stayed unknown, a checker crashed, time ran out).",
    )
    DEGRADED = 4, "Degraded: only objectives were missed (recovery time, latency, error share)."
    NOTHING_RAN = 5, "Nothing ran: the selection matched no eligible scenario."
    HARNESS = 6, "Harness: the target reached no steady state, or stormproof itself failed."
    EVIDENCE = 7, "Evidence: the run directory does not verify."
    NOT_UNDONE = 8, "Not undone: a fault could not be healed; the target may still be broken."
    INTERRUPTED = 130, "Interrupted by Ctrl-C; everything was healed and stopped first."
    TERMINATED = 143, "Interrupted by SIGTERM; everything was healed and stopped first."


_PRECEDENCE = (
    ExitCode.FAIL,
    ExitCode.NOT_UNDONE,
    ExitCode.EVIDENCE,
    ExitCode.HARNESS,
    ExitCode.INTERRUPTED,
    ExitCode.TERMINATED,
    ExitCode.INCONCLUSIVE,
    ExitCode.DEGRADED,
    ExitCode.NOTHING_RAN,
    ExitCode.PASS,
)


def strongest(codes: Iterable[ExitCode]) -> ExitCode:
    """The code that a caller must see when several apply; `NOTHING_RAN` when there is none."""
    present = set(codes)
    if ExitCode.USAGE in present:
        return ExitCode.USAGE
    return next((code for code in _PRECEDENCE if code in present), ExitCode.NOTHING_RAN)
