"""A dependency that is there, and cannot be used."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from harness.core.fault import Observed, Proof, Stack, fault


@fault("link-reset")
@dataclass(frozen=True, kw_only=True)
class LinkReset:
    """Every connection of a link is reset as soon as anything is answered on it.

    The observer is the log of `process`, at the link's other end: `sign` is what it writes, at
    least `signs_min` times, when it cannot use the dependency.
    """

    link: str
    process: str
    sign: str
    signs_min: int = 1
    operation: str = ""

    @property
    def id(self) -> str:
        """The fault's name in its scenario, which is also the toxic's."""
        return f"link-reset-{self.link}"

    def describe(self) -> Mapping[str, str]:
        """Its parameters, for the plan and the report."""
        return {"process": self.process, "sign": self.sign, "at least": str(self.signs_min)}

    def inject(self, stack: Stack) -> None:
        """Put the toxic on the link."""
        stack.proxies.add_toxic(
            self.link, name=self.id, type="reset_peer", stream="downstream",
            attributes={"timeout": 0},
        )  # fmt: skip

    def heal(self, stack: Stack) -> None:
        """Take the toxic off."""
        stack.proxies.remove_toxic(self.link, self.id)

    def proof(self, seen: Observed) -> Proof:
        """The process wrote often enough that it could not use the dependency."""
        log = seen.server_log(self.process)
        lines = [line for line in log.splitlines() if re.search(self.sign, line)]
        evidence = {"lines": str(len(lines)), "first": lines[0][:400] if lines else "none"}
        return Proof(len(lines) >= self.signs_min, f"{self.process} log", evidence)
