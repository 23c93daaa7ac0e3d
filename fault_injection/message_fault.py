"""What faults on one message of one trace have in common: a toxic on one link."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from harness.core.fault import Observed, Proof, Stack
from harness.core.stack import ProxyEvent

_SLACK_NS = 5_000_000_000


@dataclass(frozen=True, kw_only=True)
class MessageFault:
    """A message toxic on `link`, aimed at the first unit of `trace` that matches."""

    link: str
    trace: str
    operation: str = ""

    fault_name: ClassVar[str] = "message"
    toxic_type: ClassVar[str] = "drop_reply"
    stream: ClassVar[str] = "downstream"
    message_kind = ""
    within = ""

    @property
    def id(self) -> str:
        """The fault's name in its scenario, which is also the toxic's."""
        return f"{self.fault_name}-{self.link}-{self.trace[:12]}"

    def describe(self) -> Mapping[str, str]:
        """Its parameters, for the plan and the report."""
        return {"trace": self.trace, "message": self.message_kind, "within": self.within}

    def details(self) -> Mapping[str, str | int]:
        """What only this type of toxic is told, such as how the connection ends."""
        return {}

    def attributes(self) -> Mapping[str, str | int]:
        """What the proxy is told: which unit, how often, and what this type of toxic needs."""
        chosen = {"trace": self.trace, "kind": self.message_kind, "within": self.within}
        return {**chosen, "occurrence": 1, "times": 1, **self.details()}

    def inject(self, stack: Stack) -> None:
        """Put the toxic on the link."""
        stack.proxies.add_toxic(
            self.link,
            name=self.id,
            type=self.toxic_type,
            stream=self.stream,
            attributes=self.attributes(),
        )

    def heal(self, stack: Stack) -> None:
        """Take the toxic off."""
        stack.proxies.remove_toxic(self.link, self.id)

    def claim(self, seen: Observed) -> ProxyEvent | None:
        """What the proxy says that it did, if anything."""
        claims = seen.claims(self.id)
        return claims[0] if claims else None


def postgres_proof(claim: ProxyEvent | None, seen: Observed, text: str, *, but: str = "") -> Proof:
    """PostgreSQL's own log has `text` for the port that the proxy names, and not `but`.

    A line counts within some seconds of the claim, for ports are used again. `but` is looked for
    in what the same server process wrote.
    """
    where = "postgres log"
    if claim is None:
        return Proof(False, where, {"proxy": "says that it did nothing"})
    log = seen.server_log("postgres")
    line = rf"^(\d+)\.(\d+) (\[\d+\]) \S+\({claim.upstream_port}\) \w+:  .*{re.escape(text)}"
    for match in re.finditer(line, log, re.MULTILINE):
        at_ns = int(match[1]) * 1_000_000_000 + int(match[2].ljust(9, "0"))
        if abs(at_ns - seen.wall_ns(claim.at_ns)) > _SLACK_NS:
            continue
        found = re.search(rf"{re.escape(match[3])} .*{re.escape(but)}", log) if but else None
        evidence = {"line": match[0]} | ({"but": found[0]} if found else {})
        return Proof(found is None, where, evidence, claim.at_ns)
    return Proof(False, where, {"port": str(claim.upstream_port), "line": "none"})
