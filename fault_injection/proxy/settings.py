"""The JSON body of a proxy: read as leniently as Go's decoder reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from fault_injection.proxy.errors import ApiError, bad_body
from fault_injection.proxy.protocols import DECODERS
from fault_injection.proxy.tls import Tls, listen_tls, upstream_tls
from fault_injection.proxy.toxics.model import create_toxic, go_type, text_field

PROXY = "toxiproxy.Proxy"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"invalid character '{name[0]}' looking for beginning of value")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def parse_json(body: bytes) -> object:
    """The first JSON value of a body; what follows it is ignored."""
    text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
    if not text:
        raise bad_body("EOF")
    try:
        value, _ = _DECODER.raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise bad_body(str(error)) from error
    return value


def parse_object(body: bytes) -> dict[str, object]:
    """A JSON object with lower-cased keys; `null` is an empty one."""
    return as_object(parse_json(body), PROXY)


def as_object(value: object, type_: str) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad_body(f"json: cannot unmarshal {go_type(value)} into Go value of type {type_}")
    return {key.lower(): item for key, item in value.items()}


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """What a body says about a proxy; None is what it does not say.

    Toxiproxy ignores `toxics` here. Ours takes those of a new proxy.
    """

    name: str
    listen: str | None
    upstream: str | None
    enabled: bool | None
    protocol: str | None
    listen_tls: Tls | None
    upstream_tls: Tls | None
    toxics: tuple[dict[str, object], ...]

    @classmethod
    def parse(cls, body: dict[str, object]) -> ProxySettings:
        enabled = body.get("enabled")
        if enabled is not None and not isinstance(enabled, bool):
            raise bad_body(
                f"json: cannot unmarshal {go_type(enabled)} into Go struct field "
                "Proxy.enabled of type bool"
            )
        protocol = _text(body, "protocol")
        if protocol and protocol not in DECODERS:
            known = ", ".join(sorted(DECODERS))
            raise ApiError(400, f"unknown protocol: {protocol} (known: {known})")
        listen, upstream = body.get("listen_tls"), body.get("upstream_tls")
        return cls(
            name=_text(body, "name") or "",
            listen=_text(body, "listen"),
            upstream=_text(body, "upstream"),
            enabled=enabled,
            protocol=protocol,
            listen_tls=None if listen is None else listen_tls(listen),
            upstream_tls=None if upstream is None else upstream_tls(upstream),
            toxics=_toxics(body.get("toxics")),
        )

    def require(self, where: str = "") -> None:
        for field in ("name", "upstream"):
            if not getattr(self, field):
                raise ApiError(400, f"missing required field: {field}{where}")


def _toxics(given: object) -> tuple[dict[str, object], ...]:
    """Valid bodies of toxics; what is no list is ignored, as Toxiproxy does."""
    entries = given if isinstance(given, list) else []
    bodies = tuple(as_object(entry, "toxics.ToxicWrapper") for entry in entries)
    taken: set[str] = set()
    for body in bodies:
        taken.add(create_toxic(body, taken=taken).name)
    return bodies


def _text(body: dict[str, object], key: str) -> str | None:
    return text_field(body, key, f"Go struct field Proxy.{key}")
