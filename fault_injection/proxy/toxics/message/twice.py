"""A request arrives twice, as it does when its sender or a gateway sends it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fault_injection.proxy.toxics.message.base import MessageToxic

if TYPE_CHECKING:
    from fault_injection.proxy.exchange import Exchange
    from fault_injection.proxy.protocols import Unit


class DeliverTwice(MessageToxic):
    """Delivers a request twice in a row; the client gets the second answer, or the first."""

    type = "deliver_twice"
    action = "delivered_twice"
    streams = ("upstream",)
    defaults: ClassVar[dict[str, str | int]] = {**MessageToxic.defaults, "answer": "second"}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"answer": ("second", "first")}

    def _fits(self, unit: Unit) -> bool:
        # Clients repeat a transaction as a whole.
        return unit.transaction is None and super()._fits(unit)

    def on_request(self, exchange: Exchange, unit: Unit, data: bytes) -> None:
        swallow_first = self.attributes["answer"] == "second"
        exchange.expect_twice(unit, swallow_first=swallow_first)
        lasting = exchange.decoder.kept_open(data)
        # The server may end the connection only behind the reply that the client gets.
        exchange.up.write(lasting + (data if swallow_first else lasting))
        exchange.note(self, unit)
