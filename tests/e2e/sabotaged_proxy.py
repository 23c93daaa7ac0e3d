"""The fault proxy with its mechanism taken out or replaced; it accepts every toxic.

`forward` bites nothing; `forward-and-lie` also claims to have bitten; `lose-the-request` really
resets, but before the request was forwarded, and claims to have lost the reply. No run may be green
with any of them.
"""

import sys

from fault_injection.proxy import exchange
from fault_injection.proxy.__main__ import main
from fault_injection.proxy.toxics.message import MessageToxic

_honest = exchange.Exchange._toxic_for
_honest_before = exchange.Exchange._toxic_before


def _lie(self: exchange.Exchange, unit) -> MessageToxic | None:  # type: ignore[no-untyped-def]
    toxic = _honest(self, unit)
    if toxic is not None:
        self.hub.toxic_event(toxic.action, self.connection, toxic.name, unit)


def _lie_before(self: exchange.Exchange, unit) -> MessageToxic | None:  # type: ignore[no-untyped-def]
    toxic = _honest_before(self, unit)
    if toxic is not None:
        self.hub.toxic_event(toxic.action, self.connection, toxic.name, unit)


def _forward(self: exchange.Exchange, unit) -> MessageToxic | None:  # type: ignore[no-untyped-def]
    return None


def _lose_the_request(self: exchange.Exchange, data: bytes) -> None:
    for unit, _ in self.decoder.requests(data):
        toxic = _honest(self, unit)
        if toxic is not None:
            self.hub.toxic_event(toxic.action, self.connection, toxic.name, unit)
            self.finished = True
            self.connection.reset()
            return
    self.connection.up.entry(data)


if __name__ == "__main__":
    mode = sys.argv.pop(1)
    if mode == "lose-the-request":
        exchange.Exchange.from_client = _lose_the_request  # type: ignore[method-assign]
        exchange.Exchange._toxic_for = _forward  # type: ignore[method-assign]
    else:
        replies, requests = {
            "forward": (_forward, _forward),
            "forward-and-lie": (_lie, _lie_before),
        }[mode]
        exchange.Exchange._toxic_for = replies  # type: ignore[method-assign]
        exchange.Exchange._toxic_before = requests  # type: ignore[method-assign]
    sys.exit(main())
