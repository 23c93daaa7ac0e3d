"""Keys are rotated while the service runs, and a rotation may die at any point.

The stack's processes hold two keys and seal with `k2`. A rotation whose environment names `k1` as
the newest moves every record there; the next one moves them back.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

pytestmark = [pytest.mark.stack, pytest.mark.long]

SOURCE = Path(__file__).parents[2] / "system_under_test"
sys.path.insert(0, str(SOURCE))
from investment.vault import Place, Vault, kid_of  # noqa: E402

MANY = 900
DOCUMENT = Path(__file__).parents[2] / "docs" / "sensitive-data.md"
COUNT = "SELECT count(*) FROM token_vault WHERE kid = %s"
ROWS = "SELECT purpose, token, subject_id, kid, sealed FROM token_vault"
PARTNER = "SELECT auth_config FROM external_investment_partners"


class Rotation:
    """`rotate-keys` as an operator starts it, in the role of the service's processes."""

    def __init__(self, stack) -> None:  # noqa: ANN001
        self.secrets = stack.stack.secrets
        self.keys = dict(
            pair.split(":") for pair in self.secrets["INVESTMENT_VAULT_KEYS"].split(",")
        )
        of = psycopg.conninfo.conninfo_to_dict(stack.postgres_dsn)
        self._url = "postgresql+psycopg://investment_app:{password}@{host}:{port}/{dbname}".format(
            **of
        )

    def setting(self, *kids: str) -> str:
        return ",".join(f"{kid}:{self.keys[kid]}" for kid in kids)

    def vault(self, *kids: str) -> Vault:
        return Vault(self.setting(*kids), self.secrets["INVESTMENT_VAULT_INDEX_KEY"])

    def start(self, *kids: str) -> "subprocess.Popen[str]":
        environment = os.environ | self.secrets | {
            "PYTHONPATH": str(SOURCE),
            "INVESTMENT_DATABASE_URL": self._url,
            "INVESTMENT_VAULT_KEYS": self.setting(*kids),
        }  # fmt: skip
        return subprocess.Popen(
            [sys.executable, "-m", "investment", "rotate-keys"],
            env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *kids: str) -> dict[str, object]:
        """The last line that a successful rotation writes."""
        out, err = (process := self.start(*kids)).communicate(timeout=30)
        assert process.returncode == 0, out + err
        return json.loads(out.splitlines()[-1])


@pytest.fixture
def rotation(stack, database) -> Iterator[Rotation]:  # noqa: ANN001
    """Beside the real records there are many others; in the end all are `k2`'s again."""
    found = Rotation(stack)
    vault = found.vault("k2", "k1")
    rows = [
        vault.row(Place("deposit-reference", uuid4(), f"rotated-{n}"), f"value-{n}")
        for n in range(MANY)
    ]
    with database.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO token_vault (token, purpose, subject_id, kid, sealed) VALUES"
            " (%(token)s, %(purpose)s, %(subject_id)s, %(kid)s, %(sealed)s)",
            rows,
        )
    try:
        yield found
    finally:
        database.execute("DELETE FROM token_vault WHERE subject_id LIKE 'rotated-%'")
        found.run("k2", "k1")


def count(database, kid: str) -> int:  # noqa: ANN001
    return database.execute(COUNT, [kid]).fetchone()[0]


def invest(service, user) -> tuple[str, dict[str, str]]:  # noqa: ANN001
    metadata = {"note": str(uuid4())}
    body = {"amount_minor": "5", "currency": "EUR", "instrument": "FUND-A", "metadata": metadata}
    reply = service.send("POST", "/api/v1/investment/investments", body, token=user.token)
    assert reply.status == 201, reply.content
    return reply.document["investment_id"], metadata


def is_revealed(service, user, made: tuple[str, dict[str, str]]) -> bool:  # noqa: ANN001
    return service.get(f"/investments/{made[0]}", token=user.token)["metadata"] == made[1]


def test_a_rotation_that_was_killed_goes_on_and_the_old_key_can_go(
    stack,  # noqa: ANN001
    service,  # noqa: ANN001
    database,  # noqa: ANN001
    rotation: Rotation,
) -> None:
    user = service.user(1_000)
    made = [invest(service, user) for _ in range(4)]
    total = count(database, "k2")
    assert total >= MANY + 4

    # Somebody holds a row in the middle: the rotation has come so far, and waits.
    with psycopg.connect(stack.postgres_dsn) as other:
        other.execute(
            "SELECT FROM token_vault WHERE token ="
            " (SELECT token FROM token_vault ORDER BY token OFFSET %s LIMIT 1) FOR UPDATE",
            [total // 2],
        )
        killed = rotation.start("k1", "k2")
        line = json.loads(killed.stdout.readline())
        killed.send_signal(signal.SIGKILL)
        assert killed.wait(10) == -signal.SIGKILL
        killed.communicate()
    assert (line["event"], line["key"]) == ("keys_rotated", "k1")
    done, left = count(database, "k1"), count(database, "k2")
    assert done > 0
    assert left > 0
    assert done % 200 == 0, "a batch is all or nothing"

    # Both keys are in use, and the service knows both: what was there, and what is new.
    assert all(is_revealed(service, user, one) for one in made)
    made.append(invest(service, user))
    assert is_revealed(service, user, made[-1])
    assert service.finish(service.execute(user, made[0][0]))["state"] == "SUCCEEDED"

    end = rotation.run("k1", "k2")
    assert (end["event"], end["remaining"]) == ("keys_rotation_ended", 0)
    assert count(database, "k2") == 0

    only_new = rotation.vault("k1")
    rows = database.execute(ROWS).fetchall()
    values = {
        subject: only_new.open(sealed, Place(purpose, token, subject))
        for purpose, token, subject, _, sealed in rows
    }
    assert {kid for *_, kid, _ in rows} == {kid_of(row[-1]) for row in rows} == {"k1"}
    assert all(values[f"rotated-{n}"] == f"value-{n}" for n in range(MANY))
    assert kid_of(database.execute(PARTNER).fetchone()[0]) == "k1"
    assert rotation.run("k1")["rotated"] == 0
    [documented] = re.findall(r"```sql\n( +SELECT kid.*?)```", DOCUMENT.read_text("utf-8"), re.S)
    assert {kid for kid, _ in database.execute(documented)} == {"k1"}
    assert all(is_revealed(service, user, one) for one in made)


def test_a_record_that_does_not_open_ends_the_rotation_with_its_name(
    database,  # noqa: ANN001
    rotation: Rotation,
) -> None:
    token = UUID(int=2**128 - 1)  # the last in the rotation's order
    spoilt = rotation.vault("k2").row(Place("account-number", token, "rotated-spoilt"), "value")
    moved = spoilt | {"subject_id": "rotated-elsewhere"}
    database.execute(
        "INSERT INTO token_vault (token, purpose, subject_id, kid, sealed) VALUES"
        " (%(token)s, %(purpose)s, %(subject_id)s, %(kid)s, %(sealed)s)",
        moved,
    )
    out, err = (failed := rotation.start("k1", "k2")).communicate(timeout=30)
    assert failed.returncode == 1, out
    assert str(token) in err
    assert "rotated-elsewhere" in err
    assert "restore its row from a backup" in err
    assert "keys_rotation_ended" not in out
    assert count(database, "k2") >= 1
