"""The first screen: what the run concluded, why, and what to do next."""

from reports.content import Banner, Block, Command, Facts, Figure, Figures
from reports.evidence import headline
from reports.run import Run
from reports.section import section
from reports.words import count, look, repeat_command, sentence

REASONS_MAX = 5


@section("verdict", title="Verdict", order=10)
def verdict(run: Run) -> list[Block]:
    """The verdict, one sentence why, five figures, and the worst finding in four lines."""
    record = run.record
    seen, why = look(record.verdict), sentence(record.reason)
    blocks: list[Block] = [Banner(seen.word, seen.glyph, why, seen.tone), _figures(run)]
    if run.findings:
        worst = run.findings[0]
        return [*blocks, headline(run, worst), Command("Repeat it", worst.replay)]
    reasons = [(s.name, reason) for s in record.scenarios for reason in s.reasons]
    if len(reasons) > REASONS_MAX:
        reasons[REASONS_MAX:] = [("", f"and {len(reasons) - REASONS_MAX} more, below")]
    why_not = [Facts(tuple(reasons))] if reasons else []
    return [*blocks, *why_not, Command("Repeat this run", repeat_command(record))]


def _figures(run: Run) -> Figures:
    scenarios = run.record.scenarios
    checks = [i.verdict == "pass" for s in scenarios for i in s.invariants]
    ok, refused, unknown = (
        sum(s.operations.get(key, 0) for s in scenarios) for key in ("ok", "fail", "info")
    )
    violations = sum(finding.count for finding in run.findings)
    found = f"in {count(len(run.findings), 'finding')}" if violations else "none seen"
    fates = f"{ok}\u00a0ok · {refused}\u00a0refused · {unknown}\u00a0unknown"
    seen = "each seen by an observer" if run.faults else "no fault was tried"
    return Figures(
        (
            Figure("violations", str(violations), found, "bad" if violations else ""),
            Figure("scenarios passed", _share([s.verdict == "pass" for s in scenarios])),
            Figure("checks held", _share(checks)),
            Figure("faults that bit", _share([fault.bit for _, fault in run.faults]), seen),
            Figure("operations under load", str(ok + refused + unknown), fates),
        )
    )


def _share(held: list[bool]) -> str:
    return f"{sum(held)} of {len(held)}" if held else "none"
