"""Every violation, worst first, with what is needed to see it again."""

from harness.core.run_record import FindingRecord
from reports.content import Block, Command, Facts, Group, Paragraph, Span
from reports.evidence import attempts, evidence, examples
from reports.run import Run, slug
from reports.section import section
from reports.words import count, sentence

FINDINGS_MAX = 50


@section("findings", title="Findings", order=30)
def findings(run: Run) -> list[Block]:
    """Each kind of violation: the transfer, the moment, the records behind it, how to repeat it."""
    blocks: list[Block] = [_finding(run, finding) for finding in run.findings[:FINDINGS_MAX]]
    if len(run.findings) > FINDINGS_MAX:
        note = f"Showing {FINDINGS_MAX} of {len(run.findings)} findings; all are in run.json."
        blocks.append(Paragraph(note))
    return blocks


def _finding(run: Run, finding: FindingRecord) -> Group:
    blocks: list[Block] = []
    first = finding.examples[0] if finding.examples else None
    if first:
        sides = (("expected", first.expected), ("actual", Span(first.actual, tone="bad")))
        blocks += [Facts(sides, stacked=True), evidence(run, finding, first)]
    blocks.append(Command("Repeat it", finding.replay))
    if first:
        blocks += attempts(run.operation_behind(finding, first))
    if len(finding.examples) > 1:
        blocks.append(examples(run, finding))
    scenario = Span(finding.scenario, href=f"#scenario-{slug(finding.scenario)}")
    found = count(finding.count, "violation")
    kicker = (f"{run.kind_of(finding)} · ", scenario, f" × {finding.invariant} · {found}")
    title, anchor = sentence(finding.title), f"finding-{slug(finding.id)}"
    return Group(title, tuple(blocks), anchor, kicker, "bad")
