"""Whether requests that should race really met."""

from collections import defaultdict
from itertools import combinations

from harness.core.records import ExchangeRecord, OperationRecord
from harness.core.verdict import Finding, Judgement, Tally
from harness.oracle.case import Case
from harness.oracle.invariant import invariant
from harness.oracle.journeys import first_exchange, meet

DATABASE = "postgres"


@invariant("entries-overlap", kind="control")
def entries_overlap(case: Case) -> Judgement:
    """In three rounds of four, requests for one amount were in the database at once, from every
    entry.

    The rounds that met are the experiment: on a busy machine, two processes may miss each other now
    and then. Only first attempts count, for a client that asks again may meet only itself.
    """
    rounds: dict[tuple[str, int], list[OperationRecord]] = defaultdict(list)
    for record in case.under_load():
        if record.operation.amount_minor and record.attempts:
            rounds[(record.operation.kind, record.operation.amount_minor)].append(record)
    tally = Tally()
    for (kind, amount), group in rounds.items():
        if len(group) < 2:
            continue
        tally.checked += 1
        spans: dict[str, list[ExchangeRecord]] = defaultdict(list)
        links = {f"{record.attempts[0].entry}-{DATABASE}" for record in group}
        for record in group:
            if part := first_exchange(case, record, DATABASE):
                spans[part.link].append(part)
        pairs = list(combinations(sorted(links), 2))
        apart = [f"{a} and {b}" for a, b in pairs if not meet(spans[a], spans[b])]
        if apart or not pairs:
            actual = "; ".join(apart) or f"one entry: {', '.join(sorted(links))}"
            title, name = "requests did not overlap", f"{kind} of {amount}"
            tally.findings.append(Finding(title, "apart", name, "an overlap in time", actual))
    met = tally.checked - len(tally.findings)
    if 4 * met >= 3 * tally.checked:
        tally.findings.clear()
    return tally.judgement(f"{met} of {tally.checked} rounds met")
