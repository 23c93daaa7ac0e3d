"""Errors of the proxy's control API, as Toxiproxy words them."""

from __future__ import annotations


class ApiError(Exception):
    """A refusal with the HTTP status that the API answers."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def bad_body(detail: str) -> ApiError:
    return ApiError(400, f"bad request body: {detail}")


class Undecodable(Exception):
    """The bytes are not (or no longer) the protocol that the proxy was told to decode."""
