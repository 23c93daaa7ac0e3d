"""The connection dies around a request: before it arrives, or before its reply is read."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fault_injection.proxy.toxics.message.base import MessageToxic

if TYPE_CHECKING:
    from fault_injection.proxy.exchange import Exchange
    from fault_injection.proxy.protocols import Unit


class ResetBefore(MessageToxic):
    """Resets the connection instead of forwarding a request."""

    type = "reset_before"
    action = "reset_before"
    streams = ("upstream",)

    def on_request(self, exchange: Exchange, unit: Unit, data: bytes) -> None:
        exchange.ask_no_more()
        exchange.up.then(partial(self._reset, exchange, unit))

    def _reset(self, exchange: Exchange, unit: Unit) -> None:
        exchange.finish(self, unit)
        exchange.connection.cut(reset=True)


class ResetAfter(MessageToxic):
    """Forwards a request, then resets the connection without reading the reply."""

    type = "reset_after"
    action = "reset_after"
    streams = ("upstream",)

    def on_request(self, exchange: Exchange, unit: Unit, data: bytes) -> None:
        exchange.ask_no_more()
        exchange.up.write(data)
        exchange.up.then(partial(self._reset, exchange, unit))

    def _reset(self, exchange: Exchange, unit: Unit) -> None:
        exchange.finish(self, unit)
        exchange.connection.reset_behind_request()
