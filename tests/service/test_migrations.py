"""Down and up again with live money: nothing is lost, and the schema is the same to the letter."""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from harness.stacks.datastores import Postgres
from tests.service.scratch import Beside, Scratch, scratch_database

pytestmark = [pytest.mark.stack, pytest.mark.long]

ROOT = Path(__file__).parents[2]

# Tables that no flow of the tests below the API fills; enough for one row each.
FILL = """SET search_path TO public;
INSERT INTO dividend_batches (id, instrument, dividend_event_id, total_minor, currency, record_at,
    state) VALUES (gen_random_uuid(), 'FUND-M', 'migrated', 100, 'EUR', now(), 'ALLOCATED');
INSERT INTO dividend_payouts (id, batch_id, investment_id, amount_minor, state)
    SELECT gen_random_uuid(), b.id, i.id, 50, 'PENDING' FROM dividend_batches b, investments i
    ORDER BY b.created_at DESC LIMIT 1;
INSERT INTO partner_events (event_id, client_order_id, kind)
    SELECT 'event-1', client_order_id, 'executed' FROM partner_orders LIMIT 1;
INSERT INTO flag_audits (key, reason, after) SELECT key, 'test', '{"pct": 1}' FROM feature_flags;
INSERT INTO canaries (flag, state, pct, started_by, reason)
    SELECT f.key, 'RUNNING', 5, u.id, 'test' FROM feature_flags f, users u WHERE u.role = 'admin'
    LIMIT 1;
INSERT INTO canary_samples (flag, ok, duration_ms) SELECT flag, true, 12 FROM canaries;
INSERT INTO admin_sessions (session_hash, token_hash, expires_at)
    SELECT sha256('session'), token_hash, now() FROM api_tokens LIMIT 1;
"""
# Drawn anew when the values go into the vault again; what they stand for is compared at 042.
DRAWN = r"_token$|^evidence$|^reference_index$"
_TABLES = r"""
SELECT schemaname, tablename FROM pg_tables
WHERE (schemaname = 'public' OR schemaname LIKE 'rollback\_%') AND tablename <> 'alembic_version'"""


def tool(name: str, dsn: str, *options: str, given: str | None = None) -> str:
    of = conninfo_to_dict(dsn)
    options = (*options, "-h", str(of["host"]), "-p", str(of["port"]), "-U", str(of["user"]))
    done = subprocess.run(
        [Postgres.find().programs / name, *options, str(of["dbname"])],
        env=os.environ | {"PGPASSWORD": str(of["password"])},
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def schema(scratch: Scratch) -> list[str]:
    """The schema as pg_dump writes it, without the random word of its first and last line."""
    lines = tool("pg_dump", scratch.dsn, "--schema-only").splitlines()
    return [line for line in lines if not line.startswith(("\\", "--")) and line]


def content(scratch: Scratch, *, ignore: str = "^$") -> dict[str, str]:
    """A hash of every table's rows, wherever a downgrade has put the table."""
    hashes = {}
    with psycopg.connect(scratch.dsn) as connection:
        for place, table in connection.execute(_TABLES).fetchall():
            query = f"""SELECT count(*), md5(string_agg(row, E'\\n' ORDER BY row)) FROM (
                SELECT (SELECT jsonb_object_agg(key, value)::text
                    FROM jsonb_each(to_jsonb(t)) WHERE key !~ %s) AS row
                FROM {place}.{table} t) AS rows"""
            count, digest = connection.execute(query, (ignore,)).fetchone()
            assert count > 0, f"{table} is empty: nothing would be compared"
            hashes[table] = f"{count} rows, {digest}"
    return hashes


@pytest.fixture(scope="module")
def live(stack, beside: Beside, tmp_path_factory) -> Iterator[Scratch]:  # noqa: ANN001
    """A copy of a database in which the service has moved money, with a row in every table."""
    service = beside.service
    user = service.user(1_000)
    for number in range(3):
        service.finish(service.execute(user, service.investment(user, 100 + number)))
    folder: Path = tmp_path_factory.mktemp("migrations")
    with scratch_database(stack, folder) as scratch:
        dump = tool("pg_dump", beside.scratch.dsn)
        tool("psql", scratch.dsn, "-q", "-v", "ON_ERROR_STOP=1", given=dump + FILL)
        yield scratch


def migrate(scratch: Scratch, *arguments: str) -> None:
    done = scratch.run(*arguments)
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"


def test_down_and_up_again_keeps_every_row_and_the_schema(live: Scratch) -> None:
    schema_043, content_043 = schema(live), content(live, ignore=DRAWN)
    migrate(live, "downgrade", "042")
    schema_042, content_042 = schema(live), content(live)
    migrate(live, "downgrade", "base")
    assert content(live) == content_042
    with live.connect() as connection:
        left = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
    assert left == [("alembic_version",)]
    # Under other keys nothing is sealed: the vault is not even made.
    other = replace(live, as_owner=live.as_owner | {"INVESTMENT_VAULT_INDEX_KEY": "A" * 43 + "="})
    refused = other.run("prepare")
    assert (refused.returncode, "are not those of this database" in refused.stderr) == (1, True)
    with live.connect() as connection:
        assert connection.execute("SELECT to_regclass('token_vault')").fetchone() == (None,)
    migrate(live, "migrate")
    assert schema(live) == schema_043
    without_vault = {t: h for t, h in content(live, ignore=DRAWN).items() if t != "token_vault"}
    assert without_vault == {t: h for t, h in content_043.items() if t != "token_vault"}
    # What the vault holds is seen where it is plain again.
    again = content(live)
    migrate(live, "migrate")
    assert (schema(live), content(live)) == (schema_043, again)
    migrate(live, "downgrade", "042")
    assert content(live) == content_042
    assert schema(live) == schema_042
    migrate(live, "migrate")
    assert schema(live) == schema_043


def test_a_new_token_of_the_administrator_revokes_the_old_one(live: Scratch) -> None:
    def bootstrap(token: str) -> subprocess.CompletedProcess[str]:
        return live.run("bootstrap-admin", INVESTMENT_ADMIN_TOKEN=token)

    tokens = "SELECT sum((token_hash = sha256(%s))::int), count(*) FROM api_tokens t JOIN users u"
    tokens += " ON u.id = t.user_id WHERE u.role = 'admin' AND t.revoked_at IS NULL"
    with live.connect() as owner:
        assert bootstrap("n" * 40).returncode == 0
        assert owner.execute(tokens, ("n" * 40,)).fetchone() == (1, 1)
        # Neither comes an old one back, nor is a user's token an administrator's.
        owner.execute(
            """INSERT INTO api_tokens (token_hash, user_id)
            SELECT sha256(%s), id FROM users WHERE role = 'user' LIMIT 1""",
            ("u" * 40,),
        )
        for token in (live.environment["INVESTMENT_ADMIN_TOKEN"], "u" * 40):
            refused = bootstrap(token)
            assert refused.returncode == 1
            assert "INVESTMENT_ADMIN_TOKEN is a user's token" in refused.stderr
            assert token not in refused.stderr
        assert owner.execute(tokens, ("n" * 40,)).fetchone() == (1, 1)


def test_every_revision_names_its_reverse_in_the_runbook() -> None:
    runbook = (ROOT / "docs/rollback.md").read_text()
    versions = ROOT / "system_under_test/investment/migrations/versions"
    revisions = sorted(path.name[:3] for path in versions.glob("[0-9]*.py"))
    assert revisions == ["041", "042", "043"]
    told = re.findall(r"python -m investment downgrade (\w+)", runbook)
    assert {"042", "041", "base"} <= set(told)


PAGES = [
    "docs/rollback.md",
    "docs/sensitive-data.md",
    *(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/recovery/*.md")),
]


@pytest.mark.parametrize("page", PAGES)
def test_statements_of_the_runbooks_run(beside: Beside, page: str) -> None:
    """As the service's own role where nothing may be written, or as the owner, and never kept."""
    blocks = re.findall(r"```sql\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert blocks, f"{page} tells nobody where to look"
    as_app = make_conninfo(beside.scratch.dsn, user="investment_app")
    for block in blocks:
        by_owner = block.lstrip().startswith("-- As the owner")
        dsn = beside.scratch.dsn if by_owner else as_app
        with psycopg.connect(dsn) as connection:
            connection.read_only = not by_owner
            for statement in filter(str.strip, block.split(";")):
                connection.execute(statement)
            connection.rollback()


def test_the_inventory_has_every_column(beside: Beside) -> None:
    page = (ROOT / "docs/sensitive-data.md").read_text()
    section = page.partition("## Every column")[2].partition("\n## ")[0]
    told = {
        table: set(re.findall(r"`([a-z_]+)`", columns))
        for table, columns in re.findall(r"^\| `(\w+)` \|(.*)\|", section, re.M)
    }
    with beside.scratch.connect() as connection:
        found = connection.execute("""SELECT table_name, array_agg(column_name::text)
            FROM information_schema.columns WHERE table_schema = 'public' GROUP BY 1""")
        assert told == {table: set(columns) for table, columns in found}
