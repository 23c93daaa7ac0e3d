"""Journeys: which of them a fault was aimed at, and what they exchanged on which links."""

import re
from collections import defaultdict
from dataclasses import replace

from harness.core.records import ExchangeRecord, OperationRecord
from harness.oracle.case import Case

Exchange = dict[str, tuple[int, ...]]
_INSTANCE = re.compile(r"-\d+(?=-|$)")


def link_class(link: str) -> str:
    """The link without the number of the instance: `api-1-postgres` is an `api-postgres`."""
    return _INSTANCE.sub("", link)


def aimless(case: Case) -> list[str]:
    """Ids of the faults that were aimed at no operation, so that they may hit anybody."""
    return sorted(
        {f.fault for f in case.faults if not f.operation and not f.parameters.get("trace")}
    )


def aimed_at(case: Case) -> set[str]:
    """Ids of the operations that a fault was aimed at."""
    traces, named = case.targeted_traces(), {fault.operation for fault in case.faults}
    return {
        r.operation.id
        for r in case.operations
        if r.operation.id in named or r.operation.trace in traces
    }


def bystanders(case: Case) -> list[OperationRecord]:
    """The write operations under load of journeys that share no fault, and no subject with one."""
    aimed = aimed_at(case)
    hit = [record for record in case.operations if record.operation.id in aimed]
    numbers = {record.operation.number for record in hit}
    subjects = {record.subject for record in hit if record.subject}
    return [
        record
        for record in case.under_load()
        if record.operation.key
        and record.operation.number not in numbers
        and record.subject not in subjects
    ]


def exchange(case: Case, record: OperationRecord) -> Exchange:
    """The decoded messages of an operation by class of link, in order."""
    units: dict[str, tuple[int, ...]] = defaultdict(tuple)
    for part in case.exchanges_of.get(record.operation.trace, ()):
        if part.phase == record.phase:
            units[link_class(part.link)] += part.units
    return dict(units)


def first_exchange(case: Case, record: OperationRecord, database: str) -> ExchangeRecord | None:
    """The exchange of an operation's first attempt with the database of its entry, or nothing.

    Retries go to other entries and would fake a meeting, and an exchange does not tell attempts at
    one entry apart: one that outlasts the first attempt counts as the moment in which it began.
    """
    first = record.attempts[0]
    for part in case.exchanges_of.get(record.operation.trace, ()):
        mine = part.link == f"{first.entry}-{database}" and part.phase == record.phase
        if mine and first.sent_ns <= part.first_ns <= first.done_ns:
            return replace(part, last_ns=part.first_ns) if part.last_ns > first.done_ns else part
    return None


def meet(left: list[ExchangeRecord], right: list[ExchangeRecord]) -> bool:
    """Whether messages of both sides were under way at one time."""
    return any(a.first_ns <= b.last_ns and b.first_ns <= a.last_ns for a in left for b in right)


def deviation(case: Case, seen: Exchange, baseline: list[Exchange]) -> str:
    """Where an exchange is unlike every one of the baseline, or nothing."""
    for link in sorted({*seen, *(link for known in baseline for link in known)}):
        units = seen.get(link, ())
        known = [other.get(link, ()) for other in baseline]
        if units in known:
            continue
        nearest = max(known, key=lambda other: _common(units, other))
        at = _common(units, nearest)
        got, usual = (_text(case, sequence, at) for sequence in (units, nearest))
        return f"{link}: message {at + 1} of {len(units)} is {got}, not {usual}"
    return ""


def _common(left: tuple[int, ...], right: tuple[int, ...]) -> int:
    """How many messages are the same from the start."""
    pairs = zip(left, right, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


def _text(case: Case, units: tuple[int, ...], at: int) -> str:
    return case.fingerprints.get(units[at], f"#{units[at]}")[:80] if at < len(units) else "nothing"
