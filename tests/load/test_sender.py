"""The sender: one exchange per call over real sockets, whatever befalls the connection."""

import contextlib
import socket
import threading

import pytest

from harness.core.errors import UsageError
from harness.core.history import Request
from harness.core.waits import Deadline
from load.sender import HttpSender
from tests.load.service.server import TinyService

GET = Request("GET", "/wallets/ann", "one")


def test_keeps_one_connection_without_delay(service: TinyService) -> None:
    with contextlib.closing(HttpSender(service.entries)) as send:
        ports = set()
        for _ in range(3):
            assert send(GET).status == 200
            held = send._connections["one"].sock
            ports.add(held.getsockname()[1])
        assert len(ports) == 1
        assert held.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_header_names_are_in_lower_case(service: TinyService) -> None:
    with contextlib.closing(HttpSender(service.entries)) as send:
        assert send(GET).headers["location"] == "/wallets/ann"


def test_dead_kept_connection_is_an_unknown_attempt_and_then_renewed(service: TinyService) -> None:
    service.trouble["wallets"] = ["", "reset"]
    with contextlib.closing(HttpSender(service.entries)) as send:
        replies = [send(GET) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, None, 200]
    assert replies[1].error.startswith("reply: ")
    assert len(service.requests) == 3, "the sender repeated a request by itself"


def test_reply_cut_short_is_unknown(service: TinyService) -> None:
    service.trouble["wallets"] = ["cut"]
    with contextlib.closing(HttpSender(service.entries)) as send:
        reply = send(GET)
    assert reply.status is None
    assert "IncompleteRead" in reply.error


def test_no_reply_in_time_is_unknown(service: TinyService) -> None:
    service.trouble["wallets"] = ["hang"]
    with contextlib.closing(HttpSender(service.entries)) as send:
        deadline = Deadline(5)
        reply = send(GET, timeout_seconds=0.2)
        assert (reply.status, "TimeoutError" in reply.error) == (None, True)
        assert 0 < 5 - deadline.remaining_seconds < 2


def test_refused_connection_is_unknown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    reply = HttpSender({"one": url})(GET)
    assert reply.error.startswith("connect: ConnectionRefusedError")


def test_abort_ends_the_exchange_another_thread_waits_for(service: TinyService) -> None:
    service.trouble["wallets"] = ["hang"]
    send, replies = HttpSender(service.entries), []
    thread = threading.Thread(target=lambda: replies.append(send(GET, timeout_seconds=20)))
    thread.start()
    deadline = Deadline(5)
    while not service.requests and not deadline.passed:
        thread.join(0.01)
    send.abort()
    thread.join(2)
    assert not thread.is_alive()
    assert replies[0].status is None
    assert "stopped" in send(GET).error


@pytest.mark.parametrize("url", ["http://192.0.2.1:80", "http://example.org", "https://127.0.0.1"])
def test_only_this_machine_is_aimed_at(url: str) -> None:
    with pytest.raises(UsageError, match="loopback"):
        HttpSender({"one": url})


def test_unknown_entry_is_named(service: TinyService) -> None:
    with pytest.raises(UsageError, match="did you mean “one”"):
        HttpSender(service.entries)(Request("GET", "/", "onee"))
