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


def bearer_token(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise _unauthenticated("Send the header Authorization: Bearer <token>.")
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


def add_token(connection: Connection, user_id: UUID, *, token: str) -> bool:
    """False when the token is in use already."""
    parameters = {"token_hash": hash_token(token), "user_id": user_id}
    return connection.scalar(_INSERT_TOKEN, parameters) is not None
