"""Alembic environment: one transaction a revision, on a connection that the caller opened.

What a revision adds, the service's role may use from the same commit on.
"""

from alembic import context
from investment import access


def _grant(ctx, step, **_rest):  # type: ignore[no-untyped-def]
    if step.is_upgrade:
        access.grant(ctx.connection)


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=None,
    transaction_per_migration=True,
    on_version_apply=_grant,
)
with context.begin_transaction():
    context.run_migrations()
