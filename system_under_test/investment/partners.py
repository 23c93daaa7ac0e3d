"""What the partner knows us by: its auth_config, sealed by the vault's keys."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid5

from sqlalchemy import Connection, Engine, Row, text

from . import db, logs, tracing
from .auth import NAMESPACE
from .settings import Settings
from .vault import PARTNER_AUTH, Place, Vault, vault_of

NAME = "partner"
_ID = uuid5(NAMESPACE, NAME)
_PLACE = Place(PARTNER_AUTH, _ID, NAME)
_MIN_LENGTH = 16

_FIND = text("SELECT auth_config FROM external_investment_partners WHERE id = :id")
_STORE = text("""
INSERT INTO external_investment_partners (id, name, auth_config) VALUES (:id, :name, :sealed)
ON CONFLICT (id) DO UPDATE SET auth_config = excluded.auth_config""")


class PartnerAuthError(Exception):
    """There is no usable auth_config."""


@dataclass(frozen=True)
class PartnerAuth:
    api_key: str = field(repr=False)
    callback_secret: str = field(repr=False)


def place_of(partner: Row) -> Place:
    """The place that a row of external_investment_partners is sealed for."""
    return Place(PARTNER_AUTH, partner.id, partner.name)


def store(connection: Connection, settings: Settings) -> None:
    """Keep the auth_config, sealed; without one in the settings the stored one stays."""
    vault = vault_of(settings)
    auth = PartnerAuth(settings.partner_api_key, settings.partner_callback_secret)
    document = json.dumps(vars(auth))
    stored = connection.execute(_FIND, {"id": _ID}).scalar_one_or_none()
    if stored is not None and (not auth.api_key or document == vault.open(stored, _PLACE)):
        return
    if min(len(auth.api_key), len(auth.callback_secret)) < _MIN_LENGTH:
        raise PartnerAuthError(
            f"the partner's auth_config is not usable: {len(auth.api_key)} and "
            f"{len(auth.callback_secret)} characters; INVESTMENT_PARTNER_API_KEY and "
            "INVESTMENT_PARTNER_CALLBACK_SECRET come from the environment; set both to what was "
            f"agreed with the partner, at least {_MIN_LENGTH} characters each"
        )
    sealed = vault.seal(document, _PLACE)
    connection.execute(_STORE, {"id": _ID, "name": NAME, "sealed": sealed})


def load(connection: Connection, vault: Vault) -> PartnerAuth:
    """The auth_config as it is now; what it holds is kept out of this process's logs."""
    stored = connection.execute(_FIND, {"id": _ID}).scalar_one_or_none()
    if stored is None:
        raise PartnerAuthError(
            "no partner is known: external_investment_partners has no row with an auth_config; "
            "`python -m investment prepare` writes it from INVESTMENT_PARTNER_API_KEY and "
            "INVESTMENT_PARTNER_CALLBACK_SECRET; run it"
        )
    auth = PartnerAuth(**json.loads(vault.open(stored, _PLACE)))
    logs.hide(auth.api_key, auth.callback_secret)
    return auth


def api_key_reader(engine: Engine, settings: Settings) -> Callable[[], str]:
    """Reads the API key anew at each call, and as no part of the caller's trace."""

    def read() -> str:
        with tracing.traced(None):
            return db.run_read(engine, lambda c: load(c, vault_of(settings))).api_key

    return read
