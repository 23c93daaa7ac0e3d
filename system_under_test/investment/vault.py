"""The vault: sensitive values are kept encrypted in one table, every other place holds a token.

Envelope encryption: each record has a data key of its own (AES-256-GCM), and only that key is
encrypted (wrapped) by a key-encryption key, so that a rotation never touches the values. Both
encryptions are bound to the record's place; moved to another row, a record does not open. A token
is random and tells nothing; where equal values must be found, a keyed blind index stands beside it.

Layout of a sealed record: version (1 byte), length of the key's name (1), name of the key,
nonce (12) and wrapped data key (48), nonce (12) and ciphertext with its tag.
"""

import binascii
import hmac
import re
from base64 import b64decode
from dataclasses import dataclass
from functools import cache
from os import urandom
from uuid import UUID, uuid4

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, text

from .settings import Settings

ACCOUNT_NUMBER, METADATA = "account-number", "investment-metadata"
DEPOSIT_REFERENCE, PARTNER_ORDER = "deposit-reference", "partner-order"
PARTNER_AUTH, KEY_CHECK = "partner-auth", "key-check"

_VERSION, _KEY_BYTES, _NONCE_BYTES = 1, 32, 12
_WRAPPED_BYTES = _NONCE_BYTES + _KEY_BYTES + 16
_KID = re.compile(r"[A-Za-z0-9._-]{1,32}")

INSERT = text("""
INSERT INTO token_vault (token, purpose, subject_id, kid, sealed)
VALUES (:token, :purpose, :subject_id, :kid, :sealed)""")
_CHECKS = text("SELECT kid, sealed FROM vault_checks ORDER BY kid")
_ADD_CHECK = text("""
INSERT INTO vault_checks (kid, sealed) VALUES (:kid, :sealed) ON CONFLICT DO NOTHING""")
_ONE_OF = text("""
SELECT purpose, token, subject_id, sealed FROM token_vault WHERE kid = :kid LIMIT 1""")


class VaultKeysError(Exception):
    """The keys of this process's environment cannot be used."""


class UndecryptableError(Exception):
    """A record does not open: its key is missing, or it was changed or moved."""


@dataclass(frozen=True)
class Place:
    """Where a record belongs; its encryption is bound to it."""

    purpose: str
    token: UUID
    subject_id: str

    def bind(self, part: str) -> bytes:
        return f"{part}|{self.purpose}|{self.token}|{self.subject_id}".encode()


class Vault:
    """Seals with the newest key-encryption key, opens with every key that it was given."""

    def __init__(self, keys: str, index_key: str) -> None:
        self._keys = _read_keys(keys)
        self.newest = next(iter(self._keys))
        self._index_key = _read_key("INVESTMENT_VAULT_INDEX_KEY", index_key)

    def seal(self, value: str, place: Place) -> bytes:
        """Encrypt under a fresh data key, which the newest key wraps."""
        data_key = AESGCM.generate_key(8 * _KEY_BYTES)
        return self._wrap(data_key, place) + _encrypt(data_key, value.encode(), place.bind("value"))

    def open(self, sealed: bytes, place: Place) -> str:
        """The value; raises UndecryptableError when the record is not the one of this place."""
        data_key, content = self._unwrap(sealed, place)
        try:
            return _decrypt(data_key, content, place.bind("value")).decode()
        except (InvalidTag, ValueError):
            raise _undecryptable(sealed, place) from None

    def rewrap(self, sealed: bytes, place: Place) -> bytes:
        """The same record, opened once to be sure of it, its data key under the newest key."""
        self.open(sealed, place)
        data_key, content = self._unwrap(sealed, place)
        return self._wrap(data_key, place) + content

    def blind_index(self, purpose: str, value: str) -> bytes:
        """What equal values of one purpose have in common; without the key it tells nothing."""
        return hmac.digest(self._index_key, f"{purpose}|{value}".encode(), "sha256")

    def check(self, connection: Connection, *, note: bool = True) -> None:
        """Refuse keys that are not this database's: the index key, and each by its name.

        A key is noted when it is first the newest: by a record that it sealed, which holds what
        the index key makes of a constant.
        """
        if self.newest not in self._verified(connection) and note:
            for *place, sealed in connection.execute(_ONE_OF, {"kid": self.newest}):
                self._require(sealed, Place(*place))
            place, value = _check_of(self.newest), self.blind_index(KEY_CHECK, "").hex()
            connection.execute(_ADD_CHECK, {"kid": self.newest, "sealed": self.seal(value, place)})
            self._verified(connection)  # somebody may have been faster, with another key

    def _verified(self, connection: Connection) -> set[str]:
        stored = {row.kid: row.sealed for row in connection.execute(_CHECKS)}
        for kid, sealed in stored.items():
            if self._require(sealed, _check_of(kid)) != self.blind_index(KEY_CHECK, "").hex():
                raise _other_keys("INVESTMENT_VAULT_INDEX_KEY", "its key has other bytes")
        return set(stored)

    def _require(self, sealed: bytes, place: Place) -> str:
        try:
            return self.open(sealed, place)
        except UndecryptableError:
            wrong = f"the key {kid_of(sealed)!r} is missing or has other bytes"
            raise _other_keys("INVESTMENT_VAULT_KEYS", wrong) from None

    def keep(self, connection: Connection, place: Place, value: str) -> None:
        """Put a value into the vault under its token, in the caller's transaction."""
        connection.execute(INSERT, self.row(place, value))

    def tokenise(
        self, connection: Connection, *, purpose: str, subject_id: object, value: str | None
    ) -> UUID | None:
        """Put a value into the vault and give its new token; None stays None."""
        if value is None:
            return None
        token = uuid4()
        self.keep(connection, Place(purpose, token, str(subject_id)), value)
        return token

    def row(self, place: Place, value: str) -> dict[str, object]:
        """The parameters of INSERT."""
        return vars(place) | {"kid": self.newest, "sealed": self.seal(value, place)}

    def _wrap(self, data_key: bytes, place: Place) -> bytes:
        kid = self.newest
        head = bytes([_VERSION, len(kid)]) + kid.encode()
        return head + _encrypt(self._keys[kid], data_key, place.bind(f"key|{kid}"))

    def _unwrap(self, sealed: bytes, place: Place) -> tuple[bytes, bytes]:
        kid = kid_of(sealed)
        start = 2 + len(kid)
        wrapped = sealed[start : start + _WRAPPED_BYTES]
        try:
            data_key = _decrypt(self._keys[kid], wrapped, place.bind(f"key|{kid}"))
        except (KeyError, InvalidTag, ValueError):
            raise _undecryptable(sealed, place) from None
        return data_key, sealed[start + _WRAPPED_BYTES :]


def _check_of(kid: str) -> Place:
    return Place(KEY_CHECK, UUID(int=0), kid)


def _other_keys(name: str, value: str) -> VaultKeysError:
    return VaultKeysError(
        f"the vault's keys are not those of this database: {value}; {name} comes from the "
        "environment; set it to what the other processes have"
    )


def _encrypt(key: bytes, content: bytes, bound_to: bytes) -> bytes:
    nonce = urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, content, bound_to)


def _decrypt(key: bytes, content: bytes, bound_to: bytes) -> bytes:
    return AESGCM(key).decrypt(content[:_NONCE_BYTES], content[_NONCE_BYTES:], bound_to)


def kid_of(sealed: bytes) -> str:
    """The name of the key that wraps the record; an unreadable one gives an empty name."""
    if len(sealed) < 2 or sealed[0] != _VERSION:
        return ""
    return sealed[2 : 2 + sealed[1]].decode("ascii", errors="replace")


def _undecryptable(sealed: bytes, place: Place) -> UndecryptableError:
    return UndecryptableError(
        f"a sealed record does not open: {place.purpose} {place.token} of {place.subject_id}, "
        f"wrapped by the key {kid_of(sealed)!r}; either INVESTMENT_VAULT_KEYS lacks that key, then "
        "add it, or the record was changed or moved, then restore its row from a backup"
    )


def _read_keys(setting: str) -> dict[str, bytes]:
    name = "INVESTMENT_VAULT_KEYS"
    keys: dict[str, bytes] = {}
    for number, part in enumerate(setting.split(",") if setting else (), 1):
        kid, _, encoded = part.strip().partition(":")
        if not _KID.fullmatch(kid) or kid in keys:
            raise _bad_keys(name, f"the name of key {number} is malformed or used twice")
        keys[kid] = _read_key(name, encoded)
    if not keys:
        raise _bad_keys(name, "it is empty")
    return keys


def _read_key(name: str, encoded: str) -> bytes:
    try:
        key = b64decode(encoded, validate=True)
    except binascii.Error:
        raise _bad_keys(name, f"{len(encoded)} characters are not base64") from None
    if len(key) != _KEY_BYTES:
        raise _bad_keys(name, f"a key has {len(key)} bytes")
    return key


def _bad_keys(name: str, value: str) -> VaultKeysError:
    example = "`kid:base64`, newest first, separated by commas" if "KEYS" in name else "base64"
    return VaultKeysError(
        f"the vault cannot be opened: {value}; {name} comes from the environment; set it to "
        f"{example}, with {_KEY_BYTES} random bytes for each key"
    )


@cache
def vault_of(settings: Settings) -> Vault:
    """The vault of this process; raises VaultKeysError without usable keys."""
    return Vault(settings.vault_keys, settings.vault_index_key)
