"""Decoders by protocol name."""

from __future__ import annotations

from fault_injection.proxy.protocols.base import Context, Decoder, Handling, Unit
from fault_injection.proxy.protocols.http import HttpDecoder
from fault_injection.proxy.protocols.postgres import PostgresDecoder
from fault_injection.proxy.protocols.redis import RedisDecoder

DECODERS: dict[str, type[Decoder]] = {
    decoder.protocol: decoder for decoder in (PostgresDecoder, RedisDecoder, HttpDecoder)
}

__all__ = ["DECODERS", "Context", "Decoder", "Handling", "Unit"]
