"""The proxy between redis-py and a real Valkey."""

from __future__ import annotations

import base64
import json
import threading
import uuid

import pytest
import redis


@pytest.fixture(params=[2, 3])
def client(request, link, valkey_port):
    port = link("rd", "redis", valkey_port)
    with redis.Redis(port=port, protocol=request.param, retry=None, socket_timeout=3) as found:
        found.flushall()
        yield found


def task_message(trace: str, tag: str) -> str:
    body = base64.b64encode(b"[[], {}, {}]").decode()
    headers = {"id": tag, "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    return json.dumps(
        {"body": body, "headers": headers, "properties": {"delivery_tag": tag}, "x": "y" * 9000}
    )


def kinds(units: list[dict]) -> list[str]:
    return [unit["kind"] for unit in units]


def test_commands_pair_with_replies(api, client):
    client.set(f"user:{uuid.uuid4()}:42", "v")
    client.lpush("k", 1)
    with pytest.raises(redis.ResponseError):
        client.hget("k", "f")
    with client.pipeline(transaction=False) as pipe:
        pipe.get("a")
        pipe.get("b")
        pipe.execute()
    units = api.messages("rd")[-5:]
    assert kinds(units) == ["SET", "LPUSH", "HGET", "GET", "GET"]
    assert [unit["status"] for unit in units][:3] == ["OK", "OK", "WRONGTYPE"]
    assert units[0]["fingerprint"] == "SET user:{id}:{id}"


def test_queue_traffic_is_attributed_from_push_to_acknowledgement(api, client):
    trace, tag = uuid.uuid4().hex, str(uuid.uuid4())
    message = task_message(trace, tag)
    answers: list[object] = []
    with redis.Redis(
        port=client.connection_pool.connection_kwargs["port"], socket_timeout=5
    ) as worker:
        waiting = threading.Thread(target=lambda: answers.append(worker.brpop("queue", 4)))
        waiting.start()
        client.lpush("queue", message)
        waiting.join(5)
        assert answers[0][1].decode() == message
        with worker.pipeline(transaction=True) as pipe:
            pipe.zadd("unacked_index", {tag: 1.0})
            pipe.hset("unacked", tag, message)
            pipe.execute()
        with worker.pipeline(transaction=True) as pipe:
            pipe.zrem("unacked_index", tag)
            pipe.hdel("unacked", tag)
            pipe.execute()
    own = api.messages("rd", trace=trace)
    assert sorted(kinds(own)) == sorted(
        ["LPUSH", "BRPOP", "MULTI", "ZADD", "HSET", "EXEC", "MULTI", "ZREM", "HDEL", "EXEC"]
    )
    by_kind = {unit["kind"]: unit["attribution"] for unit in own}
    assert by_kind["LPUSH"] == "text"
    assert by_kind["BRPOP"] == "reply"
    assert by_kind["ZADD"] == "transaction"
    assert by_kind["HSET"] == "text"
    assert by_kind["ZREM"] == "learned"


def test_a_dropped_push_reply_leaves_the_message(api, client):
    trace = uuid.uuid4().hex
    api.drop_reply("rd", trace=trace, kind="LPUSH")
    assert client.lpush("queue", task_message(uuid.uuid4().hex, "1")) == 1
    with pytest.raises(redis.ConnectionError):
        client.lpush("queue", task_message(trace, "2"))
    assert client.llen("queue") == 2


def test_a_popped_message_is_lost_by_the_trace_in_its_reply(api, client):
    trace = uuid.uuid4().hex
    client.lpush("queue", task_message(uuid.uuid4().hex, "1"), task_message(trace, "2"))
    api.drop_reply("rd", trace=trace, kind="BRPOP")
    assert b'"1"' in client.brpop("queue", 1)[1]
    with pytest.raises(redis.ConnectionError):
        client.brpop("queue", 1)
    assert client.llen("queue") == 0
    (event,) = [e for e in api.events("rd") if e["action"] == "dropped_reply"][-1:]
    assert event["trace"] == trace


def test_earlier_replies_of_a_pipeline_arrive(api, client, valkey_port):
    connection = client.connection_pool.get_connection()
    api.drop_reply("rd", kind="GET", occurrence=2)
    connection.send_packed_command(
        connection.pack_commands([("SET", "a", "1"), ("GET", "a"), ("GET", "a"), ("PING",)])
    )
    assert connection.read_response() == b"OK"
    assert connection.read_response() == b"1"
    with pytest.raises(redis.ConnectionError):
        connection.read_response()
    connection.disconnect()


def test_published_messages_belong_to_no_unit(api, client):
    with client.pubsub() as listener:
        listener.subscribe("one", "two")
        for _ in range(2):
            assert listener.get_message(timeout=3)["type"] == "subscribe"
        for number in range(3):
            client.publish("one", number)
        received = [listener.get_message(timeout=3)["data"] for _ in range(3)]
        assert received == [b"0", b"1", b"2"]
        listener.unsubscribe()
        for _ in range(2):
            assert listener.get_message(timeout=3)["type"] == "unsubscribe"
        listener.ping()
        listener.get_message(timeout=0.2)
    found = [unit["kind"] for unit in api.messages("rd") if unit["kind"] != "CLIENT"]
    assert found[-5:] == ["PUBLISH", "PUBLISH", "PUBLISH", "UNSUBSCRIBE", "PING"]
    assert found.count("SUBSCRIBE") == 1
    assert all(entry["decoded"] for entry in api.get("/connections")["connections"])


def test_monitor_passes_as_bytes_and_says_so(api, client):
    with client.monitor() as monitor:
        client.set("watched", 1)
        seen: list[str] = []
        while "SET watched 1" not in seen and len(seen) < 20:
            seen.append(monitor.next_command()["command"])
        assert "SET watched 1" in seen
        states = api.get("/connections")["connections"]
        reasons = [entry["reason"] for entry in states if not entry["decoded"]]
        assert reasons == ["MONITOR breaks the pairing of replies"]
