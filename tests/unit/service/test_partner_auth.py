"""The API key goes with every call, and is read anew after the partner refused it."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from uuid import uuid4

import pytest
from investment.partner_client import Executed, Order, PartnerClient, Unknown
from investment.settings import Settings

ORDER = Order(uuid4(), uuid4(), 1, "account", "FUND-A", 1000, "EUR")


@pytest.fixture
def partner() -> Iterator[HTTPServer]:
    """Executes for whoever brings the current key."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.headers["Authorization"] == f"Bearer {self.server.current_key}"
            answer = content | {"status": "EXECUTED", "order_id": "P-1", "fee_minor": "0"}
            body = json.dumps(answer if known else {"status": "UNAUTHORIZED"}).encode()
            self.send_response(201 if known else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_refused_key_leaves_the_outcome_unknown_and_is_read_again(partner: HTTPServer) -> None:
    stored, reads = "first", []

    def read_api_key() -> str:
        reads.append(stored)
        return stored

    partner.current_key = "first"
    url = f"http://127.0.0.1:{partner.server_port}"
    settings = Settings(database_url="postgresql+psycopg://", partner_url=url)
    client = PartnerClient(settings, read_api_key)
    assert [client.submit(ORDER), client.submit(ORDER)] == [Executed("P-1", 1000, 0)] * 2
    assert reads == ["first"]

    partner.current_key = stored = "second"
    assert isinstance(client.submit(ORDER), Unknown)
    assert reads == ["first"]
    assert client.submit(ORDER) == Executed("P-1", 1000, 0)
    assert reads == ["first", "second"]
