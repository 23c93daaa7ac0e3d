"""The fit table is complete, and the API refuses what it calls impossible, with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from fault_injection.proxy import fit
from fault_injection.proxy.protocols import DECODERS
from fault_injection.proxy.toxics import MESSAGE_TOXICS

ROWS = [
    (protocol, toxic.type, stream, error)
    for protocol in sorted(DECODERS)
    for toxic in MESSAGE_TOXICS.values()
    for stream in toxic.streams
    for error in (fit.errors(protocol) if "error" in toxic.defaults else [""])
]
CELLS = [(*row, name, cell) for row in ROWS for name, cell in sorted(fit.row(*row).items())]


def test_the_page_about_faults_names_every_toxic_and_error():
    page = (Path(__file__).parents[2] / "docs" / "faults.md").read_text()
    assert not [type_ for type_ in MESSAGE_TOXICS if f"| `{type_}` |" not in page]
    named = {error for part in fit.TABLE.values() for error in part["errors"]}
    assert not [error for error in named if f"`{error}`" not in page]


def kind_of(protocol: str, name: str) -> str:
    kinds = fit.TABLE[protocol]["messages"].get(name)
    return kinds[0] if kinds else {"postgres": "SELECT", "redis": "GET", "http": "POST"}[protocol]


def test_every_cell_is_filled():
    assert len(CELLS) > 250
    for *where, cell in CELLS:
        assert cell is True or (isinstance(cell, str) and len(cell) > 10), where
    for protocol, part in fit.TABLE.items():
        rows = {
            f"{fault} {stream} {error}".strip()
            for of, fault, stream, error in ROWS
            if of == protocol
        } | {f"{fault} {stream}" for of, fault, stream, _ in ROWS if of == protocol}
        assert set(part["faults"]) <= rows, "a row that no toxic has"
        kinds = [kind for found in part["messages"].values() for kind in found]
        assert len(kinds) == len(set(kinds)), "a kind in two classes"
        for cells in part["faults"].values():
            assert set(cells) - {"*"} <= set(fit.classes(protocol))


@pytest.mark.parametrize("protocol", sorted(DECODERS))
def test_the_api_takes_what_fits_and_refuses_the_rest(api, link, protocol):
    link("p", protocol, 9)
    for of, fault, stream, error, name, cell in CELLS:
        if of != protocol:
            continue
        attributes = {"kind": kind_of(protocol, name)} | ({"error": error} if error else {})
        body = {"type": fault, "name": "t", "stream": stream, "attributes": attributes}
        answer = api.call("POST", "/proxies/p/toxics", body)
        if cell is True:
            assert answer.status_code == 200, answer.text
            assert answer.json()["attributes"].items() >= attributes.items()
            api.call("DELETE", "/proxies/p/toxics/t")
        else:
            assert answer.status_code == 400
            assert cell in answer.json()["error"]
            assert attributes["kind"] in answer.json()["error"]


@pytest.mark.parametrize(
    ("type_", "stream", "attributes", "words"),
    [
        ("reset_before", "downstream", {}, "must be upstream"),
        ("drop_reply", "both", {}, "must be downstream"),
        ("hold", "upstream", {"lease_ms": 0}, "too small"),
        ("hold", "upstream", {"lease_ms": 600_001}, "too large"),
        ("delay", "upstream", {"delay_ms": "long"}, "a whole number"),
        ("delay", "upstream", {"delay": 5}, "unknown attribute"),
        ("truncate", "downstream", {"then": "explode"}, "end or reset"),
        ("answer_with_error", "upstream", {}, "no error of postgres"),
        ("answer_with_error", "upstream", {"error": "LOADING"}, "known: 40001"),
        ("deliver_twice", "upstream", {}, "TCP delivers once"),
    ],
)
def test_bad_attributes_are_refused(api, link, type_, stream, attributes, words):
    link("p", "postgres", 9)
    body = {"type": type_, "stream": stream, "attributes": attributes}
    answer = api.call("POST", "/proxies/p/toxics", body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert api.get("/proxies/p")["toxics"] == []


def test_an_update_that_does_not_fit_changes_nothing(api, link):
    link("p", "postgres", 9)
    name = api.arm("p", "answer_with_error", "upstream", error="40001", kind="INSERT")
    before = api.get(f"/proxies/p/toxics/{name}")
    answer = api.call("POST", f"/proxies/p/toxics/{name}", {"attributes": {"kind": "BEGIN"}})
    assert answer.status_code == 400
    assert "no snapshot" in answer.json()["error"]
    assert api.get(f"/proxies/p/toxics/{name}") == before


def test_a_link_that_is_not_decoded_takes_no_message_toxic(api):
    api.client.create("127.0.0.1:9", "plain")
    body = {"type": "drop_reply", "stream": "downstream"}
    answer = api.call("POST", "/proxies/plain/toxics", body)
    assert answer.status_code == 400
    assert "needs a proxy with a protocol" in answer.json()["error"]
    refused = {"name": "new", "upstream": "127.0.0.1:9", "protocol": "postgres"}
    refused["toxics"] = [{"type": "deliver_twice", "stream": "upstream"}]
    assert api.call("POST", "/proxies", refused).status_code == 400
    assert api.call("GET", "/proxies/new").status_code == 404


def test_only_what_holds_can_be_released(api, link):
    link("p", "http", 9)
    api.client.get_proxy("p").add_toxic(type="latency", name="slow", attributes={"latency": 1})
    answer = api.call("POST", "/proxies/p/toxics/slow/release")
    assert (answer.status_code, answer.json()["error"]) == (400, "latency holds no message")
    assert api.call("POST", "/proxies/p/toxics/none/release").status_code == 404
    assert api.call("GET", "/proxies/p/toxics/slow/release").status_code == 405


def test_a_protocol_that_a_toxic_does_not_fit_is_refused(api, link):
    link("p", "redis", 9)
    name = api.arm("p", "deliver_twice", "upstream")
    for protocol in ("postgres", ""):
        assert api.call("POST", "/proxies/p", {"protocol": protocol}).status_code == 400
        assert api.get("/proxies/p")["protocol"] == "redis"
    assert api.call("POST", "/proxies/p", {"protocol": "http"}).status_code == 200
    api.call("DELETE", f"/proxies/p/toxics/{name}")
    assert api.call("POST", "/proxies/p", {"protocol": "postgres"}).status_code == 200
