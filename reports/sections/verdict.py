"""The first screen: what the run concluded, why, and what to do next."""

from reports.content import Banner, Block, Command, Facts, Figure, Figures, Span, code
from reports.run import Run, slug
from reports.section import section
from reports.words import count, look, moment, money, repeat_command

REASONS_MAX = 5


@section("verdict", title="Verdict", order=10)
def verdict(run: Run) -> list[Block]:
    """The verdict, one sentence why, five figures, and the worst finding in four lines."""
    record = run.record
    seen = look(record.verdict)
    blocks: list[Block] = [Banner(seen.word, seen.glyph, record.reason, seen.tone), _figures(run)]
    if run.findings:
        blocks.append(_worst(run))
        blocks.append(Command("Repeat it", run.findings[0].replay))
        return blocks
    reasons = [(s.name, reason) for s in record.scenarios for reason in s.reasons]
    if reasons:
        blocks.append(Facts(tuple(reasons[:REASONS_MAX])))
    blocks.append(Command("Repeat this run", repeat_command(record)))
    return blocks


def _worst(run: Run) -> Facts:
    finding = run.findings[0]
    rows = [("What broke", Span(finding.title, href=f"#finding-{slug(finding.id)}", tone="strong"))]
    if not finding.examples:
        return Facts((*rows, ("Where", code(f"{finding.scenario} · {finding.invariant}"))))
    example = finding.examples[0]
    amount = money(*run.amount_behind(finding, example))
    record = run.operation_behind(finding, example)
    known = run.amount_behind(finding, example)[1]
    where = (
        code(finding.scenario), " · ", example.subject,
        f" · {amount}" if known else "",
        f" · {record.operation.kind}" if record else "",
    )
    when = moment(example.at_ms, run.utc(example.at_ms) if example.at_ms is not None else "")
    return Facts((*rows, ("Where", where), ("When", when)))


def _figures(run: Run) -> Figures:
    scenarios = run.record.scenarios
    checks = [i for s in scenarios for i in s.invariants]
    operations = {k: sum(s.operations.get(k, 0) for s in scenarios) for k in ("ok", "fail", "info")}
    violations = sum(finding.count for finding in run.findings)
    passed = sum(s.verdict == "pass" for s in scenarios)
    held = sum(i.verdict == "pass" for i in checks)
    bit = sum(fault.bit for _, fault in run.faults)
    return Figures(
        (
            Figure("violations", str(violations), f"in {count(len(run.findings), 'finding')}",
                   "bad" if violations else ""),
            Figure("scenarios passed", f"{passed} of {len(scenarios)}"),
            Figure("checks held", f"{held} of {len(checks)}", "scenario × invariant"),
            Figure("faults that bit", f"{bit} of {len(run.faults)}",
                   "proved by an observer", "unsure" if bit < len(run.faults) else ""),
            Figure("operations under load", str(sum(operations.values())),
                   f"{operations['ok']} ok · {operations['fail']} refused"
                   f" · {operations['info']} unknown"),
        )
    )
