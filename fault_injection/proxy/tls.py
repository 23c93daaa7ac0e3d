"""TLS on either leg of a proxy: what a body asks for, as a context that is ready to use."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from fault_injection.proxy.errors import ApiError

HANDSHAKE_TIMEOUT_S = 10.0
VERIFY = ("full", "chain", "none")


@dataclass(frozen=True, slots=True)
class Tls:
    """The settings as the API shows them, and their context; none when TLS is off."""

    settings: Mapping[str, str]
    context: ssl.SSLContext | None = field(default=None, compare=False)

    @property
    def server_name(self) -> str | None:
        return self.settings.get("server_name")


OFF = Tls({})


def _texts(field: str, given: object, known: tuple[str, ...]) -> dict[str, str]:
    if not isinstance(given, dict):
        raise ApiError(400, f"{field} must be an object")
    for key, value in given.items():
        if key not in known:
            raise ApiError(400, f"unknown key of {field}: {key} (known: {', '.join(known)})")
        if not isinstance(value, str):
            raise ApiError(400, f"{field}.{key} must be a string")
    return dict(given)


def _load_certificate(field: str, context: ssl.SSLContext, settings: Mapping[str, str]) -> None:
    try:
        context.load_cert_chain(settings["certificate"], settings.get("key"))
    except (OSError, ValueError) as error:
        raise ApiError(400, f"{field}: certificate or key cannot be used: {error}") from error


def listen_tls(given: object) -> Tls:
    """`{"certificate": FILE, "key": FILE}`; an empty object turns TLS off."""
    field = "listen_tls"
    settings = _texts(field, given, ("certificate", "key"))
    if not settings:
        return OFF
    if "certificate" not in settings:
        raise ApiError(400, f"missing required field: {field}.certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load_certificate(field, context, settings)
    return Tls(settings, context)


def upstream_tls(given: object) -> Tls:
    """`{"verify": "full"|"chain"|"none", "ca"?, "server_name"?, "certificate"?, "key"?}`.

    `full` checks chain and name, `chain` the chain alone; an empty object turns TLS off.
    """
    field = "upstream_tls"
    settings = _texts(field, given, ("verify", "ca", "server_name", "certificate", "key"))
    if not settings:
        return OFF
    verify = settings.get("verify")
    if verify not in VERIFY:
        raise ApiError(400, f"{field}.verify must be one of {', '.join(VERIFY)}, not {verify}")
    try:
        context = ssl.create_default_context(cafile=settings.get("ca"))
    except (OSError, ValueError) as error:
        raise ApiError(400, f"{field}: ca cannot be used: {error}") from error
    if verify != "full":
        context.check_hostname = False
    if verify == "none":
        context.verify_mode = ssl.CERT_NONE
    if "certificate" in settings:
        _load_certificate(field, context, settings)
    return Tls(settings, context)
