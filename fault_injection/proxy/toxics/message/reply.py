"""A reply is lost or cut off."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from fault_injection.proxy.toxics.message.base import MessageToxic

if TYPE_CHECKING:
    from fault_injection.proxy.exchange import Exchange
    from fault_injection.proxy.protocols import Unit


class DropReply(MessageToxic):
    """Swallows one complete reply, then resets the connection or falls silent."""

    type = "drop_reply"
    action = "dropped_reply"
    streams = ("downstream",)
    defaults: ClassVar[dict[str, str | int]] = {**MessageToxic.defaults, "then": "reset"}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"then": ("reset", "silence")}

    def on_reply(self, exchange: Exchange, unit: Unit, data: bytes) -> None:
        exchange.finish(self, unit)
        connection = exchange.connection
        if self.attributes["then"] == "silence":
            exchange.down.then(partial(connection.silence, self.name))
        else:
            exchange.down.then(partial(connection.cut, reset=True))


class Truncate(MessageToxic):
    """Delivers the first bytes of one reply, half of them unless told, then ends the connection."""

    type = "truncate"
    action = "truncated"
    streams = ("downstream",)
    keeps_reply = True
    defaults: ClassVar[dict[str, str | int]] = {**MessageToxic.defaults, "bytes": 0, "then": "end"}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"then": ("end", "reset")}

    def on_reply(self, exchange: Exchange, unit: Unit, data: bytes) -> None:
        exchange.finish(self, unit)
        wanted = int(self.attributes["bytes"]) or len(data) // 2
        exchange.down.write(data[: min(wanted, len(data) - 1)])
        reset = self.attributes["then"] == "reset"
        exchange.down.then(partial(exchange.connection.cut, reset=reset))
