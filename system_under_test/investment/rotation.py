"""Key rotation: every record that an older key wraps is wrapped by the newest one.

Batch by batch, each in a transaction of its own: a run that dies is simply run again. A record
that does not open ends the run; none is ever skipped.
"""

from sqlalchemy import Connection, Engine, text

from . import db, logs, partners
from .vault import Place, Vault, kid_of

_BATCH = 200
_COUNT = text("SELECT count(*) FROM token_vault WHERE kid <> :newest")
_NEXT = text(f"""
SELECT purpose, token, subject_id, sealed FROM token_vault WHERE kid <> :newest
ORDER BY token LIMIT {_BATCH} FOR UPDATE""")
_REPLACE = text("UPDATE token_vault SET kid = :kid, sealed = :sealed WHERE token = :token")
_FORGET_CHECKS = text("DELETE FROM vault_checks WHERE kid <> :newest")
_PARTNERS = text("""
SELECT id, name, auth_config FROM external_investment_partners WHERE auth_config IS NOT NULL
FOR UPDATE""")
_REPLACE_PARTNER = text("""
UPDATE external_investment_partners SET auth_config = :sealed WHERE id = :id""")


def rotate(engine: Engine, vault: Vault) -> int:
    """Wrap everything by the newest key; answers how many records had another one."""
    newest = {"newest": vault.newest}

    def partner_rows(connection: Connection) -> int:
        rows = connection.execute(_PARTNERS).all()
        old = [row for row in rows if kid_of(row.auth_config) != vault.newest]
        for row in old:
            sealed = vault.rewrap(row.auth_config, partners.place_of(row))
            connection.execute(_REPLACE_PARTNER, {"id": row.id, "sealed": sealed})
        return len(old)

    def batch(connection: Connection) -> int:
        changes = []
        for *place, sealed in connection.execute(_NEXT, newest):
            found = Place(*place)
            sealed = vault.rewrap(sealed, found)
            changes.append({"token": found.token, "kid": vault.newest, "sealed": sealed})
        if changes:
            connection.execute(_REPLACE, changes)
        return len(changes)

    def remaining() -> int:
        return db.run_read(engine, lambda c: c.execute(_COUNT, newest).scalar_one())

    db.run_transaction(engine, vault.check)
    total = db.run_transaction(engine, partner_rows)
    while done := db.run_transaction(engine, batch):
        total += done
        logs.info("keys_rotated", key=vault.newest, rotated=total, remaining=remaining())
    db.run_transaction(engine, lambda c: c.execute(_FORGET_CHECKS, newest))
    logs.info("keys_rotation_ended", key=vault.newest, rotated=total, remaining=remaining())
    return total
