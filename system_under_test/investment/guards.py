"""The laws that PostgreSQL must hold itself, checked in its catalogue before money moves.

What code forgets, these refuse. A process that would run without one of them does not start, and
an API does not become ready. G7 to G9 and G12 are no objects of the database but code.
"""

import sys
import time
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from . import db, logs
from .errors import retry_later
from .migrations import HEAD
from .settings import Settings
from .vault import Vault, VaultKeysError

_START_TIMEOUT_S = 30


@dataclass(frozen=True)
class Guard:
    """One object of the catalogue: enforced, valid, enabled, and defined as it must be."""

    id: str
    law: str
    table: str
    definition: str

    def __str__(self) -> str:
        return f"{self.id} ({self.law}; {self.definition} on {self.table})"


def _trigger(id: str, law: str, table: str, name: str, when: str, function: str) -> Guard:
    constraint, deferred = "", ""
    if when == "AFTER INSERT":
        constraint, deferred = "CONSTRAINT ", " DEFERRABLE INITIALLY DEFERRED"
    return Guard(
        id,
        law,
        table,
        f"CREATE {constraint}TRIGGER {table}_{name} {when} ON public.{table}{deferred}"
        f" FOR EACH ROW EXECUTE FUNCTION {function}()",
    )


_CHANGE, _MOVE, _ADD = "BEFORE DELETE OR UPDATE", "BEFORE INSERT OR UPDATE OF state", "AFTER INSERT"
_TX, _ENTRIES = "ledger_transactions", "ledger_entries"
# The MD5 of each body, as its migration wrote it. One that changes it gives it a new name.
_FUNCTIONS = (
    ("G4", "assert_balanced", "20916f3d5e565b19061d57a5c93c1564"),
    ("G4", "check_transaction_balanced", "656a5f6423e632002122cc8539cc026e"),
    ("G4", "check_entry_balanced", "6d41cf710d596f850cdb1cc1861e74a8"),
    ("G4", "refuse_ledger_change", "b8d58e4738595e902fa76555c1da7380"),
    ("G5", "check_investment_transition", "7c1fcc8d320199dd29f68cac8b627755"),
    ("G5", "check_job_transition", "082217009c63aed5c23021554815072f"),
)
GUARDS = (
    Guard("G1", "one claim of a key", "idempotency_keys", "UNIQUE (user_id, route, key)"),
    Guard("G2", "one posting of a step", _TX, "UNIQUE (kind, subject_id, step)"),
    Guard(
        "G2",
        "a hold is resolved once",
        _TX,
        "CREATE UNIQUE INDEX ledger_transactions_one_resolution ON public.ledger_transactions"
        " USING btree (subject_id) WHERE (kind = ANY (ARRAY['capture'::text, 'release'::text]))",
    ),
    Guard("G3", "no overdraft", "ledger_accounts", "CHECK ((balance_minor >= 0))"),
    _trigger("G4", "debits are credits", _TX, "balanced", _ADD, "check_transaction_balanced"),
    _trigger("G4", "debits are credits", _ENTRIES, "balanced", _ADD, "check_entry_balanced"),
    _trigger("G4", "append-only", _TX, "append_only", _CHANGE, "refuse_ledger_change"),
    _trigger("G4", "append-only", _ENTRIES, "append_only", _CHANGE, "refuse_ledger_change"),
    _trigger(
        "G5", "legal moves", "investments", "transition", _MOVE, "check_investment_transition"
    ),
    _trigger("G5", "legal moves", "jobs", "transition", _MOVE, "check_job_transition"),
    *(Guard(g, "what a trigger does", "functions", f"{f} {m}") for g, f, m in _FUNCTIONS),
    Guard("G2", "one deposit of a bank reference", "deposits", "UNIQUE (reference_index)"),
    Guard("G2", "one job of a subject", "jobs", "UNIQUE (kind, subject_id)"),
    Guard("G6", "one order of an investment", "partner_orders", "UNIQUE (investment_id)"),
    Guard("G6", "one order of an id", "partner_orders", "UNIQUE (client_order_id)"),
    Guard("G10", "one payout a holder", "dividend_payouts", "UNIQUE (batch_id, investment_id)"),
    Guard("G11", "one batch", "dividend_batches", "UNIQUE (instrument, dividend_event_id)"),
)

_REVISION = text("SELECT version_num FROM alembic_version")
# What is in force: not disabled, not NOT VALID, not NOT ENFORCED, with a usable index.
_IN_FORCE = text("""
WITH tables AS (
    SELECT oid, relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
)
SELECT t.relname, pg_get_constraintdef(c.oid) FROM pg_constraint c
JOIN tables t ON t.oid = c.conrelid LEFT JOIN pg_index i ON i.indexrelid = c.conindid
WHERE c.convalidated AND c.conenforced
AND (c.contype <> 'u' OR (i.indisvalid AND i.indisready AND i.indimmediate))
UNION ALL
SELECT t.relname, pg_get_indexdef(i.indexrelid) FROM pg_index i
JOIN tables t ON t.oid = i.indrelid WHERE i.indisvalid AND i.indisready
UNION ALL
SELECT t.relname, pg_get_triggerdef(g.oid) FROM pg_trigger g
JOIN tables t ON t.oid = g.tgrelid WHERE g.tgenabled IN ('O', 'A') AND NOT g.tgisinternal
UNION ALL
SELECT 'functions', proname || ' ' || md5(prosrc) FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND proconfig IS NULL""")
_RIGHTS = text("""
SELECT current_user || ' may ' || lower(p) || ' ' || t
FROM unnest(ARRAY['ledger_transactions', 'ledger_entries']) t,
    unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE']) p
WHERE has_table_privilege('public.' || t, p)
    OR (p = 'UPDATE' AND has_any_column_privilege('public.' || t, p))""")


def is_migrated(found: str | None) -> bool:
    """A newer schema will do: code is rolled back before the schema is."""
    return found is not None and found >= HEAD


def lacking(connection: Connection) -> list[str]:
    """Every guard that is not in force, and every right on the ledger that nobody may have."""
    in_force = {tuple(row) for row in connection.execute(_IN_FORCE)}
    missing = [str(g) for g in GUARDS if (g.table, g.definition) not in in_force]
    rights = connection.scalars(_RIGHTS).all()
    return missing + [f"least privilege ({right})" for right in rights]


class Watch:
    """Whether this process has seen every guard in force; until then it writes nothing."""

    def __init__(self, probe: Engine, vault: Vault | None = None) -> None:
        self._probe, self._vault = probe, vault
        self._intact = False

    def look(self) -> tuple[str | None, list[str]]:
        """The schema's revision, and what is lacking, looked up now."""

        def query(connection: Connection) -> tuple[str | None, list[str]]:
            found = connection.scalar(_REVISION)
            return found, self._missing(connection) if is_migrated(found) else []

        found, missing = db.run_read(self._probe, query)
        if missing:
            logs.warning("guards_lacking", lacking=missing)
        self._intact = is_migrated(found) and not missing
        return found, missing

    def _missing(self, connection: Connection) -> list[str]:
        missing = lacking(connection)
        try:
            if self._vault:
                self._vault.check(connection, note=not self._intact)
        except VaultKeysError as error:
            missing.append(str(error))
        return missing

    def require(self) -> None:
        """Refuse until a look found everything in force."""
        if not self._intact:
            self.look()
        if not self._intact:
            raise retry_later("unavailable", "The database is not ready for writes.", after_s=5)


def require_at_start(settings: Settings, vault: Vault | None = None) -> None:
    """Wait a bounded time for the migrated database; end the process if a guard is lacking, or if
    the vault's keys are not those of the database."""
    engine = db.make_probe(settings)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            found, missing = Watch(engine, vault).look()
            reason = f"its schema is at revision {found}"
        except (OperationalError, ProgrammingError) as error:
            found, missing, reason = None, [], db.told(error)
        if is_migrated(found):
            break
        if time.monotonic() > deadline:
            _end(
                settings,
                f"the database was not ready within {_START_TIMEOUT_S} s",
                reason,
                f"run `python -m investment prepare` as its owner, to revision {HEAD}",
            )
        time.sleep(0.1)
    if missing:
        _end(
            settings,
            "the database lacks a guard, and money must not move without it",
            "; ".join(missing),
            "set the right keys, or log in as investment_app and not as the owner, or restore what "
            "is lacking as the owner (docs/recovery/database.md); then start again",
        )
    logs.info("started", database=db.place(settings))


def _end(settings: Settings, what: str, value: str, fix: str) -> None:
    logs.warning("not_started", what=what, value=value, where=db.place(settings), fix=fix)
    sys.exit(f"{settings.process_name}: {what}\n  {value}\n  in {db.place(settings)}\n  {fix}")
