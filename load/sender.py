"""Sending requests: one kept connection per entry, and never a repetition of its own.

A repetition that the harness does not know of would look like a payment made twice, so a kept
connection that turns out to be dead is an attempt like any other: with an unknown outcome.
"""

import contextlib
import ipaddress
import socket
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from harness.core.errors import UsageError, unknown_name
from harness.core.history import Reply, Request

_CONNECT_SECONDS = 3.0
_BODY_BYTES_MAX = 1 << 20


class HttpSender:
    """The connections of one client, to be used by one thread (or greenlet) at a time."""

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._connections = {name: _connection(name, url) for name, url in entries.items()}
        self._aborted = False

    def __call__(self, request: Request, *, timeout_seconds: float = 10.0) -> Reply:
        """One exchange; the reply's header names are in lower case."""
        try:
            connection = self._connections[request.entry]
        except KeyError:
            raise unknown_name("entry", request.entry, self._connections) from None
        step = "connect"
        try:
            self._refuse_when_aborted()
            if connection.sock is None:
                connection.timeout = min(timeout_seconds, _CONNECT_SECONDS)
                connection.connect()
                self._refuse_when_aborted()
            connection.sock.settimeout(timeout_seconds)
            step = "send"
            connection.request(
                request.method, request.path, body=request.body or None, headers=request.headers
            )
            step = "reply"
            return _reply(connection)
        except (OSError, HTTPException) as error:
            connection.close()
            return Reply(status=None, error=f"{step}: {type(error).__name__}: {error}")

    def abort(self) -> None:
        """End the exchange that another thread waits for, and every later one."""
        self._aborted = True
        for connection in self._connections.values():
            held = connection.sock
            if held is not None:
                with contextlib.suppress(OSError):
                    held.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections.values():
            connection.close()

    def _refuse_when_aborted(self) -> None:
        if self._aborted:
            raise ConnectionAbortedError("the load was stopped")


def _connection(name: str, url: str) -> HTTPConnection:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or not _is_loopback(parts.hostname):
        raise UsageError(
            f"entry “{name}” is not an http address of this machine",
            value=url,
            fix="load only ever aims at loopback, for example http://127.0.0.1:8000",
        )
    return HTTPConnection(parts.hostname, parts.port or 80)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _reply(connection: HTTPConnection) -> Reply:
    response = connection.getresponse()
    # Reading a known length without a limit is what notices a body that was cut short.
    if response.length is not None and response.length <= _BODY_BYTES_MAX:
        body = response.read()
    else:
        body = response.read(_BODY_BYTES_MAX + 1)
        if len(body) > _BODY_BYTES_MAX:
            raise HTTPException(f"the body is longer than {_BODY_BYTES_MAX} bytes")
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Reply(status=response.status, headers=headers, body=body)
