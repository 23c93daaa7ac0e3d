"""Reversible downgrades: tables are moved aside with their rows, never dropped.

A downgrade must not destroy what cannot be derived again. It moves a revision's tables and
functions, with rows, indexes, triggers and sequences, into the schema `rollback_<revision>`;
the next upgrade moves them back unchanged.
"""

from alembic import op
from sqlalchemy import text


def park(revision: str, *, tables: list[str], functions: list[str]) -> None:
    """Move the objects of a revision out of the service's sight."""
    schema = f"rollback_{revision}"
    op.execute(f"CREATE SCHEMA {schema}")
    for table in tables:
        op.execute(f"ALTER TABLE public.{table} SET SCHEMA {schema}")
    for function in functions:
        op.execute(f"ALTER FUNCTION public.{function} SET SCHEMA {schema}")


def unpark(revision: str) -> bool:
    """Move the objects of a revision back; False when there are none."""
    schema = f"rollback_{revision}"
    bind = op.get_bind()
    known = bind.scalar(text("SELECT to_regnamespace(:schema) IS NOT NULL"), {"schema": schema})
    if not known:
        return False
    tables = bind.scalars(
        text("SELECT tablename FROM pg_tables WHERE schemaname = :schema"), {"schema": schema}
    )
    functions = bind.scalars(
        text("SELECT proname FROM pg_proc WHERE pronamespace = to_regnamespace(:schema)"),
        {"schema": schema},
    )
    for table in tables.all():
        op.execute(f"ALTER TABLE {schema}.{table} SET SCHEMA public")
    for function in functions.all():
        op.execute(f"ALTER FUNCTION {schema}.{function} SET SCHEMA public")
    op.execute(f"DROP SCHEMA {schema}")
    return True
