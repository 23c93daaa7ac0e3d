"""What clients are told about one idempotency key."""

from harness.core.verdict import Finding, Judgement, Tally
from harness.oracle.case import Case
from harness.oracle.invariant import invariant
from harness.oracle.replies import final_replies


@invariant("responses-stable", kind="safety")
def responses_stable(case: Case) -> Judgement:
    """All final replies to one idempotency key are the same: status, body and location."""
    tally = Tally()
    promised = case.rules.idempotent_kinds
    for (user, kind, key, _payload), group in case.by_key.items():
        finals = final_replies(group)
        if len(finals) < 2 or (promised and kind not in promised):
            continue
        tally.checked += 1
        told = [f"{a.status} {a.body_sha256[:12]} {a.location}".rstrip() for a in finals]
        other = next((i for i, text in enumerate(told) if text != told[0]), None)
        if other is not None:
            found = Finding(
                "two different final replies to one idempotency key",
                "reply-changed",
                f"{kind} of user {user}, key {key}",
                expected=told[0],
                actual=told[other],
                operation=finals[other].operation,
                at_ns=finals[other].done_ns,
                records=case.records_of(group),
            )
            tally.findings.append(found)
    return tally.judgement(f"{len(case.by_key)} keys, {tally.checked} answered more than once")
