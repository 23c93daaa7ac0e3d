"""A message comes late, and all that follows it in its direction comes behind it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from fault_injection.proxy.toxics.message.base import WAIT_MS_MAX, MessageToxic

if TYPE_CHECKING:
    from fault_injection.proxy.exchange import Exchange
    from fault_injection.proxy.gate import Gate
    from fault_injection.proxy.protocols import Unit


class Late(MessageToxic):
    """A message is kept for some time; `wait` names the attribute that says how long."""

    streams = ("upstream", "downstream")
    keeps_reply = True
    wait: ClassVar[str]

    def on_request(self, exchange: Exchange, unit: Unit, data: bytes) -> None:
        exchange.up.then(partial(self._keep, exchange, exchange.up, unit, data))

    def on_reply(self, exchange: Exchange, unit: Unit, data: bytes) -> None:
        exchange.down.then(partial(self._keep, exchange, exchange.down, unit, data))

    def _keep(self, exchange: Exchange, gate: Gate, unit: Unit, data: bytes) -> None:
        if self.gone:
            gate.write(data)
            return

        def opened(reason: str) -> None:
            self.closed_gates.discard(gate)
            exchange.note(self, unit, action="released", reason=reason)

        exchange.note(self, unit)
        self.closed_gates.add(gate)
        gate.close(data, within_s=int(self.attributes[self.wait]) / 1000, on_open=opened)


class Hold(Late):
    """Keeps a message until it is released, or until its lease has run out."""

    type = "hold"
    action = "held"
    wait = "lease_ms"
    defaults: ClassVar[dict[str, str | int]] = {**MessageToxic.defaults, "lease_ms": 30_000}
    ranges: ClassVar[dict[str, tuple[int, int]]] = {
        **MessageToxic.ranges,
        "lease_ms": (1, WAIT_MS_MAX),
    }


class Delay(Late):
    """Keeps a message for a while."""

    type = "delay"
    action = "delayed"
    wait = "delay_ms"
    defaults: ClassVar[dict[str, str | int]] = {**MessageToxic.defaults, "delay_ms": 1_000}
    ranges: ClassVar[dict[str, tuple[int, int]]] = {
        **MessageToxic.ranges,
        "delay_ms": (1, WAIT_MS_MAX),
    }
