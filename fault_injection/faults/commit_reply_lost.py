"""The ambiguous commit: done in the database, unknown to the service."""

import re
from dataclasses import dataclass

from fault_injection.message_fault import MessageFault
from harness.core.fault import Observed, Proof, fault

_LOST = "could not receive data from client: Connection reset by peer"
_OPEN = "unexpected EOF on client connection with an open transaction"
_SLACK_NS = 5_000_000_000


@fault("commit-reply-lost")
@dataclass(frozen=True, kw_only=True)
class CommitReplyLost(MessageFault):
    """The database commits, but its reply to the COMMIT never arrives; the connection is reset.

    `within` names a statement of the transaction whose COMMIT is meant. The observer is
    PostgreSQL's own log: it names the peer's port, says that the connection was reset, and would
    say so if the transaction had still been open, which is how a lost request looks.
    """

    within: str
    message_kind = "COMMIT"

    def proof(self, seen: Observed) -> Proof:
        """PostgreSQL logged a reset from the very port, outside any transaction."""
        claim = self.claim(seen)
        if claim is None:
            return Proof(False, "postgres log", {"proxy": "says that it dropped nothing"})
        log = seen.server_log("postgres")
        line = rf"^(\d+)\.(\d+) (\[\d+\]) \S+\({claim.upstream_port}\) LOG:  {re.escape(_LOST)}"
        for match in re.finditer(line, log, re.MULTILINE):
            at_ns = int(match[1]) * 1_000_000_000 + int(match[2].ljust(9, "0"))
            if abs(at_ns - seen.wall_ns(claim.at_ns)) > _SLACK_NS:
                continue
            uncommitted = re.search(rf"{re.escape(match[3])} .*{re.escape(_OPEN)}", log)
            evidence = {"line": match[0]} | ({"but": uncommitted[0]} if uncommitted else {})
            return Proof(uncommitted is None, "postgres log", evidence, claim.at_ns)
        return Proof(False, "postgres log", {"port": str(claim.upstream_port), "line": "none"})
