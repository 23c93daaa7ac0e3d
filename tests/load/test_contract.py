"""Contract fuzzing against a real server with planted breaches."""

import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn

from harness.core.cast import Cast
from harness.core.errors import HarnessError
from harness.core.history import Completed
from harness.core.waits import wait_until
from load.contract import run_contract
from load.drivers.threads import run_threads
from load.job import LoadJob
from tests.load.contract_app import app

PREFIX = "/api/v1/investment"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    wait_until(lambda: server.started, what="uvicorn", seconds=10)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


def test_finds_the_planted_breaches_and_counts(url: str) -> None:
    report = run_contract(
        f"{url}/openapi.json",
        base_url=url,
        headers={"Authorization": "Bearer canary-secret"},
        seed=7,
        max_examples=10,
        max_seconds=30,
    )
    assert report.complete
    assert report.errors == ()
    counts = {each.name: each for each in report.operations}
    assert set(counts) == {
        "POST /payments", "GET /payments/{number}", "DELETE /payments/{number}"
    }  # fmt: skip
    for each in counts.values():
        assert each.requests == each.succeeded + each.refused + each.failed + each.unanswered
        assert 10 <= each.requests <= 200
    assert counts["POST /payments"].succeeded > 0
    assert counts["GET /payments/{number}"].failed > 0
    assert counts["DELETE /payments/{number}"].undeclared > 0
    found = {(each.operation, each.check) for each in report.failures}
    assert ("GET /payments/{number}", "not_a_server_error") in found
    assert ("DELETE /payments/{number}", "status_code_conformance") in found
    assert "canary-secret" not in repr(report)


def test_time_is_bounded_and_said(url: str) -> None:
    report = run_contract(
        f"{url}/openapi.json", base_url=url, headers={}, seed=7, max_examples=200, max_seconds=0
    )
    assert not report.complete
    assert report.seconds < 10


def test_fixed_parameters_are_used(url: str) -> None:
    report = run_contract(
        f"{url}/openapi.json",
        base_url=url,
        headers={},
        seed=7,
        max_examples=5,
        parameters={"path.number": "0"},
    )
    counts = {each.name: each for each in report.operations}["GET /payments/{number}"]
    # Valid requests all carry the number that fails; malformed numbers are still tried.
    assert counts.succeeded == 0
    assert counts.failed >= 5


def test_operations_are_left_out_or_have_parameters_of_their_own(url: str) -> None:
    report = run_contract(
        f"{url}/openapi.json",
        base_url=url,
        headers={},
        seed=7,
        max_examples=5,
        parameters={"path.number": "0"},
        own_parameters={"GET /payments/{number}": {"path.number": "1"}},
        leave_out=("DELETE /payments/{number}",),
    )
    counts = {each.name: each for each in report.operations}
    assert set(counts) == {"POST /payments", "GET /payments/{number}"}
    # Number 0 is the one that fails.
    assert counts["GET /payments/{number}"].succeeded > 0
    assert counts["GET /payments/{number}"].limited == 0


@pytest.mark.long
@pytest.mark.stack
@pytest.mark.parametrize(
    ("who", "reached"),
    [
        ("admin", {"POST /users", "POST /wallets/{user_id}/deposits", "GET /wallets/{user_id}"}),
        ("user", {"POST /investments", "GET /investments/{investment_id}", "GET /jobs/{job_id}"}),
    ],
)
def test_the_reference_service_keeps_its_contract(stack, who: str, reached: set[str]) -> None:
    cast = stack.cast("contract", slot=901)
    token = cast.admin_token() if who == "admin" else cast.user_token(0)
    parameters = {} if who == "admin" else _a_users_own(stack, cast)
    url = stack.entry_urls()["api-1"]
    report = run_contract(
        f"{url}{PREFIX}/openapi.json",
        base_url=url,
        headers={"Authorization": f"Bearer {token}"},
        seed=stack.seed,
        max_examples=15,
        max_seconds=40,
        parameters=parameters,
    )
    assert report.complete
    assert report.errors == ()
    succeeded = {each.name for each in report.operations if each.succeeded}
    assert {name.replace(" ", f" {PREFIX}") for name in reached} <= succeeded
    assert {each.name: each.failed for each in report.operations if each.failed} == {}
    assert report.failures == ()


def _a_users_own(stack, cast: Cast) -> dict[str, str]:
    done: list[Completed] = []
    job = LoadJob(
        workload="open-investments",
        numbers=(0,),
        clients=1,
        cast=cast,
        entries=stack.entry_urls(),
        target=stack.target.spec.folder,
    )
    known = run_threads(job, stack.target.door.clients, done.append).known[0]
    return {
        "path.investment_id": known["investment"],
        "path.job_id": done[1].reading.learned["job"],
        "path.user_id": cast.user(0),
    }


def test_a_document_that_is_none_is_an_error(url: str) -> None:
    with pytest.raises(HarnessError, match="OpenAPI document"):
        run_contract(f"{url}/payments", base_url=url, headers={}, seed=7)
