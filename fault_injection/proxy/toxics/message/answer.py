"""The dependency answers with an error, or with what is no answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fault_injection.proxy.toxics.message.base import MessageToxic

if TYPE_CHECKING:
    from fault_injection.proxy.exchange import Exchange
    from fault_injection.proxy.protocols import Unit


class AnswerWithError(MessageToxic):
    """Answers a request with an error: upstream, instead of forwarding it; downstream, after that.

    Both sides end up as they do after the real error: where the server must know of it, it gets a
    request that makes it fail in the same way.
    """

    type = "answer_with_error"
    action = "answered_with_error"
    streams = ("upstream", "downstream")
    defaults: ClassVar[dict[str, str | int]] = {**MessageToxic.defaults, "error": ""}

    def _fits(self, unit: Unit) -> bool:
        # A transaction that has failed has only one answer until it ends.
        failed = unit.transaction is not None and unit.transaction.failed
        return not failed and super()._fits(unit)

    def on_request(self, exchange: Exchange, unit: Unit, data: bytes) -> None:
        refusal = exchange.decoder.refusal(unit, self.error)
        if refusal.stand_in:
            exchange.substitute(unit, refusal.reply)
            exchange.up.write(refusal.stand_in)
        else:
            exchange.answer(unit, refusal.reply, ends=refusal.ends)
        exchange.note(self, unit)

    def on_reply(self, exchange: Exchange, unit: Unit, data: bytes) -> None:
        exchange.down.write(exchange.decoder.refusal(unit, self.error).reply)
        exchange.note(self, unit)
