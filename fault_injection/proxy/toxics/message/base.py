"""What message toxics have in common: how they choose units, and what the API may say of them."""

from __future__ import annotations

import re
from abc import ABC
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from fault_injection.proxy import chance, fit
from fault_injection.proxy.errors import ApiError
from fault_injection.proxy.numbers import json_number

if TYPE_CHECKING:
    from fault_injection.proxy.exchange import Exchange
    from fault_injection.proxy.gate import Gate
    from fault_injection.proxy.protocols import Unit

_TRACE = re.compile(r"[0-9a-f]{32}|")
WAIT_MS_MAX = 600_000


class MessageToxic(ABC):
    """Chooses units by trace, kind, fingerprint, transaction and occurrence.

    A kind of toxic is one class: its type, the name of its action, its attributes with defaults,
    the streams that it works on, and `on_request` or `on_reply` or both.
    """

    type: ClassVar[str]
    action: ClassVar[str]
    # Requests travel upstream, replies downstream.
    streams: ClassVar[tuple[str, ...]]
    # Whether the bytes of the reply are wanted when it is complete.
    keeps_reply: ClassVar[bool] = False
    defaults: ClassVar[dict[str, str | int]] = {
        "trace": "",
        "kind": "",
        "fingerprint": "",
        "within": "",
        "occurrence": 0,
        "times": 1,
    }
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}
    ranges: ClassVar[dict[str, tuple[int, int]]] = {"times": (1, 2**63 - 1)}

    def __init__(
        self,
        name: str,
        stream: str,
        toxicity: float,
        given: Mapping[str, object],
        *,
        protocol: str | None = None,
    ) -> None:
        if stream.lower() not in self.streams:
            wanted = " or ".join(self.streams)
            raise ApiError(400, f"stream of {self.type} must be {wanted}, not {stream}")
        self.name = name
        self.stream = stream
        self.toxicity = toxicity
        self.protocol = protocol
        self.gone = False
        self.closed_gates: set[Gate] = set()
        self.attributes: dict[str, str | int] = dict(self.defaults)
        self.update(given)

    @property
    def direction(self) -> str:
        return self.stream.lower()

    @property
    def error(self) -> str:
        """Which error it answers with, for toxics that do."""
        return str(self.attributes.get("error", ""))

    def to_json(self) -> dict[str, object]:
        return {
            "attributes": self.attributes,
            "name": self.name,
            "type": self.type,
            "stream": self.stream,
            "toxicity": json_number(self.toxicity),
        }

    def update(self, given: Mapping[str, object]) -> None:
        """Takes validated attributes over and counts from zero again."""
        attributes = {**self.attributes, **self._validated(given)}
        if self.protocol is not None:
            self.must_fit(self.protocol, attributes)
        self.attributes = attributes
        self.trace = str(attributes["trace"])
        self.kind = str(attributes["kind"]).upper()
        self.fingerprint = str(attributes["fingerprint"])
        self.within = str(attributes["within"])
        self.matched = 0
        self.bitten = 0
        seed = int(attributes.get("seed", chance.DEFAULT_SEED))
        self.random = chance.generator(seed, 0, self.stream)

    def _validated(self, given: Mapping[str, object]) -> dict[str, str | int]:
        known: dict[str, str | int] = {**self.defaults, "seed": 0}
        for key, value in given.items():
            if key not in known:
                names = ", ".join(sorted(known))
                raise ApiError(400, f"unknown attribute of {self.type}: {key} (known: {names})")
            wanted = type(known[key])
            if type(value) is not wanted:
                word = "a string" if wanted is str else "a whole number"
                raise ApiError(400, f"attribute {key} of {self.type} must be {word}: {value!r}")
            least, most = self.ranges.get(key, (0, 2**63 - 1))
            if wanted is int and key != "seed" and not least <= value <= most:
                word = "small" if value < least else "large"
                raise ApiError(400, f"attribute {key} of {self.type} is too {word}: {value}")
            if key in self.choices and value not in self.choices[key]:
                words = " or ".join(self.choices[key])
                raise ApiError(400, f"attribute {key} of {self.type} must be {words}: {value!r}")
            if key == "trace" and not _TRACE.fullmatch(value):
                raise ApiError(400, f"attribute trace must be 32 lower-case hex digits: {value!r}")
        return dict(given)

    def must_fit(self, protocol: str, attributes: Mapping[str, str | int]) -> None:
        """Refuses what no dependency, client or network could do."""
        if not protocol:
            raise ApiError(400, f"{self.type} needs a proxy with a protocol: this one decodes none")
        kind = str(attributes["kind"]).upper()
        error = str(attributes.get("error", ""))
        if "error" in attributes and error not in fit.errors(protocol):
            known = ", ".join(sorted(fit.errors(protocol)))
            raise ApiError(400, f"no error of {protocol}: {error!r} (known: {known})")
        reason = fit.impossible(protocol, self.type, self.direction, error, kind)
        if reason is not None:
            what = " ".join(word for word in (self.type, self.direction, error) if word)
            which = kind or "any message"
            raise ApiError(400, f"{what} does not fit {which} of {protocol}: {reason}")

    def _fits(self, unit: Unit) -> bool:
        error = self.error
        return fit.impossible(unit.protocol, self.type, self.direction, error, unit.kind) is None

    def _matches_request(self, unit: Unit) -> bool:
        if self.bitten >= self.attributes["times"]:
            return False
        if self.kind and self.kind != unit.kind:
            return False
        if self.fingerprint not in unit.fingerprint:
            return False
        return (not self.within or self._is_within(unit)) and self._fits(unit)

    def _is_within(self, unit: Unit) -> bool:
        if unit.transaction is None:
            return False
        return any(
            self.within in fingerprint
            for fingerprint in unit.transaction.fingerprints
            if fingerprint != unit.fingerprint
        )

    def matches(self, unit: Unit) -> bool:
        return (not self.trace or self.trace == unit.trace) and self._matches_request(unit)

    def may_match_reply(self, unit: Unit) -> bool:
        """Whether only the text of the reply can tell if the unit is meant."""
        return (
            unit.protocol == "redis"
            and bool(self.trace)
            and unit.trace is None
            and self._matches_request(unit)
        )

    def takes(self) -> bool:
        """Counts a matching unit; says whether this one is to be bitten."""
        self.matched += 1
        occurrence = self.attributes["occurrence"]
        if self.matched < occurrence or self.random.random() >= self.toxicity:
            return False
        self.bitten += 1
        return True

    def on_request(self, exchange: Exchange, unit: Unit, data: bytes) -> None:
        """Does with a complete request what the toxic does instead of forwarding it."""
        raise NotImplementedError

    def on_reply(self, exchange: Exchange, unit: Unit, data: bytes) -> None:
        """Does with a reply what the toxic does instead of delivering it."""
        raise NotImplementedError

    def release(self, reason: str) -> int:
        """Lets go what the toxic holds; how many messages that were."""
        held = list(self.closed_gates)
        for gate in held:
            gate.open(reason)
        return len(held)

    def retire(self) -> None:
        """The toxic was taken off."""
        self.gone = True
        self.release("removed")
