"""Toxics that act on one decoded exchange instead of on a stream.

Each kind is one class: its attributes with defaults, the name of its action, and `bite`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from fault_injection.proxy import chance
from fault_injection.proxy.errors import ApiError
from fault_injection.proxy.numbers import json_number

if TYPE_CHECKING:
    from fault_injection.proxy.connection import Connection
    from fault_injection.proxy.protocols import Unit

_TRACE = re.compile(r"[0-9a-f]{32}|")


class MessageToxic(ABC):
    """Chooses units by trace, kind, fingerprint, transaction and occurrence."""

    type: ClassVar[str]
    action: ClassVar[str]
    # Where the toxic works: replies travel downstream.
    only_stream: ClassVar[str]
    defaults: ClassVar[dict[str, str | int]] = {
        "trace": "",
        "kind": "",
        "fingerprint": "",
        "within": "",
        "occurrence": 0,
        "times": 1,
    }
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}

    def __init__(
        self, name: str, stream: str, toxicity: float, given: Mapping[str, object]
    ) -> None:
        if stream.lower() != self.only_stream:
            raise ApiError(400, f"stream of {self.type} must be {self.only_stream}, not {stream}")
        self.name = name
        self.stream = stream
        self.toxicity = toxicity
        self.attributes: dict[str, str | int] = dict(self.defaults)
        self.update(given)

    @property
    def direction(self) -> str:
        return self.stream.lower()

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
        self.attributes = {**self.attributes, **self._validated(given)}
        self.trace = str(self.attributes["trace"])
        self.kind = str(self.attributes["kind"]).upper()
        self.fingerprint = str(self.attributes["fingerprint"])
        self.within = str(self.attributes["within"])
        self.matched = 0
        self.bitten = 0
        seed = int(self.attributes.get("seed", chance.DEFAULT_SEED))
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
            if wanted is int and value < (1 if key == "times" else 0) and key != "seed":
                raise ApiError(400, f"attribute {key} of {self.type} is too small: {value}")
            if key in self.choices and value not in self.choices[key]:
                words = " or ".join(self.choices[key])
                raise ApiError(400, f"attribute {key} of {self.type} must be {words}: {value!r}")
            if key == "trace" and not _TRACE.fullmatch(value):
                raise ApiError(400, f"attribute trace must be 32 lower-case hex digits: {value!r}")
        return dict(given)

    def _matches_request(self, unit: Unit) -> bool:
        if self.bitten >= self.attributes["times"]:
            return False
        if self.kind and self.kind != unit.kind:
            return False
        if self.fingerprint not in unit.fingerprint:
            return False
        return not self.within or self._is_within(unit)

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

    @abstractmethod
    def bite(self, connection: Connection) -> None:
        """Does what the toxic does once its unit's complete reply was taken."""


class DropReply(MessageToxic):
    """Swallows one complete reply, then resets the connection or falls silent."""

    type = "drop_reply"
    action = "dropped_reply"
    only_stream = "downstream"
    defaults: ClassVar[dict[str, str | int]] = {**MessageToxic.defaults, "then": "reset"}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"then": ("reset", "silence")}

    def bite(self, connection: Connection) -> None:
        if self.attributes["then"] == "silence":
            connection.silence(self.name)
        else:
            connection.reset_after_delivery()


MESSAGE_TOXICS: dict[str, type[MessageToxic]] = {toxic.type: toxic for toxic in (DropReply,)}
