"""Message toxics between psycopg or SQLAlchemy and a real PostgreSQL: what both ends saw."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable

import psycopg
import pytest
import sqlalchemy

from tests.proxy.conftest import wait_until

UPSTREAM, DOWNSTREAM = "upstream", "downstream"


def traced(sql: str, trace: str) -> str:
    return f"{sql} /*traceparent='00-{trace}-00f067aa0ba902b7-01'*/"


@pytest.fixture
def trace() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def dsn(link, postgres_port) -> str:
    port = link("pg", "postgres", postgres_port)
    return f"host=127.0.0.1 port={port} user=postgres password=secret dbname=postgres"


@pytest.fixture
def direct(postgres_port):
    dsn = f"host=127.0.0.1 port={postgres_port} user=postgres password=secret dbname=postgres"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("drop table if exists seat")
        connection.execute("create table seat (id bigint primary key)")
        yield connection


@pytest.fixture
def rows(direct) -> Callable[[], list[int]]:
    return lambda: [row[0] for row in direct.execute("select id from seat order by id")]


def server_lines(log, port: int) -> list[str]:
    text = log.read_text()
    return [line for line in text.splitlines() if line.startswith(f"127.0.0.1({port})")]


def server_port(connection: psycopg.Connection) -> int:
    return connection.execute("select inet_client_port()").fetchone()[0]


def insert(number: int, trace: str) -> str:
    return traced(f"insert into seat values ({number})", trace)


def test_a_request_that_never_arrived(api, dsn, rows, trace, postgres_log):
    name = api.arm("pg", "reset_before", UPSTREAM, trace=trace, kind="INSERT", occurrence=2)
    with psycopg.connect(dsn) as bystander, psycopg.connect(dsn) as victim:
        bystander.execute(insert(9, uuid.uuid4().hex))
        port = server_port(victim)
        victim.execute(insert(1, trace))
        with pytest.raises(psycopg.OperationalError):
            victim.execute(insert(2, trace))
        assert victim.closed
        bystander.commit()
    assert rows() == [9]
    lines = wait_until(lambda: server_lines(postgres_log, port))
    assert any("with an open transaction" in line for line in lines), lines
    (event,) = api.did(name)
    assert (event["action"], event["upstream_port"]) == ("reset_before", port)
    (unit,) = [unit for unit in api.messages("pg", trace=trace) if unit["toxic"] == name]
    assert (unit["seq"], unit["status"], unit["reply_ns"]) == (event["unit_seq"], None, None)


def test_a_commit_whose_reply_was_not_read(api, dsn, rows, trace):
    name = api.arm("pg", "reset_after", UPSTREAM, trace=trace, kind="COMMIT")
    with psycopg.connect(dsn) as victim:
        victim.execute(insert(1, trace))
        with pytest.raises(psycopg.OperationalError):
            victim.commit()
    assert wait_until(rows) == [1]
    assert [event["action"] for event in api.did(name)] == ["reset_after"]


def test_a_statement_runs_although_nobody_waits_for_it(api, dsn, rows, trace):
    api.arm("pg", "reset_after", UPSTREAM, trace=trace)
    with psycopg.connect(dsn, autocommit=True) as victim:
        slow = "insert into seat select 3 from pg_sleep(0.2)"
        with pytest.raises(psycopg.OperationalError):
            victim.execute(traced(slow, trace))
    assert rows() == []
    assert wait_until(rows) == [3]


@pytest.mark.parametrize("stream", [UPSTREAM, DOWNSTREAM])
def test_a_message_is_held_until_it_is_released(api, dsn, rows, direct, trace, stream):
    name = api.arm("pg", "hold", stream, trace=trace, kind="INSERT")
    with psycopg.connect(dsn, autocommit=True) as connection:
        port = server_port(connection)
        waiting = threading.Thread(target=connection.execute, args=[insert(1, trace)])
        waiting.start()
        wait_until(lambda: api.did(name))
        last = "select query from pg_stat_activity where client_port = %s and state = 'idle'"
        (query,) = wait_until(lambda: direct.execute(last, [port]).fetchone())
        assert query.startswith("insert" if stream == DOWNSTREAM else "select inet")
        assert rows() == ([1] if stream == DOWNSTREAM else [])
        assert waiting.is_alive()
        answer = api.call("POST", f"/proxies/pg/toxics/{name}/release")
        assert answer.json() == {"released": 1}
        waiting.join(3)
        assert not waiting.is_alive()
        assert rows() == [1]
        assert connection.execute("select 1").fetchone() == (1,)
    events = api.did(name)
    assert [(event["action"], event["reason"]) for event in events] == [
        ("held", None),
        ("released", "released"),
    ]
    assert api.call("POST", f"/proxies/pg/toxics/{name}/release").json() == {"released": 0}


@pytest.mark.parametrize(("end", "reason"), [("lease", "time"), ("removal", "removed")])
def test_what_is_held_goes_on_by_itself(api, dsn, rows, trace, end, reason):
    lease_ms = 150 if end == "lease" else 60_000
    name = api.arm("pg", "hold", UPSTREAM, trace=trace, lease_ms=lease_ms)
    with psycopg.connect(dsn, autocommit=True) as connection:
        waiting = threading.Thread(target=connection.execute, args=[insert(1, trace)])
        waiting.start()
        wait_until(lambda: api.did(name))
        if end == "removal":
            api.call("DELETE", f"/proxies/pg/toxics/{name}")
        waiting.join(3)
        assert not waiting.is_alive()
    assert rows() == [1]
    assert api.did(name)[-1]["reason"] == reason


def test_a_held_request_arrives_after_its_client_has_gone(api, dsn, rows, trace):
    name = api.arm("pg", "hold", UPSTREAM, trace=trace, kind="INSERT")
    with contextlib.closing(psycopg.connect(dsn, autocommit=True)) as connection:
        connection.pgconn.send_query(insert(1, trace).encode())
        wait_until(lambda: api.did(name))
    assert rows() == []
    assert api.call("POST", f"/proxies/pg/toxics/{name}/release").json() == {"released": 1}
    assert wait_until(rows) == [1]
    wait_until(lambda: not api.get("/connections")["connections"])


@pytest.mark.parametrize("stream", [UPSTREAM, DOWNSTREAM])
def test_a_message_comes_late(api, dsn, trace, stream):
    api.arm("pg", "delay", stream, trace=trace, delay_ms=200)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for least_s, most_s in ((0.2, 0.4), (0, 0.15)):
            begun_s = time.monotonic()
            connection.execute(traced("select 1", trace))
            assert least_s <= time.monotonic() - begun_s < most_s


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("40001", psycopg.errors.SerializationFailure),
        ("40P01", psycopg.errors.DeadlockDetected),
        ("55P03", psycopg.errors.LockNotAvailable),
        ("57014", psycopg.errors.QueryCanceled),
        ("53200", psycopg.errors.OutOfMemory),
    ],
)
def test_an_error_leaves_both_sides_in_a_failed_transaction(
    api, dsn, rows, direct, trace, code, error, postgres_log
):
    name = api.arm(
        "pg", "answer_with_error", UPSTREAM, trace=trace, kind="INSERT", occurrence=2, error=code
    )
    with psycopg.connect(dsn) as connection:
        port = server_port(connection)
        connection.execute(insert(1, trace))
        with pytest.raises(error):
            connection.execute("insert into seat values (%s)", [2])
        states = direct.execute(
            "select state from pg_stat_activity where client_port = %s", [port]
        ).fetchall()
        assert states == [("idle in transaction (aborted)",)]
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute("select 1")
        assert connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.INERROR
        connection.rollback()
        connection.execute(insert(3, trace))
        connection.commit()
    assert rows() == [3]
    log = "\n".join(server_lines(postgres_log, port))
    assert "insert into seat values" not in log
    assert [event["action"] for event in api.did(name)] == ["answered_with_error"]


def test_an_error_in_a_savepoint_is_undone_with_it(api, dsn, rows, trace):
    api.arm("pg", "answer_with_error", UPSTREAM, trace=trace, occurrence=3, error="40P01")
    with psycopg.connect(dsn) as connection:
        connection.execute(insert(1, trace))
        connection.execute("savepoint s")
        connection.execute(insert(2, trace))
        with pytest.raises(psycopg.errors.DeadlockDetected):
            connection.execute(insert(3, trace))
        connection.execute("rollback to s")
        connection.execute(insert(4, trace))
        connection.commit()
    assert rows() == [1, 4]


def test_a_commit_that_is_refused_ends_the_transaction(api, dsn, rows, trace):
    api.arm("pg", "answer_with_error", UPSTREAM, trace=trace, kind="COMMIT", error="40001")
    with psycopg.connect(dsn) as connection:
        connection.execute(insert(1, trace))
        with pytest.raises(psycopg.errors.SerializationFailure):
            connection.commit()
        assert connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
        connection.execute(insert(2, trace))
        connection.commit()
    assert rows() == [2]


def test_an_error_without_a_transaction_leaves_none(api, dsn, rows, trace):
    api.arm("pg", "answer_with_error", UPSTREAM, trace=trace, error="57014")
    with psycopg.connect(dsn, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute(traced("insert into seat values (%s)", trace), [1], prepare=True)
        connection.execute(traced("insert into seat values (%s)", trace), [2], prepare=True)
    assert rows() == [2]


def test_an_error_in_a_pipeline_spoils_what_the_server_would_spoil(api, dsn, rows, trace):
    api.arm("pg", "answer_with_error", UPSTREAM, trace=trace, occurrence=2, error="40001")
    failed = []
    with psycopg.connect(dsn, autocommit=True) as connection, connection.pipeline() as pipeline:
        for number in (1, 2, 3):
            try:
                connection.execute(insert(number, trace))
                pipeline.sync()
            except psycopg.errors.SerializationFailure:
                failed.append(number)
    assert failed == [2]
    assert rows() == [1, 3]


def test_statements_of_one_sync_fail_together(api, dsn, rows, trace):
    api.arm("pg", "answer_with_error", UPSTREAM, trace=trace, kind="INSERT", error="40P01")
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.cursor()
        with pytest.raises(psycopg.errors.DeadlockDetected):
            cursor.executemany(traced("insert into seat values (%s)", trace), [[1], [2]])
        connection.execute(insert(3, trace))
    assert rows() == [3]


def test_an_administrator_ends_the_session(api, dsn, rows, trace, postgres_log):
    api.arm("pg", "answer_with_error", UPSTREAM, trace=trace, kind="COMMIT", error="57P01")
    with psycopg.connect(dsn) as connection:
        port = server_port(connection)
        connection.execute(insert(1, trace))
        with pytest.raises(psycopg.errors.AdminShutdown):
            connection.commit()
        assert connection.closed
    lines = wait_until(lambda: server_lines(postgres_log, port))
    assert any("unexpected EOF on client connection" in line for line in lines), lines
    assert rows() == []


@pytest.mark.parametrize("code", ["53300", "57P03"])
def test_a_session_is_refused(api, dsn, direct, code):
    name = api.arm("pg", "answer_with_error", UPSTREAM, kind="STARTUP", error=code)
    with pytest.raises(psycopg.OperationalError, match="too many clients|starting up"):
        psycopg.connect(dsn)
    (event,) = api.did(name)
    sessions = "select count(*) from pg_stat_activity where client_port = %s"
    assert direct.execute(sessions, [event["upstream_port"]]).fetchone() == (0,)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize("then", ["end", "reset"])
def test_a_reply_is_cut_off(api, dsn, rows, trace, then):
    name = api.arm("pg", "truncate", DOWNSTREAM, trace=trace, bytes=40, then=then)
    with psycopg.connect(dsn, autocommit=True) as connection:
        many = "insert into seat select * from generate_series(1, 5000) returning id"
        with pytest.raises(psycopg.OperationalError):
            connection.execute(traced(many, trace))
        assert connection.closed
    assert len(rows()) == 5000
    (state,) = [unit for unit in api.messages("pg", trace=trace) if unit["toxic"] == name]
    assert state["status"] == "INSERT 0 5000"


def test_a_reply_of_two_megabytes_is_cut_off_and_held(api, dsn, trace):
    big = traced("select repeat('x', 1000) from generate_series(1, 2000)", trace)
    name = api.arm("pg", "hold", DOWNSTREAM, trace=trace, lease_ms=200)
    with psycopg.connect(dsn, autocommit=True) as connection:
        assert len(connection.execute(big).fetchall()) == 2000
    assert [event["action"] for event in api.did(name)] == ["held", "released"]
    api.arm("pg", "truncate", DOWNSTREAM, trace=trace, kind="SELECT")
    with (
        psycopg.connect(dsn, autocommit=True) as connection,
        pytest.raises(psycopg.OperationalError),
    ):
        connection.execute(big)


def test_a_copy_is_held_like_any_statement(api, dsn, rows, trace):
    name = api.arm("pg", "delay", UPSTREAM, trace=trace, kind="COPY", delay_ms=100)
    with psycopg.connect(dsn) as connection:
        with connection.cursor() as cursor:
            with cursor.copy(traced("copy seat from stdin", trace)) as copy:
                for number in range(3):
                    copy.write_row([number])
            cursor.execute("select 1")
        connection.commit()
    assert rows() == [0, 1, 2]
    assert api.did(name)[0]["kind"] == "COPY"


def test_sqlalchemy_sees_a_conflict_and_may_try_again(api, dsn, rows, trace):
    api.arm("pg", "answer_with_error", UPSTREAM, trace=trace, kind="INSERT", error="40001")
    url = sqlalchemy.URL.create(
        "postgresql+psycopg", "postgres", "secret", "127.0.0.1", int(dsn.split()[1][5:]), "postgres"
    )
    engine = sqlalchemy.create_engine(url)

    def book(number: int) -> None:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text(insert(number, trace)))

    with pytest.raises(sqlalchemy.exc.OperationalError) as caught:
        book(1)
    assert caught.value.orig.sqlstate == "40001"
    assert not caught.value.connection_invalidated
    book(2)
    engine.dispose()
    assert rows() == [2]


def test_a_slow_link_still_delivers_what_the_reset_follows(api, dsn, rows, trace):
    """Message toxics and byte toxics work on one link together."""
    proxy = api.client.get_proxy("pg")
    api.arm("pg", "reset_after", UPSTREAM, trace=trace, kind="COMMIT")
    with psycopg.connect(dsn) as victim:
        victim.execute(insert(1, trace))
        for stream in (UPSTREAM, DOWNSTREAM):
            proxy.add_toxic(type="latency", stream=stream, attributes={"latency": 50})
        with pytest.raises(psycopg.OperationalError):
            victim.commit()
    assert wait_until(rows) == [1]


def test_named_statements_are_still_known_after_an_error(api, dsn, rows, trace):
    name = api.arm("pg", "answer_with_error", UPSTREAM, kind="INSERT", occurrence=3, error="40001")
    statement = "insert into seat values (%s)"
    with psycopg.connect(dsn, autocommit=True) as connection:
        for number in (1, 2):
            connection.execute(statement, [number], prepare=True)
        with pytest.raises(psycopg.errors.SerializationFailure):
            connection.execute(statement, [3], prepare=True)
        connection.execute(statement, [4], prepare=True)
    assert rows() == [1, 2, 4]
    units = [unit for unit in api.messages("pg") if unit["kind"] in ("PARSE", "INSERT")]
    assert [unit["toxic"] for unit in units if unit["kind"] == "INSERT"] == [None, None, name, None]


def test_a_transaction_that_has_failed_gets_no_other_error(api, dsn, rows, trace):
    name = api.arm("pg", "answer_with_error", UPSTREAM, kind="SELECT", error="40P01")
    with psycopg.connect(dsn) as connection:
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute(traced("update nowhere set id = 1", trace))
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute("select 1")
        assert api.did(name) == []
        connection.rollback()
        with pytest.raises(psycopg.errors.DeadlockDetected):
            connection.execute("select 1")
