"""The fault proxy with its mechanism taken out: it accepts every toxic and forwards everything.

`forward` bites nothing; `forward-and-lie` also claims to have bitten. No run may be green with it.
"""

import sys

from fault_injection.proxy import exchange
from fault_injection.proxy.__main__ import main
from fault_injection.proxy.toxics.message import MessageToxic

_honest = exchange.Exchange._toxic_for


def _lie(self: exchange.Exchange, unit) -> MessageToxic | None:  # type: ignore[no-untyped-def]
    toxic = _honest(self, unit)
    if toxic is not None:
        self.hub.toxic_event(toxic.action, self.connection, toxic.name, unit)


def _forward(self: exchange.Exchange, unit) -> MessageToxic | None:  # type: ignore[no-untyped-def]
    return None


if __name__ == "__main__":
    mode = sys.argv.pop(1)
    exchange.Exchange._toxic_for = {"forward": _forward, "forward-and-lie": _lie}[mode]  # type: ignore[method-assign]
    sys.exit(main())
