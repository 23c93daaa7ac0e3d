"""Jobs and the stream survive their way through text."""

from pathlib import Path

import pytest

from harness.core.cast import Cast
from harness.core.errors import UsageError
from harness.core.history import Attempt, Completed, Outcome, Reading
from harness.core.scenario import Load
from load.drivers.stream import failure_line, operation_line, read_line, result_line
from load.job import LoadJob, LoadResult

CAST = Cast(seed=5, scenario="s", slot=2)
LOAD = Load("execute-one-investment", range(4), 2, in_rounds=True, params={"clients": "2"})


def job(load: Load = LOAD) -> LoadJob:
    return LoadJob.of(
        load,
        cast=CAST,
        entries={"one": "http://127.0.0.1:1"},
        target=Path("/a/b"),
        known={3: {"investment": "i"}},
        max_seconds=9.5,
    )


def test_job_to_json_and_back() -> None:
    assert LoadJob.from_json(job().to_json()) == job()


@pytest.mark.parametrize("load", [Load("x", range(0), 1), Load("x", range(3), 0)])
def test_a_job_without_clients_or_journeys_is_refused(load: Load) -> None:
    with pytest.raises(UsageError, match="needs clients and different journey numbers"):
        job(load)


def test_lines_of_the_stream_and_back() -> None:
    operation = CAST.operation("pay", 1, amount_minor=10**18, params={"a": "ü\n"})
    attempt = Attempt(operation.id, 0, "one", 1, 2, None, Outcome.INFO, error="reset")
    reading = Reading(Outcome.INFO, again=True, subject="s", learned={"b": "c"})
    done = Completed(operation, Outcome.INFO, (attempt,), reading, body=bytes(range(256)))
    line = operation_line(done)
    assert line.count(b"\n") == 1
    assert read_line(line) == done
    result = LoadResult({1: {"a": "b"}}, {2: "why"}, 5, 6)
    assert read_line(result_line(result)) == result
    assert "why" in str(read_line(failure_line(ValueError("why"))))


@pytest.mark.parametrize("line", [b'{"other": 1}', b'{"operation": {}}', b'{"result": 3}', b"{"])
def test_lines_that_are_none_of_ours_are_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"unknown line|validation error|unexpected end"):
        read_line(line)
