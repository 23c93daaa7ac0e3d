"""What faults on one message of one trace have in common: a toxic on one link."""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.core.fault import Observed, Stack
from harness.core.stack import ProxyEvent


@dataclass(frozen=True, kw_only=True)
class MessageFault:
    """A message toxic on `link`, aimed at the first unit of `trace` that matches."""

    link: str
    trace: str
    operation: str = ""

    toxic_type = "drop_reply"
    message_kind = ""
    within = ""

    @property
    def id(self) -> str:
        """The fault's name in its scenario, which is also the toxic's."""
        return f"{self.toxic_type}-{self.link}-{self.trace[:12]}"

    def describe(self) -> Mapping[str, str]:
        """Its parameters, for the plan and the report."""
        return {"trace": self.trace, "message": self.message_kind, "within": self.within}

    def attributes(self) -> Mapping[str, str | int]:
        """What the proxy is told: which unit, how often, and how the connection ends."""
        return {
            "trace": self.trace,
            "kind": self.message_kind,
            "within": self.within,
            "occurrence": 1,
            "times": 1,
            "then": "reset",
        }

    def inject(self, stack: Stack) -> None:
        """Put the toxic on the link."""
        stack.proxies.add_toxic(
            self.link,
            name=self.id,
            type=self.toxic_type,
            stream="downstream",
            attributes=self.attributes(),
        )

    def heal(self, stack: Stack) -> None:
        """Take the toxic off."""
        stack.proxies.remove_toxic(self.link, self.id)

    def claim(self, seen: Observed) -> ProxyEvent | None:
        """What the proxy says that it did, if anything."""
        claims = seen.claims(self.id)
        return claims[0] if claims else None
