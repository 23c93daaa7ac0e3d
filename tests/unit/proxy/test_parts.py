"""Fingerprints, records, numbers and the choice of units."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from fault_injection.proxy.numbers import json_number
from fault_injection.proxy.protocols import Unit
from fault_injection.proxy.protocols.base import Transaction
from fault_injection.proxy.protocols.text import find_trace, http_target, sql, without_comment
from fault_injection.proxy.records import EVICTION_BATCH, Record, Ring
from fault_injection.proxy.toxics.message import DropReply

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("text", "kind", "fingerprint"),
    [
        ("SELECT  1.5,\n 'a''b' -- x", "SELECT", "select ?, ?"),
        (
            "/* lead */ Update T set a=$1 where b = E'\\''",
            "UPDATE",
            "update t set a=$1 where b = ?",
        ),
        ("select '/* no comment */', $q$ it's $q$", "SELECT", "select ?, ?"),
        ("start transaction", "BEGIN", "start transaction"),
        ("END", "COMMIT", "end"),
        ("ROLLBACK TO SAVEPOINT sp_12", "ROLLBACK TO", "rollback to savepoint ?"),
        ("begin; insert into t values (1); commit;", "COMMIT", None),
        ('select "Col1", t2.c3 from t2', "SELECT", 'select "col1", t2.c3 from t2'),
        ("", "EMPTY", ""),
        ("(select 1)", "OTHER", "(select ?)"),
    ],
)
def test_sql(text, kind, fingerprint):
    found = sql(without_comment(text.encode()))
    assert found.kind == kind
    if fingerprint is not None:
        assert found.fingerprint == fingerprint


def test_trace_in_every_dress():
    value = f"00-{TRACE}-00f067aa0ba902b7-01"
    for text in (
        f"select 1 /*a='b',traceparent='{value}'*/",
        f"traceparent: {value}\r\n",
        f'{{"traceparent": "{value}"}}',
        f'{{\\"traceparent\\": \\"{value}\\"}}',
    ):
        assert find_trace(text.encode()) == TRACE
    assert find_trace(b"traceparent is missing") is None


def test_http_target():
    assert http_target("/jobs/12/x9/deadbeefdeadbeef?q=1") == "/jobs/{id}/x9/{id}?q=?"


@pytest.mark.parametrize(
    ("value", "shown"), [(1.0, 1), (0.3, 0.3), (-7, -7), (0.123456789, 0.12345679)]
)
def test_numbers_as_go_prints_them(value, shown):
    assert json_number(value) == shown


@dataclass(slots=True)
class Entry(Record):
    trace: str | None
    seq: int = 0


def test_ring_counts_what_it_dropped_and_pages_without_gaps():
    ring: Ring[Entry] = Ring(100)
    for number in range(100 + EVICTION_BATCH + 10):
        ring.append(Entry("even" if number % 2 == 0 else None))
    page = ring.page(after=0, limit=30)
    assert page.dropped == EVICTION_BATCH
    assert page.records[0].seq == EVICTION_BATCH + 1
    seen = [entry.seq for entry in page.records]
    while page.records:
        page = ring.page(after=page.last_seq, limit=30)
        assert page.dropped == 0
        seen += [entry.seq for entry in page.records]
    assert seen == list(range(EVICTION_BATCH + 1, ring.last_seq + 1))
    even = ring.page(after=0, limit=1000, trace="even").records
    assert [entry.seq for entry in even] == [seq for seq in seen if seq % 2 == 1]


def unit(kind: str, fingerprint: str, trace: str | None, transaction=None) -> Unit:
    found = Unit("postgres", kind=kind, fingerprint=fingerprint, trace=trace)
    found.transaction = transaction
    if transaction is not None:
        transaction.saw(found)
    return found


def test_drop_reply_chooses_by_everything_at_once():
    transaction = Transaction(1)
    unit("INSERT", "insert into ledger", TRACE, transaction)
    commit = unit("COMMIT", "commit", None, transaction)
    toxic = DropReply(
        "d", "downstream", 1.0, {"trace": TRACE, "kind": "commit", "within": "ledger"}
    )
    assert commit.attribution == "transaction"
    assert toxic.matches(commit)
    assert not toxic.matches(unit("COMMIT", "commit", TRACE))
    assert not toxic.matches(unit("COMMIT", "commit", "0" * 32, Transaction(2)))
    assert toxic.takes()
    assert not toxic.matches(commit), "it bites once"


def test_occurrence_and_times():
    toxic = DropReply("d", "downstream", 1.0, {"occurrence": 3, "times": 2})
    taken = []
    for _ in range(6):
        candidate = unit("SELECT", "select", None)
        taken.append(toxic.matches(candidate) and toxic.takes())
    assert taken == [False, False, True, True, False, False]
