"""The API is frozen: the service serves the committed document, and breaking it is found."""

import copy
import json
from collections.abc import Callable

import pytest

from tools.openapi import FROZEN, breaking_changes, current

PREFIX = "/api/v1/investment"
CREATE = (f"{PREFIX}/investments", "post")
READ = (f"{PREFIX}/investments/{{investment_id}}", "get")


@pytest.fixture
def frozen() -> dict:
    return json.loads(FROZEN.read_text())


def operation(document: dict, where: tuple[str, str]) -> dict:
    return document["paths"][where[0]][where[1]]


def schema(document: dict, name: str) -> dict:
    return document["components"]["schemas"][name]


def test_the_code_keeps_every_promise_and_the_document_is_up_to_date(frozen) -> None:
    document = current()
    assert breaking_changes(frozen, document) == []
    assert document == frozen, "run tools/openapi.py: it adds what is new"


@pytest.mark.stack
def test_both_processes_serve_the_frozen_document(service, frozen) -> None:
    for api in (0, 1):
        assert service.send("GET", f"{PREFIX}/openapi.json", api=api).document == frozen


@pytest.mark.stack
def test_only_this_version_of_the_api_is_there(service, frozen) -> None:
    apart = {path for path in frozen["paths"] if not path.startswith(f"{PREFIX}/")}
    assert apart == {"/healthz", "/readyz"}
    for prefix in ("/api/v0/investment", "/api/v2/investment", "/api/investment", "/investment"):
        for method, path in (("GET", "/openapi.json"), ("POST", "/investments")):
            reply = service.send(method, prefix + path, {} if method == "POST" else None)
            assert (reply.status, reply.document["code"]) == (404, "not-found")


def remove_path(document: dict) -> None:
    del document["paths"][CREATE[0]]


def remove_operation(document: dict) -> None:
    del document["paths"][CREATE[0]][CREATE[1]]


def remove_response(document: dict) -> None:
    del operation(document, CREATE)["responses"]["201"]


def remove_response_kind(document: dict) -> None:
    operation(document, CREATE)["responses"]["201"]["content"] = {"text/plain": {"schema": {}}}


def remove_parameter(document: dict) -> None:
    operation(document, CREATE)["parameters"] = []


def require_parameter(document: dict) -> None:
    new = {"name": "X-New", "in": "header", "required": True, "schema": {"type": "string"}}
    operation(document, CREATE)["parameters"].append(new)


def narrow_parameter(document: dict) -> None:
    operation(document, CREATE)["parameters"][0]["schema"]["pattern"] = "^[0-9]+$"


def change_authentication(document: dict) -> None:
    operation(document, READ)["security"] = [{"other": []}]


def require_body(document: dict) -> None:
    operation(document, (f"{READ[0]}/execute", "post"))["requestBody"]["required"] = True


def remove_body_kind(document: dict) -> None:
    body = operation(document, CREATE)["requestBody"]
    body["content"] = {"text/csv": body["content"].pop("application/json")}


def require_field(document: dict) -> None:
    schema(document, "NewInvestment")["required"].append("metadata")


def add_required_field(document: dict) -> None:
    schema(document, "NewInvestment")["properties"]["colour"] = {"type": "string"}
    schema(document, "NewInvestment")["required"].append("colour")


def remove_field(document: dict) -> None:
    del schema(document, "NewInvestment")["properties"]["metadata"]


def change_type(document: dict) -> None:
    schema(document, "NewInvestment")["properties"]["amount_minor"] = {"type": "integer"}


def narrow_pattern(document: dict) -> None:
    schema(document, "NewInvestment")["properties"]["currency"]["pattern"] = "^EUR$"


def add_bound(document: dict) -> None:
    schema(document, "NewInvestment")["properties"]["instrument"]["maxLength"] = 5


def lower_bound(document: dict) -> None:
    schema(document, "NewUser")["properties"]["token"]["maxLength"] = 100


def refuse_null(document: dict) -> None:
    schema(document, "NewUser")["properties"]["user_id"] = {"type": "string", "format": "uuid"}


def narrow_enum(document: dict) -> None:
    schema(document, "CanaryOrder")["properties"]["action"]["enum"] = ["start"]


def remove_answered_property(document: dict) -> None:
    del schema(document, "Investment")["properties"]["metadata"]


def answer_property_not_always(document: dict) -> None:
    schema(document, "Investment")["required"].remove("state")


def answer_null(document: dict) -> None:
    either = [{"type": "string"}, {"type": "null"}]
    schema(document, "Investment")["properties"]["currency"] = {"anyOf": either}


def answer_new_state(document: dict) -> None:
    schema(document, "Investment")["properties"]["state"]["enum"].append("PAUSED")


def answer_any_amount(document: dict) -> None:
    del schema(document, "Investment")["properties"]["amount_minor"]["pattern"]


BREAKING = [
    (remove_path, "removed"),
    (remove_operation, "removed"),
    (remove_response, "response 201 removed"),
    (remove_response_kind, "response 201 application/json removed"),
    (remove_parameter, "parameter Idempotency-Key removed"),
    (require_parameter, "parameter X-New newly required"),
    (narrow_parameter, "parameter Idempotency-Key with pattern"),
    (change_authentication, "another authentication"),
    (require_body, "body newly required"),
    (remove_body_kind, "body application/json removed"),
    (require_field, "body with required"),
    (add_required_field, "body with required"),
    (remove_field, "body.metadata"),
    (change_type, "body.amount_minor with"),
    (narrow_pattern, "body.currency with pattern"),
    (add_bound, "body.instrument with maxLength"),
    (lower_bound, "body.token with maxLength"),
    (refuse_null, "body.user_id with type"),
    (narrow_enum, "body.action with enum"),
    (remove_answered_property, "response 200.metadata removed"),
    (answer_property_not_always, "response 201 with required"),
    (answer_null, "response 200.currency with type"),
    (answer_new_state, "response 200.state with enum"),
    (answer_any_amount, "response 201.amount_minor with pattern"),
]


@pytest.mark.parametrize(("mutate", "found"), BREAKING, ids=[m.__name__ for m, _ in BREAKING])
def test_what_breaks_a_client_is_found(frozen, mutate: Callable[[dict], None], found: str) -> None:
    changed = copy.deepcopy(frozen)
    mutate(changed)
    assert found in "\n".join(breaking_changes(frozen, changed))


def add_path(document: dict) -> None:
    document["paths"][f"{PREFIX}/more"] = {"get": operation(document, READ)}


def add_response(document: dict) -> None:
    operation(document, READ)["responses"]["410"] = {"description": "gone"}


def add_optional_parameter(document: dict) -> None:
    new = {"name": "page", "in": "query", "schema": {"type": "integer"}}
    operation(document, READ)["parameters"].append(new)


def add_optional_field(document: dict) -> None:
    schema(document, "NewInvestment")["properties"]["colour"] = {"type": "string"}


def accept_more(document: dict) -> None:
    properties = schema(document, "NewUser")["properties"]
    del properties["token"]["maxLength"]
    properties["currency"] = {"anyOf": [properties["currency"], {"type": "null"}]}
    schema(document, "CanaryOrder")["properties"]["action"]["enum"].append("pause")


def need_less(document: dict) -> None:
    schema(document, "NewInvestment")["required"].remove("instrument")
    operation(document, CREATE)["requestBody"]["required"] = False


def answer_more(document: dict) -> None:
    schema(document, "Investment")["properties"]["colour"] = {"type": "string"}


def promise_more(document: dict) -> None:
    schema(document, "Investment")["required"].append("metadata")
    schema(document, "Job")["properties"]["state"]["enum"].remove("REVIEW")


def other_words(document: dict) -> None:
    schema(document, "Investment")["description"] = "Said otherwise."
    schema(document, "Investment")["properties"]["state"]["examples"] = ["PENDING"]


ADDITIONS = [add_path, add_response, add_optional_parameter, add_optional_field, accept_more,
             need_less, answer_more, promise_more, other_words]  # fmt: skip


@pytest.mark.parametrize("mutate", ADDITIONS, ids=[m.__name__ for m in ADDITIONS])
def test_what_breaks_nobody_passes(frozen, mutate: Callable[[dict], None]) -> None:
    changed = copy.deepcopy(frozen)
    mutate(changed)
    assert changed != frozen
    assert breaking_changes(frozen, changed) == []
