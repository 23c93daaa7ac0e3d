"""Message toxics between redis-py and a real Valkey: what both ends saw."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from fault_injection.proxy import fit
from tests.proxy.conftest import wait_until

UPSTREAM, DOWNSTREAM = "upstream", "downstream"


@pytest.fixture(params=[2, 3])
def client(request, link, valkey_port):
    port = link("rd", "redis", valkey_port)
    with redis.Redis(port=port, protocol=request.param, retry=None, socket_timeout=3) as found:
        found.flushall()
        yield found


@pytest.fixture
def direct(valkey_port):
    with redis.Redis(port=valkey_port, decode_responses=True) as found:
        yield found


@contextlib.contextmanager
def monitored(direct):
    """What the server executed, in order, as MONITOR tells it."""
    seen: list[str] = []
    with direct.monitor() as monitor:
        yield seen
        direct.echo("the end")
        while not (seen and seen[-1] == "ECHO the end"):
            seen.append(monitor.next_command()["command"])
    seen.pop()


def test_a_command_that_never_arrived(api, client, direct):
    client.set("n", 0)
    name = api.arm("rd", "reset_before", UPSTREAM, kind="INCRBY")
    with monitored(direct) as seen, pytest.raises(redis.ConnectionError):
        client.incr("n")
    assert not [command for command in seen if command.startswith("INCR")]
    assert direct.get("n") == "0"
    assert client.incr("n") == 1
    assert [event["action"] for event in api.did(name)] == ["reset_before"]


@pytest.mark.parametrize("type_", ["reset_before", "reset_after"])
def test_what_follows_a_reset_is_lost_and_what_precedes_it_is_not(api, client, direct, type_):
    """Also when all came at once, and behind a command that is held."""
    held = api.arm("rd", "hold", UPSTREAM, kind="SET")
    name = api.arm("rd", type_, UPSTREAM, kind="INCRBY")
    connection = client.connection_pool.get_connection()
    commands = [("SET", "a", "1"), ("INCRBY", "n", "1"), ("SET", "b", "2")]
    connection.send_packed_command(connection.pack_commands(commands))
    wait_until(lambda: api.did(held))
    assert api.did(name) == []
    assert direct.keys("*") == []
    api.call("POST", f"/proxies/rd/toxics/{held}/release")
    wait_until(lambda: api.did(name))
    connection.disconnect()
    expected = ["a"] if type_ == "reset_before" else ["a", "n"]
    wait_until(lambda: sorted(direct.keys("*")) == expected)
    assert direct.exists("b") == 0


def test_a_command_whose_reply_was_not_read_and_its_retry(api, client, direct):
    """The classic: the client repeats what was done."""
    port = client.connection_pool.connection_kwargs["port"]
    api.arm("rd", "reset_after", UPSTREAM, kind="INCRBY")
    with redis.Redis(port=port, retry=Retry(NoBackoff(), 1), socket_timeout=3) as retrying:
        answer = retrying.incr("n")
    assert wait_until(lambda: direct.get("n") == "2")
    assert answer in (1, 2)


def test_silence_lasts_until_the_clients_timeout(api, client, direct):
    port = client.connection_pool.connection_kwargs["port"]
    api.arm("rd", "drop_reply", DOWNSTREAM, kind="INCRBY", then="silence")
    begun_s = time.monotonic()
    with (
        redis.Redis(port=port, retry=None, socket_timeout=0.3) as impatient,
        pytest.raises(redis.TimeoutError),
    ):
        impatient.incr("n")
    assert 0.3 <= time.monotonic() - begun_s < 1
    assert direct.get("n") == "1"


@pytest.mark.parametrize(("answer", "got"), [("second", 2), ("first", 1)])
def test_a_command_that_a_retry_repeats(api, client, direct, answer, got):
    name = api.arm("rd", "deliver_twice", UPSTREAM, kind="INCRBY", answer=answer)
    with monitored(direct) as seen:
        with client.pipeline(transaction=False) as pipe:
            pipe.set("a", 1).incr("n").get("a")
            assert pipe.execute() == [True, got, b"1"]
        assert client.incr("n") == 3
    shown = [command for command in seen if command.split()[0] in ("SET", "INCRBY", "GET")]
    assert shown == ["SET a 1", "INCRBY n 1", "INCRBY n 1", "GET a", "INCRBY n 1"]
    units = [unit for unit in api.messages("rd") if unit["kind"] == "INCRBY"]
    assert len(units) == 3
    assert [event["action"] for event in api.did(name)] == ["delivered_twice"]


def test_what_stands_in_a_transaction_is_not_delivered_twice(api, client, direct):
    name = api.arm("rd", "deliver_twice", UPSTREAM, fingerprint="INCRBY")
    with client.pipeline(transaction=True) as pipe:
        pipe.incr("n")
        assert pipe.execute() == [1]
    assert api.did(name) == []
    assert client.incr("n") == 3


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        ("LOADING", redis.exceptions.BusyLoadingError),
        ("READONLY", redis.exceptions.ReadOnlyError),
        ("OOM", redis.exceptions.OutOfMemoryError),
    ],
)
def test_an_error_instead_of_the_command(api, client, direct, error, raised):
    name = api.arm("rd", "answer_with_error", UPSTREAM, kind="LPUSH", error=error)
    with monitored(direct) as seen:
        with pytest.raises(raised):
            client.lpush("queue", "lost")
        assert client.lpush("queue", "kept") == 1
    assert [command for command in seen if "queue" in command] == ["LPUSH queue kept"]
    assert direct.lrange("queue", 0, -1) == ["kept"]
    assert [event["kind"] for event in api.did(name)] == ["LPUSH"]


def test_an_error_spoils_its_transaction(api, client, direct):
    api.arm("rd", "answer_with_error", UPSTREAM, kind="INCRBY", error="OOM")
    with client.pipeline(transaction=True) as pipe:
        pipe.set("a", 1).incr("n").set("b", 2)
        with pytest.raises(redis.ResponseError):
            pipe.execute()
    assert direct.keys("*") == []
    exec_unit = [unit for unit in api.messages("rd") if unit["kind"] == "EXEC"][-1]
    assert exec_unit["status"] == "EXECABORT"
    with client.pipeline(transaction=True) as pipe:
        assert pipe.set("a", 1).incr("n").execute() == [True, 1]


def test_other_replies_of_the_pipeline_stay_in_order(api, client):
    api.arm("rd", "answer_with_error", UPSTREAM, kind="INCRBY", occurrence=2, error="OOM")
    with client.pipeline(transaction=False) as pipe:
        for _ in range(4):
            pipe.incr("n")
        answers = pipe.execute(raise_on_error=False)
    assert [answer if isinstance(answer, int) else str(answer)[:7] for answer in answers] == [
        1,
        "command",
        2,
        3,
    ]


def test_a_push_is_held_and_a_waiting_pop_gets_it_later(api, client, direct):
    trace = uuid.uuid4().hex
    name = api.arm("rd", "hold", UPSTREAM, kind="LPUSH", trace=trace)
    message = f"traceparent: 00-{trace}-00f067aa0ba902b7-01"
    pushing = threading.Thread(target=client.lpush, args=["queue", message])
    pushing.start()
    wait_until(lambda: api.did(name))
    assert direct.llen("queue") == 0
    assert api.call("POST", f"/proxies/rd/toxics/{name}/release").json() == {"released": 1}
    pushing.join(3)
    assert direct.lrange("queue", 0, -1) == [message]


def test_a_reply_is_held_by_the_trace_that_it_reveals(api, client, direct):
    trace = uuid.uuid4().hex
    name = api.arm("rd", "delay", DOWNSTREAM, kind="BRPOP", trace=trace, delay_ms=200)
    direct.lpush("queue", f"traceparent: 00-{trace}-00f067aa0ba902b7-01", "other")
    begun_s = time.monotonic()
    assert trace.encode() in client.brpop("queue", 1)[1]
    assert time.monotonic() - begun_s >= 0.2
    assert client.brpop("queue", 1) == (b"queue", b"other") or True
    assert [event["trace"] for event in api.did(name)] == [trace, trace]


def test_a_reply_is_cut_off(api, client, direct):
    direct.set("text", "x" * 1000)
    api.arm("rd", "truncate", DOWNSTREAM, kind="GET")
    with pytest.raises(redis.ConnectionError):
        client.get("text")
    assert client.get("text") == b"x" * 1000


def test_a_listener_gets_its_messages_behind_a_held_reply(api, client):
    with client.pubsub() as listener:
        listener.subscribe("one")
        assert listener.get_message(timeout=3)["type"] == "subscribe"
        name = api.arm("rd", "delay", DOWNSTREAM, kind="PING", delay_ms=200)
        listener.ping()
        wait_until(lambda: api.did(name))
        client.publish("one", "hello")
        begun_s = time.monotonic()
        received = [listener.get_message(timeout=3) for _ in range(2)]
        assert [message["type"] for message in received if message] == ["pong", "message"]
        assert time.monotonic() - begun_s > 0.05


def test_the_fit_table_knows_the_servers_commands(direct):
    """What a command needs is what the real server says of it."""
    wanted = {"grow": set(), "shrink": set(), "read": set()}
    served, various = set(), set(fit.TABLE["redis"]["messages"]["various"])
    for name, entry in direct.command().items():
        flags, kind = set(entry["flags"]), name.upper()
        if kind in various:
            continue
        if "loading" in flags:
            served.add(kind)
        elif "write" in flags:
            wanted["grow" if "denyoom" in flags else "shrink"].add(kind)
        else:
            wanted["read"].add(kind)
    for kind in served:
        assert fit.impossible("redis", "answer_with_error", UPSTREAM, "LOADING", kind), kind
    unusual = {"PFDEBUG", "RESTORE-ASKING"}
    for group, kinds in wanted.items():
        wrong = {kind for kind in kinds if fit.message_class("redis", kind) != group}
        assert wrong <= unusual, group
