"""What must be over when the recovery window is."""

from harness.core.verdict import Finding, Judgement, Tally
from harness.oracle.bounds import claims
from harness.oracle.case import Case
from harness.oracle.invariant import invariant


@invariant("nothing-stuck", kind="liveness")
def nothing_stuck(case: Case) -> Judgement:
    """After the recovery window nothing is half way, and what was acknowledged has happened."""
    if not case.quiet:
        return Judgement(0, unknown=("not all was healed, or the recovery window did not end",))
    tally = Tally(checked=len(case.after.subjects))
    for subject in case.after.subjects:
        if not subject.terminal and not subject.resting:
            found = Finding(
                f"stuck: a {subject.kind} that nothing drives to its end",
                f"stuck-{subject.kind}",
                f"{subject.kind} {subject.id}",
                expected="a terminal or resting state",
                actual=subject.state,
                weight=subject.amount_minor,
            )
            tally.findings.append(found)
    for claim in claims(case):
        if claim.least and not claim.rows:
            title = "acknowledged, but without its effect"
            tally.findings.append(claim.finding(case, "acknowledged-without-effect", title))
    return tally.judgement()
