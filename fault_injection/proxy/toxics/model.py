"""What a toxic is: its name, type, stream, toxicity and validated attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fault_injection.proxy import chance
from fault_injection.proxy.errors import ApiError, bad_body
from fault_injection.proxy.numbers import json_number
from fault_injection.proxy.toxics.message import MESSAGE_TOXICS, MessageToxic
from fault_injection.proxy.toxics.stages import STAGES

INT64 = range(-(2**63), 2**63)
# Ours, for every byte toxic: shown only when given, so that answers stay Toxiproxy's.
COMMON = ("seed", "connections", "every")
STREAMS = ("upstream", "downstream", "both")


@dataclass(slots=True)
class Toxic:
    """A byte toxic as the API shows it; its stages read `attributes` while they work.

    `since` is how many connections its proxy had accepted before.
    """

    name: str
    type: str
    stream: str
    toxicity: float
    attributes: dict[str, object]
    default_seed: int
    since: int

    @property
    def direction(self) -> str:
        return self.stream.lower()

    @property
    def seed(self) -> int:
        return int(self.attributes.get("seed", self.default_seed))

    def works_on(self, stream: str) -> bool:
        return self.direction in (stream, "both")

    def chooses(self, connection: int) -> bool:
        """Whether `connections` (the first so many) and `every` (every so many) mean this one."""
        first, every = self.attributes.get("connections", 0), self.attributes.get("every", 0)
        ordinal = connection - self.since
        if first or every:
            within = ordinal >= 1 and (not first or ordinal <= first)
            return within and (not every or ordinal % every == 0)
        return True

    def to_json(self) -> dict[str, object]:
        return {
            "attributes": self.attributes,
            "name": self.name,
            "type": self.type,
            "stream": self.stream,
            "toxicity": json_number(self.toxicity),
        }


def text_field(body: Mapping[str, object], key: str, where: str) -> str | None:
    """A text of a body; lone surrogates, which are no text, become U+FFFD as in Go."""
    value = body.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise bad_body(f"json: cannot unmarshal {go_type(value)} into {where} of type string")
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _text(body: Mapping[str, object], key: str, default: str) -> str:
    value = text_field(body, key, f"Go struct field ToxicWrapper.{key}")
    return default if value is None else value


def go_type(value: object) -> str:
    """How Go's decoder names a JSON value that has the wrong type."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return f"number {value}"
    return {str: "string", list: "array", dict: "object"}.get(type(value), "null")


def _toxicity(body: Mapping[str, object], current: float) -> float:
    value = body.get("toxicity")
    if value is None:
        return current
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad_body(
            f"json: cannot unmarshal {go_type(value)} into Go struct field "
            "ToxicWrapper.toxicity of type float32"
        )
    if abs(value) > 3.4e38:
        raise bad_body(f"toxicity {value} does not fit into 32 bits")
    return float(value)


def _integer(type_: str, key: str, value: object) -> int:
    integral = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, float) and value.is_integer():
        value, integral = int(value), True
    if not integral or value not in INT64:
        raise bad_body(
            f"json: cannot unmarshal {go_type(value)} into Go struct field "
            f"{type_}.attributes.{key} of type int64"
        )
    return value


def _given_attributes(body: Mapping[str, object]) -> dict[str, object]:
    given = body.get("attributes")
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise bad_body(f"json: cannot unmarshal {go_type(given)} into attributes")
    return {key.lower(): value for key, value in given.items() if value is not None}


def _stage_attributes(
    type_: str, current: Mapping[str, object], given: Mapping[str, object]
) -> dict[str, object]:
    names = (*STAGES[type_].attributes, *COMMON)
    changed = {name: _integer(type_, name, given[name]) for name in names if name in given}
    for name in ("connections", "every"):
        if changed.get(name, 0) < 0:
            raise ApiError(400, f"attribute {name} of {type_} is too small: {changed[name]}")
    return {**current, **changed}


def create_toxic(
    body: Mapping[str, object],
    *,
    taken: set[str],
    seed: int | None = None,
    since: int = 0,
    protocol: str | None = None,
) -> Toxic | MessageToxic:
    """Validates the body of a toxic's creation in the order in which Toxiproxy does.

    With a protocol (`""` is none), a message toxic must also fit it.
    """
    stream = _text(body, "stream", "downstream")
    type_ = _text(body, "type", "")
    toxicity = _toxicity(body, 1.0)
    name = _text(body, "name", "") or f"{type_}_{stream}"
    if stream.lower() not in STREAMS:
        raise ApiError(400, "stream was invalid, can be either upstream or downstream")
    if type_ not in STAGES and type_ not in MESSAGE_TOXICS:
        raise ApiError(400, "invalid toxic type")
    if name in taken:
        raise ApiError(409, "toxic already exists")
    given = _given_attributes(body)
    if type_ in MESSAGE_TOXICS:
        seeded = {} if seed is None else {"seed": seed}
        return MESSAGE_TOXICS[type_](name, stream, toxicity, seeded | given, protocol=protocol)
    attributes = _stage_attributes(type_, dict.fromkeys(STAGES[type_].attributes, 0), given)
    default = chance.DEFAULT_SEED if seed is None else seed
    return Toxic(name, type_, stream, toxicity, attributes, default, since)


def update_toxic(toxic: Toxic | MessageToxic, body: Mapping[str, object]) -> None:
    """Merges attributes and toxicity into a toxic; nothing changes when one is invalid."""
    given = _given_attributes(body)
    toxicity = _toxicity(body, toxic.toxicity)
    if isinstance(toxic, MessageToxic):
        toxic.update(given)
    else:
        toxic.attributes = _stage_attributes(toxic.type, toxic.attributes, given)
    toxic.toxicity = toxicity
