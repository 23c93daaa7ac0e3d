"""The proxy between psycopg and a real PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import socket
import uuid

import psycopg
import pytest


def traced(sql: str, trace: str) -> str:
    return f"{sql} /*traceparent='00-{trace}-00f067aa0ba902b7-01'*/"


def new_trace() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def dsn(link, postgres_port) -> str:
    port = link("pg", "postgres", postgres_port)
    return f"host=127.0.0.1 port={port} user=postgres password=secret dbname=postgres"


@pytest.fixture
def direct(postgres_port):
    dsn = f"host=127.0.0.1 port={postgres_port} user=postgres password=secret dbname=postgres"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("drop table if exists booking")
        connection.execute("create table booking (id bigint primary key, note text)")
        yield connection


def kinds(units: list[dict]) -> list[str]:
    return [unit["kind"] for unit in units]


def test_a_traced_transaction_owns_its_begin_and_commit(api, dsn, direct):
    trace = new_trace()
    with psycopg.connect(dsn) as connection:
        connection.execute("select 1")
        connection.commit()
        insert = "insert into booking values (%s, 'x')"
        connection.execute(traced(insert, trace), [1])
        connection.execute("select note from booking where id = 1")
        connection.commit()
    units = api.messages("pg")
    own = [unit for unit in units if unit["trace"] == trace]
    assert kinds(own) == ["BEGIN", "INSERT", "SELECT", "COMMIT"]
    assert [unit["attribution"] for unit in own] == [
        "transaction",
        "text",
        "transaction",
        "transaction",
    ]
    assert {unit["tx"] for unit in own} == {2}
    assert own[1]["fingerprint"] == "insert into booking values ($1, ?)"
    assert own[1]["status"] == "INSERT 0 1"
    assert own[2]["fingerprint"] == "select note from booking where id = ?"
    shared = [unit for unit in units if unit["trace"] is None]
    assert kinds(shared)[-4:] == ["STARTUP", "BEGIN", "SELECT", "COMMIT"]
    assert [unit["seq"] for unit in units] == sorted(unit["seq"] for unit in units)
    assert api.messages("pg", trace=trace) == own


def test_upstream_port_is_the_one_that_the_server_sees(api, dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        port = connection.execute("select inet_client_port()").fetchone()[0]
    unit = [unit for unit in api.messages("pg") if unit["kind"] == "SELECT"][-1]
    assert unit["upstream_port"] == port


def test_a_remembered_statement_is_attributed_by_its_name(api, dsn, direct):
    trace = new_trace()
    with psycopg.connect(dsn, autocommit=True) as connection:
        for _ in range(3):
            connection.execute(traced("select %s::int", trace), [7], prepare=True)
    units = api.messages("pg", trace=trace)
    assert kinds(units) == ["PARSE", "SELECT", "SELECT", "SELECT"]
    assert [unit["attribution"] for unit in units] == ["text", "learned", "learned", "learned"]


def test_executemany_in_a_pipeline_and_copy(api, dsn, direct):
    trace = new_trace()
    with psycopg.connect(dsn) as connection:
        cursor = connection.cursor()
        insert = traced("insert into booking values (%s, %s)", trace)
        cursor.executemany(insert, [(number, "many") for number in range(10, 60)])
        with cursor.copy(traced("copy booking from stdin", trace)) as copy:
            for number in range(100, 1100):
                copy.write_row((number, "copied"))
        with cursor.copy("copy booking to stdout") as copy:
            assert sum(1 for _ in copy.rows()) == 1050
        connection.commit()
    units = api.messages("pg", trace=trace)
    assert kinds(units)[-3:] == ["COPY", "COPY", "COMMIT"]
    assert [unit["status"] for unit in units][-3:] == ["COPY 1000", "COPY 1050", "COMMIT"]
    assert "INSERT" in kinds(units)
    assert all(entry["decoded"] for entry in api.get("/connections")["connections"])


def test_pipeline_mode_keeps_requests_and_replies_together(api, dsn, direct):
    trace = new_trace()
    with psycopg.connect(dsn, autocommit=True) as connection:
        with connection.pipeline() as pipeline:
            for number in range(3):
                connection.execute(traced(f"select {number}", trace))
                pipeline.sync()
        connection.execute("select 'after'")
    own = api.messages("pg", trace=trace)
    assert kinds(own) == ["SELECT"] * 3
    assert {unit["fingerprint"] for unit in own} == {"select ?"}
    last = [unit for unit in api.messages("pg") if unit["kind"] == "SELECT"][-1]
    assert (last["fingerprint"], last["trace"]) == ("select ?", None)


def test_an_error_in_a_transaction(api, dsn, direct):
    trace = new_trace()
    with psycopg.connect(dsn) as connection:
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute(traced("select * from nowhere", trace))
        connection.rollback()
        connection.execute("select 1")
    own = api.messages("pg", trace=trace)
    assert [(unit["kind"], unit["status"]) for unit in own] == [
        ("BEGIN", "BEGIN"),
        ("SELECT", "42P01"),
        ("ROLLBACK", "ROLLBACK"),
    ]


def test_savepoints_do_not_end_the_transaction(api, dsn, direct):
    trace = new_trace()
    with psycopg.connect(dsn) as connection:
        connection.execute(traced("insert into booking values (1)", trace))
        with connection.transaction(force_rollback=True):
            connection.execute("insert into booking values (2)")
        connection.commit()
    assert kinds(api.messages("pg", trace=trace)) == [
        "BEGIN",
        "INSERT",
        "SAVEPOINT",
        "INSERT",
        "ROLLBACK TO",
        "RELEASE",
        "COMMIT",
    ]


def test_two_traces_in_one_transaction_share_its_commit(api, dsn, direct):
    first, second = new_trace(), new_trace()
    with psycopg.connect(dsn) as connection:
        connection.execute(traced("select 1", first))
        connection.execute(traced("select 2", second))
        connection.commit()
    assert kinds(api.messages("pg", trace=first)) == ["BEGIN", "SELECT"]
    assert kinds(api.messages("pg", trace=second)) == ["SELECT"]
    third = new_trace()
    with psycopg.connect(dsn, autocommit=True) as connection, connection.pipeline():
        connection.execute(traced("select 3", third))
        connection.execute(traced("select 4", second))
    assert api.messages("pg", trace=third) == []
    pipelined = [unit for unit in api.messages("pg") if unit["kind"] == "SELECT"][2:]
    assert {(unit["fingerprint"], unit["trace"]) for unit in pipelined} == {("select ?", None)}


def test_a_dropped_commit_reply_leaves_the_row_and_the_bystander(api, dsn, direct):
    trace, other = new_trace(), new_trace()
    api.drop_reply("pg", trace=trace, kind="COMMIT", within="insert into booking")
    with psycopg.connect(dsn) as bystander, psycopg.connect(dsn) as victim:
        bystander.execute(traced("insert into booking values (2)", other))
        victim.execute(traced("insert into booking values (1)", trace))
        with pytest.raises(psycopg.OperationalError):
            victim.commit()
        bystander.commit()
        assert not bystander.closed
        assert victim.closed
    rows = direct.execute("select id from booking order by id").fetchall()
    assert rows == [(1,), (2,)]
    (event,) = [e for e in api.events("pg") if e["action"] == "dropped_reply"][-1:]
    (unit,) = [u for u in api.messages("pg", trace=trace) if u["kind"] == "COMMIT"]
    assert event["trace"] == trace
    assert event["unit_seq"] == unit["seq"]
    assert event["kind"] == "COMMIT"
    assert unit["status"] == "COMMIT"
    assert kinds(api.messages("pg", trace=other)) == ["BEGIN", "INSERT", "COMMIT"]


def test_the_nth_occurrence_is_taken_once(api, dsn, direct):
    trace = new_trace()
    api.drop_reply("pg", trace=trace, kind="INSERT", fingerprint="booking", occurrence=3)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for number in (1, 2):
            connection.execute(traced(f"insert into booking values ({number})", trace))
        with pytest.raises(psycopg.OperationalError):
            connection.execute(traced("insert into booking values (3)", trace))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(traced("insert into booking values (4)", trace))
    assert direct.execute("select count(*) from booking").fetchone() == (4,)


def test_silence_lasts_until_the_client_gives_up(api, dsn, direct):
    trace = new_trace()
    name = api.drop_reply("pg", trace=trace, kind="SELECT", then="silence")
    with contextlib.closing(psycopg.connect(dsn, autocommit=True)) as connection:
        connection.pgconn.send_query(traced("select 1", trace).encode())
        with pytest.raises(TimeoutError):
            _read(connection.pgconn.socket, timeout_s=0.3)
        states = api.get("/connections")["connections"]
        assert [entry["silenced_by"] for entry in states] == [name]
        api.call("DELETE", f"/proxies/pg/toxics/{name}")
        with pytest.raises(ConnectionResetError):
            _read(connection.pgconn.socket, timeout_s=3)


def _read(descriptor: int, *, timeout_s: float) -> bytes:
    with socket.socket(fileno=os.dup(descriptor)) as sock:
        sock.settimeout(timeout_s)
        return sock.recv(1)


def test_markers_find_strangers_without_tracing(api, dsn, direct):
    trace, key = new_trace(), uuid.uuid4()
    assert api.call("POST", "/markers", {"marker": str(key), "trace": trace}).status_code == 200
    with psycopg.connect(dsn) as connection:
        connection.execute("select %s::uuid", [key])
        connection.commit()
        connection.execute(f"select '{key}'")
        connection.commit()
        connection.execute("select 1")
    own = api.messages("pg", trace=trace)
    assert kinds(own) == ["BEGIN", "SELECT", "COMMIT"] * 2
    assert own[1]["attribution"] == "marker"


def test_a_large_result_and_a_long_statement_pass_unbuffered(api, dsn):
    trace = new_trace()
    with psycopg.connect(dsn, autocommit=True) as connection:
        long = f"select length('{'x' * 100_000}')"
        assert connection.execute(traced(long, trace)).fetchone() == (100_000,)
        rows = connection.execute("select repeat('y', 1000) from generate_series(1, 20000)")
        assert sum(len(row[0]) for row in rows) == 20_000_000
    assert kinds(api.messages("pg", trace=trace)) == ["SELECT"]


def test_notifications_belong_to_no_unit(api, dsn):
    with (
        psycopg.connect(dsn, autocommit=True) as listener,
        psycopg.connect(dsn, autocommit=True) as sender,
    ):
        listener.execute("listen wire")
        sender.execute("notify wire, 'hello'")
        (notice,) = listener.notifies(timeout=3, stop_after=1)
        assert notice.payload == "hello"
        assert listener.execute("select 1").fetchone() == (1,)
    found = [unit["kind"] for unit in api.messages("pg") if unit["kind"] != "STARTUP"]
    assert found[-3:] == ["LISTEN", "NOTIFY", "SELECT"]
