"""Sensitive values live in the vault alone; who may see one does, and nobody is shown another's."""

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from harness.stacks.ports import free_port
from tests.service.scratch import Beside, answer, wait_for

pytestmark = pytest.mark.stack

PREFIX = "/api/v1/investment"
SOURCE = Path(__file__).parents[2] / "system_under_test"
METADATA = {"purpose": "retirement – früh", "advisor_note": 'call \\ "back" 🌍'}
VAULTED = "SELECT subject_id, sealed FROM token_vault WHERE purpose = %s AND token = %s"


def create(service, user, metadata: object = METADATA):  # noqa: ANN001, ANN201
    body = {"amount_minor": "40", "currency": "EUR", "instrument": "FUND-A", "metadata": metadata}
    return service.send("POST", f"{PREFIX}/investments", body, token=user.token)


def metadata_of(service, user, investment_id: str):  # noqa: ANN001, ANN201
    path = f"{PREFIX}/investments/{investment_id}"
    return service.send("GET", path, token=user.token)


def test_only_the_owner_sees_the_metadata(service, database) -> None:  # noqa: ANN001
    user = service.user()
    created = create(service, user)
    assert "metadata" not in created.document
    investment_id = created.document["investment_id"]
    assert metadata_of(service, user, investment_id).document["metadata"] == METADATA
    assert service.get(f"/investments/{investment_id}")["metadata"] is None
    stranger = metadata_of(service, service.user(), investment_id)
    assert (stranger.status, stranger.document["code"]) == (404, "not-found")
    [token] = database.execute(
        "SELECT metadata_token FROM investments WHERE id = %s", [investment_id]
    ).fetchone()
    [(subject, sealed)] = database.execute(VAULTED, ["investment-metadata", token]).fetchall()
    assert subject == investment_id
    assert b"retirement" not in sealed


@pytest.mark.parametrize(
    "metadata",
    [
        {"Upper": "x"}, {"a": 1}, {"a": None}, {"a": {"b": "c"}}, {"a": "x" * 201}, {"a": "\x00"},
        {"": "x"}, {f"k{n}": "" for n in range(17)}, ["a"], "a",
    ],
)  # fmt: skip
def test_other_metadata_are_refused(service, metadata: object) -> None:  # noqa: ANN001
    reply = create(service, service.user(), metadata)
    assert (reply.status, reply.document["code"]) == (422, "validation-failed")


def test_the_order_of_metadata_does_not_make_another_request(service) -> None:  # noqa: ANN001
    user, key = service.user(), str(uuid4())
    body = {"amount_minor": "40", "currency": "EUR", "instrument": "FUND-A"}
    replies = [
        service.send(
            "POST", f"{PREFIX}/investments", body | {"metadata": metadata},
            token=user.token, key=key,
        )
        for metadata in ({"a": "1", "b": "2"}, {"b": "2", "a": "1"}, {"a": "1", "b": "3"})
    ]  # fmt: skip
    assert [reply.status for reply in replies] == [201, 201, 422]
    assert replies[1].replayed
    assert replies[2].document["code"] == "idempotency-key-reused"


def test_account_number_reference_and_partner_order_are_tokens(service, database, partner) -> None:  # noqa: ANN001
    account_number, reference = "DE02120300000000202051", f"bank-{uuid4()}"
    token = f"token-{uuid4()}"
    body = {"currency": "EUR", "token": token, "account_number": account_number}
    user_id = service.send("POST", f"{PREFIX}/users", body).document["user_id"]
    user = type(service.user())(user_id, token)
    service.finish(service.deposit(user, 100, reference=reference))
    investment_id = create(service, user).document["investment_id"]
    service.finish(service.execute(user, investment_id))
    rows = database.execute(
        """SELECT 'account-number', w.account_token, w.user_id::text
            FROM wallets w WHERE w.user_id = %(user)s
        UNION ALL SELECT 'deposit-reference', d.reference_token, d.id::text
            FROM deposits d WHERE d.user_id = %(user)s
        UNION ALL SELECT 'partner-order', o.partner_order_token, o.investment_id::text
            FROM partner_orders o WHERE o.investment_id = %(investment)s""",
        {"user": user_id, "investment": investment_id},
    ).fetchall()
    assert len(rows) == 3
    for purpose, vault_token, subject in rows:
        [(subject_id, _)] = database.execute(VAULTED, [purpose, vault_token]).fetchall()
        assert subject_id == subject
    evidence = "SELECT evidence FROM investment_state_logs WHERE investment_id = %s ORDER BY id"
    assert database.execute(evidence, [investment_id]).fetchall()[-1] == (str(rows[2][1]),)
    assert len(partner.executed(user_id)) == 1


def test_a_record_moved_to_another_row_is_an_error_and_never_anothers_data(
    service,  # noqa: ANN001
    database,  # noqa: ANN001
) -> None:
    victim, thief = service.user(), service.user()
    stolen = create(service, victim, {"note": "of the victim"}).document["investment_id"]
    mine = create(service, thief, {"note": "of the thief"}).document["investment_id"]
    exchange = """UPDATE token_vault v SET sealed = w.sealed FROM token_vault w
        WHERE v.subject_id = %s AND w.subject_id = %s"""
    database.execute(exchange, [mine, stolen])
    reply = metadata_of(service, thief, mine)
    assert (reply.status, reply.document["code"]) == (500, "undecryptable")
    assert b"victim" not in reply.content
    # As if the whole row were the thief's: the token is the victim's.
    point = """UPDATE investments SET metadata_token =
        (SELECT metadata_token FROM investments WHERE id = %s) WHERE id = %s"""
    database.execute(point, [stolen, mine])
    assert metadata_of(service, thief, mine).status == 500
    assert metadata_of(service, victim, stolen).document["metadata"] == {"note": "of the victim"}
    database.execute("DELETE FROM token_vault WHERE subject_id = %s", [mine])
    database.execute("UPDATE investments SET metadata_token = NULL WHERE id = %s", [mine])


def test_an_erased_record_is_gone_and_nothing_else_is(service, database) -> None:  # noqa: ANN001
    user = service.user(100)
    investment_id = create(service, user).document["investment_id"]
    database.execute("DELETE FROM token_vault WHERE subject_id = %s", [investment_id])
    assert metadata_of(service, user, investment_id).document["metadata"] is None
    assert service.finish(service.execute(user, investment_id))["state"] == "SUCCEEDED"


def test_without_usable_keys_no_process_starts(stack) -> None:  # noqa: ANN001
    environment = os.environ | stack.stack.secrets | {
        "PYTHONPATH": str(SOURCE),
        "INVESTMENT_DATABASE_URL": "postgresql+psycopg://nobody:none@127.0.0.1:9/none",
        "INVESTMENT_VAULT_KEYS": "k1:c2hvcnQ=",
    }  # fmt: skip
    commands = (["api", "--port", "9"], ["worker"], ["sweeper"])
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "investment", *command],
            env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for command in commands
    ]  # fmt: skip
    for process in started:
        out, _ = process.communicate(timeout=20)
        assert process.returncode == 1, out
        assert out.splitlines()[-1] == (
            "the vault cannot be opened: a key has 5 bytes; INVESTMENT_VAULT_KEYS comes from the "
            "environment; set it to `kid:base64`, newest first, separated by commas, with 32 "
            "random bytes for each key"
        )


OTHER_KEY = "A" * 43 + "="
OTHERS = {
    "another index key": {"INVESTMENT_VAULT_INDEX_KEY": OTHER_KEY},
    "other bytes": {"INVESTMENT_VAULT_KEYS": f"k2:{OTHER_KEY}"},
    "another name": {"INVESTMENT_VAULT_KEYS": f"k9:{OTHER_KEY}"},
}


def test_under_other_keys_no_process_runs(beside: Beside, connect) -> None:  # noqa: ANN001
    scratch = beside.scratch
    rows = "SELECT (SELECT count(*) FROM token_vault), (SELECT count(*) FROM vault_checks)"
    with scratch.connect() as database:
        before = database.execute(rows).fetchone()
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        with scratch.start("api", "--port", str(port), **OTHERS["another index key"]):
            ended = [
                subprocess.Popen(
                    [sys.executable, "-m", "investment", command],
                    env=(scratch.as_owner if command == "prepare" else scratch.environment) | keys,
                    text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                )
                for command, keys in (
                    ("worker", OTHERS["another index key"]), ("sweeper", OTHERS["other bytes"]),
                    ("rotate-keys", OTHERS["other bytes"]), ("prepare", OTHERS["another name"]),
                )
            ]  # fmt: skip
            for process in ended:
                _, told = process.communicate(timeout=30)
                assert process.returncode == 1, told
                assert "the vault's keys are not those of this database" in told
                assert "Traceback" not in told
            wait_for(lambda: answer(f"{url}/healthz") == 200)
            assert answer(f"{url}/readyz") == 503
            client = connect([url], scratch.environment["INVESTMENT_ADMIN_TOKEN"])
            body = {"currency": "EUR", "token": "t" * 40}
            assert client.send("POST", f"{PREFIX}/users", body).status == 503
        assert database.execute(rows).fetchone() == before


def test_what_a_command_could_not_do_is_told_without_secrets(beside: Beside) -> None:
    password = f"password-of-{uuid4()}"
    not_owner = beside.scratch.environment | {"INVESTMENT_APP_PASSWORD": password}
    database = {"INVESTMENT_DATABASE_URL": "foo"}
    for command, environment, told in (
        (["prepare"], not_owner, "run it as the role that owns the database"),
        (["migrate", "999"], beside.scratch.as_owner, "name a revision that there is"),
        (["relay"], not_owner | database | {"INVESTMENT_LIMIT_DEPOSIT": "-1"},
         "INVESTMENT_LIMIT_DEPOSIT ('-1'): Value error, must be from 1"),
    ):  # fmt: skip
        ended = subprocess.run(
            [sys.executable, "-m", "investment", *command],
            env=environment, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert ended.returncode == 1
        assert told in ended.stderr
        for hidden in ("Traceback", password, "SCRAM"):
            assert hidden not in ended.stdout + ended.stderr
