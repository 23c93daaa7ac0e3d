"""What the service's processes may do in the database: a role with the fewest rights.

The owner migrates; the processes log in as `investment_app`, which can read and add, change only
what has a state, and delete only what has expired. What it may not: change or delete the ledger,
state logs and audit trails.
"""

from psycopg import sql
from sqlalchemy import Connection, text

ROLE = "investment_app"
_CHANGES = {
    "admin_sessions": "DELETE",
    "api_tokens": "UPDATE (revoked_at)",
    "canaries": "UPDATE",
    "canary_samples": "DELETE",
    "dividend_batches": "UPDATE (state)",
    "dividend_payouts": "UPDATE (state)",
    "external_investment_partners": "UPDATE (auth_config)",
    "feature_flags": "UPDATE (enabled, pct, version, updated_at)",
    "idempotency_keys": "UPDATE (status, body, location), DELETE",
    "investments": "UPDATE (state, executed_minor, updated_at)",
    "jobs": "UPDATE",
    "ledger_accounts": "UPDATE (balance_minor)",
    "outbox": "UPDATE (status, publishes, published_at), DELETE",
    "partner_orders": "UPDATE",
    "rate_events": "DELETE",
    "rate_users": "UPDATE",
    "token_vault": "UPDATE (kid, sealed), DELETE",
    "vault_checks": "DELETE",
    "wallets": "UPDATE (closed_at)",
}
_KNOWN = text("SELECT true FROM pg_roles WHERE rolname = :role")
_TABLES = text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")


def create_role(connection: Connection, *, password: str) -> None:
    """Create the role, or give it this password."""
    verb = "ALTER" if connection.scalar(_KNOWN, {"role": ROLE}) else "CREATE"
    server = connection.connection.driver_connection.pgconn
    # What PostgreSQL would make of it: the password itself is in no statement and no log.
    verifier = server.encrypt_password(password.encode(), ROLE.encode(), b"scram-sha-256")
    secret = sql.Literal(verifier.decode()).as_string()
    connection.exec_driver_sql(f"{verb} ROLE {ROLE} LOGIN PASSWORD {secret}".replace("%", "%%"))


def grant(connection: Connection) -> None:
    """Give the role its rights on every table that there is; take all others away."""
    if not connection.scalar(_KNOWN, {"role": ROLE}):
        return
    for name in connection.scalars(_TABLES).all():
        rights = "SELECT" if name == "alembic_version" else "SELECT, INSERT"
        rights = ", ".join(filter(None, (rights, _CHANGES.get(name))))
        connection.exec_driver_sql(f"REVOKE ALL ON public.{name} FROM {ROLE}")
        connection.exec_driver_sql(f"GRANT {rights} ON public.{name} TO {ROLE}")
