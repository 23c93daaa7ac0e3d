"""Contract fuzzing: what the service's own OpenAPI document promises, tried with generated data."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.core.errors import LoaderError
from schemathesis.engine import Status, events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder

from harness.core import clock
from harness.core.errors import HarnessError
from harness.core.waits import Deadline

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "ignored_auth",
    "missing_required_header",
    "unsupported_method",
)
_REQUEST_SECONDS = 10.0
_FAILURES_MAX = 100


@dataclass(frozen=True)
class ContractOperation:
    """How one operation of the API answered: counts by class of status, and without a reply."""

    name: str
    requests: int
    succeeded: int
    refused: int
    failed: int
    unanswered: int
    undeclared: int
    limited: int


@dataclass(frozen=True)
class ContractFailure:
    """One way in which an operation broke its contract, with its first example.

    The fuzzer tells of each way once; how often is in the operation's counts.
    """

    operation: str
    check: str
    title: str
    example: str


@dataclass(frozen=True)
class ContractReport:
    """The result of contract fuzzing; `complete` unless time ran out before the end."""

    operations: tuple[ContractOperation, ...]
    failures: tuple[ContractFailure, ...]
    errors: tuple[str, ...]
    complete: bool
    seconds: float


def run_contract(
    openapi: str | Mapping[str, object],
    *,
    base_url: str,
    headers: Mapping[str, str],
    seed: int,
    max_examples: int = 20,
    max_seconds: float = 60.0,
    parameters: Mapping[str, str] | None = None,
    own_parameters: Mapping[str, Mapping[str, str]] | None = None,
    leave_out: tuple[str, ...] = (),
    checks: tuple[str, ...] = CHECKS,
) -> ContractReport:
    """Fuzz every operation of an OpenAPI document (its URL, or itself) and count the answers.

    At most `max_examples` random requests per operation beside those that try each boundary in
    turn; no new operation begins after `max_seconds`. The seed gives the same requests.
    `parameters` fixes values that a generator cannot guess, such as `path.user_id`;
    `own_parameters` does so for one operation by its name (`POST /payments`). Operations in
    `leave_out` are not tried: those that would switch off what the others need.
    """
    settings = _config(base_url, headers, seed, max_examples, parameters or {}, checks)
    settings["operations"] = [
        *({"include-name": name, "enabled": False} for name in leave_out),
        *(
            {"include-name": name, "parameters": {**(parameters or {}), **own}}
            for name, own in (own_parameters or {}).items()
        ),
    ]
    config = SchemathesisConfig.from_dict(settings)
    schema = _load(openapi, config)
    started_ns, deadline = clock.monotonic_ns(), Deadline(max_seconds)
    tally, complete = _Tally(), True
    stream = from_schema(schema).execute()
    for event in stream:
        match event:
            case events.ScenarioFinished(recorder=recorder):
                tally.add(recorder)
            case events.NonFatalError(label=label, value=error):
                tally.errors.append(f"{label}: {type(error).__name__}: {error}"[:500])
            case events.FatalError(exception=error):
                raise HarnessError("contract fuzzing failed", value=str(error)) from error
        if complete and deadline.passed:
            complete = False
            stream.stop()
    return tally.report(complete=complete, seconds=(clock.monotonic_ns() - started_ns) / 1e9)


def _load(
    openapi: str | Mapping[str, object], config: SchemathesisConfig
) -> schemathesis.BaseSchema:
    try:
        if isinstance(openapi, str):
            return schemathesis.openapi.from_url(openapi, config=config, timeout=_REQUEST_SECONDS)
        return schemathesis.openapi.from_dict(dict(openapi), config=config)
    except LoaderError as error:
        raise HarnessError(
            "the OpenAPI document cannot be used",
            value=str(error),
            where=openapi if isinstance(openapi, str) else "a document in memory",
            fix="serve a valid document, or give another one",
        ) from error


def _config(
    base_url: str,
    headers: Mapping[str, str],
    seed: int,
    max_examples: int,
    parameters: Mapping[str, str],
    checks: tuple[str, ...],
) -> dict[str, object]:
    return {
        "seed": seed,
        "base-url": base_url,
        "headers": dict(headers),
        "parameters": dict(parameters),
        "workers": 1,
        "request-timeout": _REQUEST_SECONDS,
        "request-retries": 0,
        "continue-on-failure": True,
        "generation": {
            "max-examples": max_examples,
            "no-shrink": True,
            "deterministic": True,
            "database": "none",
        },
        "phases": {"stateful": {"enabled": False}},
        "checks": {"enabled": False, **{name: {"enabled": True} for name in checks}},
    }


@dataclass
class _Tally:
    """Counts of what the fuzzer's recorders hold."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    examples: dict[tuple[str, str, str], str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def add(self, recorder: ScenarioRecorder) -> None:
        for case_id, interaction in recorder.interactions.items():
            node = recorder.cases.get(case_id)
            if node is None:
                continue
            operation, response = node.value.operation, interaction.response
            counts = self.counts.setdefault(operation.label, Counter())
            status = response.status_code if response else 0
            counts[f"{status // 100}xx"] += 1
            counts["all"] += 1
            counts["429"] += status == 429
            if response and operation.responses.find_by_status_code(status) is None:
                counts["undeclared"] += 1
            example = f"{interaction.request.method} {interaction.request.uri} -> {status or '–'}"
            for check in recorder.checks.get(case_id, ()):
                if check.status is Status.FAILURE and check.failure_info:
                    title = check.failure_info.failure.title
                    place = (operation.label, check.name, title)
                    self.examples.setdefault(place, example[:500])

    def report(self, *, complete: bool, seconds: float) -> ContractReport:
        operations = tuple(
            ContractOperation(
                name=name,
                requests=counts["all"],
                succeeded=counts["2xx"],
                refused=counts["4xx"],
                failed=counts["5xx"],
                unanswered=counts["0xx"],
                undeclared=counts["undeclared"],
                limited=counts["429"],
            )
            for name, counts in sorted(self.counts.items())
        )
        failures = tuple(
            ContractFailure(*place, example=example)
            for place, example in sorted(self.examples.items())[:_FAILURES_MAX]
        )
        return ContractReport(operations, failures, tuple(self.errors), complete, seconds)
