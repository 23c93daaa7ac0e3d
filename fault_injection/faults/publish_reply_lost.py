"""The queue has the message, and the publisher was not told."""

import re
from dataclasses import dataclass

from fault_injection.message_fault import MessageFault
from harness.core.fault import Observed, Proof, fault


@fault("publish-reply-lost")
@dataclass(frozen=True, kw_only=True)
class PublishReplyLost(MessageFault):
    """Redis takes the job's message, but its reply is lost; the publisher's connection is reset.

    The observer is the log of `publisher`: it says, with the trace's id, that a publish failed,
    which it never says when it has got its reply. `sign` is what it writes then.
    """

    publisher: str
    sign: str
    message_kind = "LPUSH"

    def proof(self, seen: Observed) -> Proof:
        """The publisher logged a failed publish of this very trace."""
        claim, where = self.claim(seen), f"{self.publisher} log"
        for line in seen.server_log(self.publisher).splitlines():
            if claim and self.trace in line and re.search(self.sign, line):
                return Proof(True, where, {"line": line[:400]}, claim.at_ns)
        return Proof(False, where, {"line": "none", "trace": self.trace})
