"""The words of the report."""

from reports.content import Block, Facts
from reports.run import Run
from reports.section import section

WORDS = (
    ("pass", "Nothing was violated, every fault bit, and every outcome is known."),
    (
        "FAIL",
        "An invariant is broken: money or an order is not as it must be, or work that was "
        "acknowledged was never done.",
    ),
    ("inconclusive", "No violation was seen, but no pass is supported. Never to be read as green."),
    ("degraded", "Money is safe; only objectives such as recovery time were missed."),
    ("no verdict", "The harness stopped before it could judge."),
    ("scenario", "One outage story: steady state, faults with load, healing, settling, checking."),
    (
        "invariant",
        "What must hold. Safety: never wrong. Liveness: gets done in the end. Control: "
        "holds of the experiment itself, and accuses nobody.",
    ),
    ("operation", "What one client wants, with all its attempts."),
    (
        "ok, refused, unknown",
        "What a client may conclude from its replies: it happened, it did "
        "not, or nobody could tell from the replies alone.",
    ),
    ("fault", "Something done to the target on purpose, and undone at the end of its window."),
    ("bit", "A fault that an observer which the injector cannot write has seen take effect."),
    ("link", "One directed connection between two processes, with a proxy of its own."),
    ("minor unit", "The smallest unit of a currency; all sums are whole numbers of it."),
)


@section("glossary", title="Words", order=90, in_summary=False)
def glossary(run: Run) -> list[Block]:  # noqa: ARG001
    """What the words on this page mean."""
    return [Facts(WORDS)]
