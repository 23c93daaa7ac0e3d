"""Proofs of message faults from logs and journals made by hand: each can say no."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from fault_injection.faults.admin_shutdown import AdminShutdown
from fault_injection.faults.commit_reply_lost import CommitReplyLost
from fault_injection.faults.deadlock import Deadlock
from fault_injection.faults.partner_500_after_executing import Partner500AfterExecuting
from fault_injection.faults.partner_request_late import PartnerRequestLate
from fault_injection.faults.partner_request_twice import PartnerRequestTwice
from fault_injection.faults.redis_loading import RedisLoading
from fault_injection.faults.request_reset import RequestReset
from fault_injection.message_fault import MessageFault
from harness.core.books import PartnerEvent
from harness.core.stack import ProxyEvent

TRACE, OTHER = "a" * 32, "b" * 32
PORT, AT_NS = 4711, 100_000_000_000
LEFT = "LOG:  unexpected EOF on client connection with an open transaction"
RESET = "LOG:  could not receive data from client: Connection reset by peer"


@dataclass
class Seen:
    """What one proof looks at; monotonic time is Unix time here."""

    claim: ProxyEvent | None
    log: str = ""
    journal: tuple[PartnerEvent, ...] = ()

    def claims(self, toxic: str) -> list[ProxyEvent]:
        return [self.claim] if self.claim and self.claim.toxic == toxic else []

    def server_log(self, name: str) -> str:
        return self.log

    def partner_events(self) -> tuple[PartnerEvent, ...]:
        return self.journal

    def wall_ns(self, monotonic_ns: int) -> int:
        return monotonic_ns


def claim_of(fault: MessageFault) -> ProxyEvent:
    return ProxyEvent(1, AT_NS, fault.link, fault.id, "bit", TRACE, "COMMIT", PORT, 99)


def line(text: str, *, port: int = PORT, at_s: str = "100.250") -> str:
    return f"{at_s} [77] 127.0.0.1({port}) {text}\n"


def journal(*words: str, trace: str = TRACE, after_ms: int = 0) -> tuple[PartnerEvent, ...]:
    at_ns = AT_NS + after_ms * 1_000_000
    return tuple(
        PartnerEvent(seq, at_ns, word, "order", 1, trace) for seq, word in enumerate(words, 1)
    )


IN_POSTGRES = [
    (RequestReset(link="l", trace=TRACE, message_kind="COMMIT"), LEFT),
    (AdminShutdown(link="l", trace=TRACE, message_kind="INSERT"), LEFT),
    (Deadlock(link="l", trace=TRACE, message_kind="UPDATE"), "ERROR:  deadlock detected"),
    (CommitReplyLost(link="l", trace=TRACE, within="x"), RESET),
]


@pytest.mark.parametrize(("fault", "text"), IN_POSTGRES, ids=[f.fault_name for f, _ in IN_POSTGRES])
def test_the_log_of_the_port_is_the_proof(fault, text):
    claim = claim_of(fault)
    assert fault.proof(Seen(claim, line(text))).bit
    for log in ("", line(text, port=PORT + 1), line(text, at_s="190.0"), line("LOG:  checkpoint")):
        assert not fault.proof(Seen(claim, log)).bit
    assert not fault.proof(Seen(None, line(text))).bit
    assert not fault.proof(Seen(replace(claim, toxic="another"), line(text))).bit


def test_a_lost_commit_is_no_lost_reply():
    fault = CommitReplyLost(link="l", trace=TRACE, within="x")
    assert not fault.proof(Seen(claim_of(fault), line(RESET) + line(LEFT))).bit


def test_an_executed_order_must_have_been_asked_about():
    fault = Partner500AfterExecuting(link="l", trace=TRACE)
    claim = claim_of(fault)
    assert fault.proof(Seen(claim, journal=journal("executed", "query"))).bit
    for found in (journal("executed"), journal("query"), journal("executed", "query", trace=OTHER)):
        assert not fault.proof(Seen(claim, journal=found)).bit


def test_a_duplicate_after_a_question_is_the_services_own():
    fault = PartnerRequestTwice(link="l", trace=TRACE)
    claim = claim_of(fault)
    assert fault.proof(
        Seen(claim, journal=journal("submit", "executed", "submit", "duplicate"))
    ).bit
    assert fault.proof(Seen(claim, journal=journal("executed", "duplicate"))).bit
    for words in (("executed", "query", "duplicate"), ("executed",), ("duplicate",), ()):
        assert not fault.proof(Seen(claim, journal=journal(*words))).bit
    assert not fault.proof(Seen(None, journal=journal("executed", "duplicate"))).bit


@pytest.mark.parametrize(
    ("after_ms", "bit"), [(799, True), (850, True), (700, False), (1200, False)]
)
def test_a_late_order_comes_when_it_is_due(after_ms, bit):
    fault = PartnerRequestLate(link="l", trace=TRACE, delay_ms=800)
    claim = claim_of(fault)
    assert fault.proof(Seen(claim, journal=journal("executed", after_ms=after_ms))).bit is bit
    asked = journal("query", after_ms=800)
    assert not fault.proof(Seen(claim, journal=asked)).bit


def test_the_publisher_says_that_it_failed_for_this_trace():
    fault = RedisLoading(link="l", trace=TRACE, publisher="relay", sign="publish_failed")
    claim = claim_of(fault)
    said = '{"event": "publish_failed", "trace": "%s"}\n'
    assert fault.proof(Seen(claim, said % TRACE)).bit
    assert not fault.proof(Seen(claim, said % OTHER)).bit
    assert not fault.proof(Seen(claim, TRACE)).bit
    assert not fault.proof(Seen(None, said % TRACE)).bit
