"""The service's frozen API: find what would break a client, and write the document anew.

`.venv/bin/python tools/openapi.py` writes system_under_test/openapi.json, unless the new document
breaks a promise of the old one: that belongs into another version of the API.
"""

import json
import sys
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "system_under_test"
FROZEN = FOLDER / "openapi.json"

Document = Mapping[str, object]

_ANNOTATIONS = {"title", "description", "examples", "default", "deprecated"}
_UPPER = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
_LOWER = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}


def breaking_changes(old: Document, new: Document) -> list[str]:
    """What a client that relies on `old` loses with `new`; empty when everything still holds."""
    return sorted(set(_Comparison(old, new).document()))


class _Comparison:
    def __init__(self, old: Document, new: Document) -> None:
        self._old, self._new = old, new

    def document(self) -> Iterator[str]:
        for path, operations in self._old["paths"].items():
            for method, old in operations.items():
                new = self._new["paths"].get(path, {}).get(method)
                where = f"{method.upper()} {path}"
                if new is None:
                    yield f"{where}: removed"
                    continue
                yield from self._parameters(old, new, where)
                yield from self._request_body(old, new, where)
                yield from self._responses(old, new, where)
                if old.get("security") != new.get("security"):
                    yield f"{where}: another authentication"

    def _parameters(self, old: Document, new: Document, where: str) -> Iterator[str]:
        before, after = (
            {(each["in"], each["name"]): each for each in operation.get("parameters", ())}
            for operation in (old, new)
        )
        for name in before.keys() - after.keys():
            yield f"{where}: parameter {name[1]} removed"
        for name, parameter in after.items():
            if parameter.get("required") and not before.get(name, {}).get("required"):
                yield f"{where}: parameter {name[1]} newly required"
            if name in before:
                at = f"{where}: parameter {name[1]}"
                yield from self._sent(before[name]["schema"], parameter["schema"], at)

    def _request_body(self, old: Document, new: Document, where: str) -> Iterator[str]:
        before, after = old.get("requestBody", {}), new.get("requestBody", {})
        if after.get("required") and not before.get("required"):
            yield f"{where}: body newly required"
        for kind, content in before.get("content", {}).items():
            if kind not in after.get("content", {}):
                yield f"{where}: body {kind} removed"
            else:
                schema = after["content"][kind]["schema"]
                yield from self._sent(content["schema"], schema, f"{where}: body")

    def _responses(self, old: Document, new: Document, where: str) -> Iterator[str]:
        for status, response in old["responses"].items():
            answer = new["responses"].get(status)
            if answer is None:
                yield f"{where}: response {status} removed"
                continue
            for kind, content in response.get("content", {}).items():
                at = f"{where}: response {status}"
                if kind not in answer.get("content", {}):
                    yield f"{at} {kind} removed"
                else:
                    schema = answer["content"][kind]["schema"]
                    yield from self._received(content["schema"], schema, at)

    def _sent(self, old: Document, new: Document, at: str) -> Iterator[str]:
        """What clients may send must still be accepted."""
        yield from self._removed_properties(old, new, at)
        for reason in self._excess(old, new, self._old, self._new):
            yield f"{at}{reason} is not accepted any more"

    def _received(self, old: Document, new: Document, at: str) -> Iterator[str]:
        """What clients are sent must be what was promised."""
        yield from self._removed_properties(old, new, at)
        for reason in self._excess(new, old, self._new, self._old):
            yield f"{at}{reason} was not promised"

    def _removed_properties(self, old: Document, new: Document, at: str) -> Iterator[str]:
        after = dict(_properties(new, self._new))
        for name, schema in _properties(old, self._old):
            if name not in after:
                yield f"{at}.{name} removed"
            else:
                yield from self._removed_properties(schema, after[name], f"{at}.{name}")

    def _excess(
        self, some: Document, all_: Document, some_in: Document, all_in: Document
    ) -> Iterator[str]:
        """Where the schema `some` allows what the schema `all_` does not."""
        wider = _alternatives(all_, all_in)
        for each in _alternatives(some, some_in):
            found = [list(self._excess_of_one(each, other, some_in, all_in)) for other in wider]
            if all(found):
                yield from min(found, key=len)

    def _excess_of_one(
        self, some: Document, all_: Document, some_in: Document, all_in: Document
    ) -> Iterator[str]:
        for word, bound in all_.items():
            have = some.get(word)
            if word == "properties":
                for name in bound.keys() & (have or {}).keys():
                    for reason in self._excess(have[name], bound[name], some_in, all_in):
                        yield f".{name}{reason}"
            elif word in ("additionalProperties", "items") and isinstance(bound, dict):
                for reason in self._excess(have or {}, bound, some_in, all_in):
                    yield f"[]{reason}"
            elif not _implies(word, have, bound):
                yield f" with {word} {json.dumps(have)} (other side: {json.dumps(bound)})"
        if all_.get("additionalProperties") is False:
            for name in some.get("properties", {}).keys() - all_.get("properties", {}).keys():
                yield f".{name}"


def _implies(word: str, have: object, bound: object) -> bool:
    """Whether whatever obeys the keyword's value `have` (None: absent) obeys `bound` too."""
    if word in _ANNOTATIONS or have == bound:
        return True
    if word == "additionalProperties":
        return bound is True
    if word == "required":
        return set(bound) <= set(have or ())
    if have is None:
        return False
    if word == "enum":
        return set(have) <= set(bound)
    if word in _UPPER | _LOWER:
        return have < bound if word in _UPPER else have > bound
    return word == "type" and (have, bound) == ("integer", "number")


def _alternatives(schema: Document, document: Document) -> list[Document]:
    """The schema as a list of schemas without references, one of which must hold."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _alternatives(document["components"]["schemas"][name], document)
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return [one for each in schema[word] for one in _alternatives(each, document)]
    if "const" in schema:
        schema = {**schema, "enum": [schema["const"]]}
        return [{word: value for word, value in schema.items() if word != "const"}]
    return [schema]


def _properties(schema: Document, document: Document) -> Iterator[tuple[str, Document]]:
    for each in _alternatives(schema, document):
        yield from each.get("properties", {}).items()
        if isinstance(each.get("items"), dict):
            yield "[]", each["items"]


def current() -> Document:
    """The document of the service as it is in this folder; nothing is connected to."""
    sys.path.insert(0, str(FOLDER))
    from investment.api.app import create_app
    from investment.settings import Settings

    key = b64encode(bytes(32)).decode()
    settings = Settings(
        database_url="postgresql+psycopg://127.0.0.1/none",
        vault_keys=f"none:{key}",
        vault_index_key=key,
    )
    return create_app(settings).openapi()


def main() -> None:
    new = current()
    broken = breaking_changes(json.loads(FROZEN.read_text()), new) if FROZEN.exists() else []
    if broken:
        sys.exit("\n".join(["not written, for it breaks promises to clients:", *broken]))
    FROZEN.write_text(json.dumps(new, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
