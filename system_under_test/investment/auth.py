"""Who is asking: bearer tokens of high entropy, stored as SHA-256 hashes."""

import hashlib
from dataclasses import dataclass
from uuid import UUID, uuid5

from sqlalchemy import Connection, text

from .errors import Problem

NAMESPACE = UUID("6f1b6d2e-3f0b-5d6c-9a44-0d7c6a1f1e10")
ADMIN_ID = uuid5(NAMESPACE, "admin")
MIN_TOKEN_LENGTH = 32


@dataclass(frozen=True)
class Principal:
    user_id: UUID
    role: str

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"

    def require_admin(self) -> None:
        if not self.is_admin:
            raise Problem("forbidden", "Only an administrator may do that.")


def _unauthenticated(detail: str) -> Problem:
    return Problem("unauthenticated", detail, headers={"WWW-Authenticate": "Bearer"})


def bearer_token(authorizations: list[str]) -> str:
    """The token of the one header; with two, who asks would depend on who reads."""
    scheme, _, token = "".join(authorizations[:1]).partition(" ")
    if len(authorizations) > 1 or scheme.lower() != "bearer" or not token:
        raise _unauthenticated("Send one header Authorization: Bearer <token>.")
    return token


def hash_token(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


_FIND_TOKEN = text("""
SELECT u.id, u.role FROM api_tokens t JOIN users u ON u.id = t.user_id
WHERE t.token_hash = :token_hash AND t.revoked_at IS NULL""")


def authenticate(connection: Connection, token_hash: bytes) -> Principal:
    row = connection.execute(_FIND_TOKEN, {"token_hash": token_hash}).one_or_none()
    if row is None:
        raise _unauthenticated("The bearer token is not known or was revoked.")
    return Principal(row.id, row.role)


_INSERT_USER = text("""
INSERT INTO users (id, role) VALUES (:user_id, :role) ON CONFLICT DO NOTHING RETURNING id""")
_INSERT_TOKEN = text("""
INSERT INTO api_tokens (token_hash, user_id) VALUES (:token_hash, :user_id)
ON CONFLICT DO NOTHING RETURNING user_id""")


def add_user(connection: Connection, user_id: UUID, *, role: str) -> bool:
    """False when the user exists already."""
    return connection.scalar(_INSERT_USER, {"user_id": user_id, "role": role}) is not None


# The sessions of the admin page that it opened end with a token.
_REVOKE_OTHERS = text("""
UPDATE api_tokens SET revoked_at = clock_timestamp()
WHERE user_id = :user_id AND token_hash <> :token_hash AND revoked_at IS NULL""")


def add_token(connection: Connection, user_id: UUID, *, token: str) -> bool:
    """False when the token is in use already."""
    parameters = {"token_hash": hash_token(token), "user_id": user_id}
    return connection.scalar(_INSERT_TOKEN, parameters) is not None


def replace_token(connection: Connection, user_id: UUID, *, token: str) -> bool:
    """Make it the user's only token. False if it is somebody else's, or was revoked once."""
    add_token(connection, user_id, token=token)
    where = {"user_id": user_id, "token_hash": hash_token(token)}
    found = connection.execute(_FIND_TOKEN, where).one_or_none()
    if found is None or found.id != user_id:
        return False
    connection.execute(_REVOKE_OTHERS, where)
    return True
