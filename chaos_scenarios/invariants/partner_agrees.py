"""Two sets of books that nobody writes together: the target's and its partner's."""

from dataclasses import replace

from harness.core.verdict import Finding, Judgement, Tally
from harness.oracle.case import Case
from harness.oracle.invariant import invariant
from harness.oracle.partner import differences, executions, misaddressed, positions


@invariant("partner-agrees", kind="safety")
def partner_agrees(case: Case) -> Judgement:
    """The partner executed what the target says and clients asked for: each order, and in sum."""
    tally = Tally()
    for pair in executions(case):
        tally.checked += 1
        if pair.under_way:
            tally.unknown.append(f"{pair.sides} may still be under way")
        elif pair.fault:
            key, title, once = *pair.fault, "one order and one executed subject"
            tally.findings.append(
                Finding(title, key, pair.subject, once, pair.sides, weight=pair.amount_minor)
            )
    for key, claim, name, asked, said in misaddressed(case):
        if key:
            title = f"the order is for {key.replace('-', ' ')} than was asked for"
            found = replace(claim.finding(case, key, title), subject=name)
            tally.findings.append(replace(found, expected=asked, actual=said))
        else:
            tally.unknown.append(f"{name}: no operation of this run says which instrument")
    for what, partner, ledger in positions(case) if case.quiet else ():
        tally.checked += bool(partner or ledger)
        if unequal := differences(partner, ledger):
            title = "the sums differ"
            tally.findings.append(Finding(title, "sums-differ", what, "equal sums", unequal))
    return tally.judgement()
