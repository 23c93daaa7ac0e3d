"""Workloads: generators that yield operations and receive what became of them, without any I/O.

A workload is called once per journey. It is given the cast, the journey's number, what earlier
phases learned (by journey number) and the parameters of its load; what it returns is what later
phases need to know. Everything it does follows from these and from what it receives.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace

from harness.core.cast import Cast
from harness.core.history import Completed, Operation, Outcome
from harness.core.registry import Registry

Known = Mapping[int, Mapping[str, str]]
Journey = Generator[Operation, Completed, dict[str, str]]
WorkloadFunction = Callable[[Cast, int, Known, Mapping[str, str]], Journey]
workloads: Registry[WorkloadFunction] = Registry("workload")


class JourneyStopped(Exception):  # noqa: N818 - an end that a workload chooses, not an error
    """A journey cannot go on; its text says why."""


def workload(name: str) -> Callable[[WorkloadFunction], WorkloadFunction]:
    """Register a workload; the first sentence of its docstring says what clients do."""
    return workloads.decorator(name)


def workload_named(name: str) -> WorkloadFunction:
    """The workload of that name; raises `UsageError` with suggestions when there is none."""
    workloads.discover("load.workloads")
    return workloads.get(name, where="load/workloads").value


def achieved(completed: Completed) -> Completed:
    """The operation, if it was ok; ends the journey otherwise."""
    if completed.outcome is Outcome.OK:
        return completed
    last = completed.attempts[-1]
    told = last.error or f"status {last.status}"
    raise JourneyStopped(
        f"{completed.operation.kind} ended as {completed.outcome} "
        f"after {last.number + 1} attempts, the last with {told}"
    )


def learned(completed: Completed, name: str) -> str:
    """The id of that name in the reading of an operation; ends the journey if there is none."""
    try:
        return completed.reading.learned[name]
    except KeyError:
        raise JourneyStopped(f"the reply to {completed.operation.kind} names no {name}") from None


def repeated(cast: Cast, completed: Completed) -> Operation:
    """The same request with the same key, as an operation of its own with a trace of its own."""
    operation = completed.operation
    trace = cast.root.child("trace", "repeat", operation.id).hex(32)
    return replace(operation, id=f"{operation.id}/repeat", trace=trace)


def known_before(known: Known, number: int, name: str) -> str:
    """What an earlier phase learned in a journey; ends this one if it learned nothing."""
    try:
        return known[number][name]
    except KeyError:
        raise JourneyStopped(f"no {name} is known of journey {number}") from None
