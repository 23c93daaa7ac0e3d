"""Realistic run directories for tests of the report, written with the real journal.

`python -m tests.unit.reports.samples DIRECTORY` writes all of them, to be looked at.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.core.cast import Cast
from harness.core.history import Attempt, Operation, Outcome
from harness.core.journal import Journal
from harness.core.records import FaultRecord, OperationRecord, ProofRecord, encode
from harness.core.run_record import (
    ExampleRecord,
    FaultSummary,
    FindingRecord,
    InvariantRecord,
    PhaseRecord,
    RunRecord,
    ScenarioRecord,
)
from harness.core.verdict import Verdict, worst

MS = 1_000_000
SEED = 20261124
INVARIANTS = (
    ("money-conserved", "safety", "What clients paid in is what the books hold."),
    ("executed-at-most-once", "safety", "No investment reaches the partner twice."),
    ("same-key-same-answer", "safety", "Requests with one idempotency key get one answer."),
    ("ledger-balanced", "safety", "Debits equal credits in every transaction."),
    ("acknowledged-is-done", "liveness", "What was acknowledged has its effect in the end."),
    ("nothing-stuck", "liveness", "No row rests in a state that nothing drives."),
    ("every-fault-bit", "control", "Each fault was seen by an observer it cannot write."),
)
QUESTIONS = {
    "commit-reply-lost": "Is money safe when the reply to COMMIT is lost?",
    "partner-reply-lost": "Is an order executed once when the partner's reply is lost?",
    "one-investment-many-clients": "Can many clients execute one investment twice?",
}


@dataclass
class Sample:
    """Builds one run directory, scenario by scenario, on a clock that it moves itself."""

    directory: Path
    now_ms: int = 1_800
    scenarios: list[ScenarioRecord] = field(default_factory=list)
    findings: list[FindingRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True)
        self.journal = Journal(self.directory / "journal.ndjson")
        self.write("plan", {"seed": SEED, "scenarios": list(QUESTIONS)}, at_ms=0)

    def write(self, type: str, data: object, *, at_ms: int) -> int:
        """One record at a moment of this sample's clock."""
        at_ns = self.journal.start_ns + at_ms * MS
        return self.journal.write(type, encode(data), at_ns=at_ns)  # type: ignore[arg-type]

    def scenario(
        self,
        name: str,
        *,
        journeys: int = 110,
        aimed: range = range(0),
        bites: Callable[[int], bool] = lambda number: True,
        link: str = "api-1-postgres",
        fault: str = "drop-reply",
    ) -> "Scene":
        """Play one scenario: baseline, load with faults, settle, reads."""
        scene = Scene(self, name, slot=len(self.scenarios))
        with_faults = [number + 40 for number in aimed]
        scene.phase("prepare", 0, 20)
        scene.phase("baseline", 20, 40)
        scene.faults(with_faults, name=fault, link=link, bites=bites)
        scene.phase("load", 40, 40 + journeys)
        scene.settle()
        self.scenarios.append(scene.record)
        return scene

    def finish(self, *, seal: bool = True, **changes: object) -> Path:
        """Write `run.json` and seal; `changes` override fields of the record."""
        head = self.journal.seal() if seal else ""
        self.journal.close()
        verdict = worst(scenario.verdict for scenario in self.scenarios)
        record = RunRecord(
            verdict=verdict,
            exit_code=int(verdict.exit_code),
            reason="Nothing was violated, every fault bit, and every outcome is known.",
            run_id="20261124T081500Z-ci-5f0c2a",
            command=f"stormproof run --profile ci --seed {SEED}",
            started_at="2026-11-24T08:15:00.250Z",
            duration_ms=self.now_ms + 400,
            seed=SEED,
            profile="ci",
            target="investment",
            stack="embedded",
            commit="c234be7f2d1a",
            versions={"stormproof": "0.1.0", "postgresql": "18.1", "valkey": "9.0"},
            settings={"JOB_LEASE_MS": "4000", "PARTNER_READ_TIMEOUT_MS": "3000"},
            scenarios=self.scenarios,
            findings=self.findings,
            not_shown=[
                "Crashes of PostgreSQL itself were not tried in this profile.",
                "One machine: no clock differs from another.",
            ],
            journal_head=head,
        )
        record = RunRecord.model_validate(record.model_dump() | changes)
        text = record.model_dump_json(indent=2) + "\n"
        (self.directory / "run.json").write_text(text, encoding="utf-8")
        return self.directory


class Scene:
    """One scenario of a sample."""

    def __init__(self, sample: Sample, name: str, *, slot: int) -> None:
        self.sample = sample
        self.cast = Cast(SEED, name, slot)
        self.random = self.cast.root.child("sample").random()
        self.aimed: dict[int, FaultSummary] = {}
        self.numbers: dict[str, int] = {}
        self.tally = {"ok": 0, "fail": 0, "info": 0}
        self.books = 0
        self.attempts = 0
        self.record = ScenarioRecord(
            name=name,
            summary=QUESTIONS.get(name, "What happens?"),
            verdict=Verdict.PASS,
            reasons=[],
            operations=self.tally,
            attempts=0,
            resolved_info=0,
            faults=[],
            phases=[],
            invariants=[
                InvariantRecord(
                    name=invariant,
                    kind=kind,
                    summary=summary,
                    verdict=Verdict.PASS,
                    checked=self.random.randrange(60, 400),
                    findings=0,
                )
                for invariant, kind, summary in INVARIANTS
            ],
        )

    def phase(self, name: str, first: int, last: int) -> None:
        """Two operations for each journey of a phase: create, then execute."""
        start = self.sample.now_ms
        for number in range(first, last):
            at = start + (number - first) * 38 + self.random.randrange(12)
            create = self._operation(number, "create-investment", name, at)
            self._operation(number, "execute-investment", name, create + 4)
        self.sample.now_ms += (last - first) * 38 + 350
        self._span(name, start)
        for fault in self.record.faults if name == "load" else []:
            self._fault_event(fault, "healed", self.sample.now_ms)

    def _span(self, name: str, start: int) -> None:
        self.record.phases.append(
            PhaseRecord(name=name, from_ms=start, until_ms=self.sample.now_ms)
        )

    def _operation(self, number: int, kind: str, phase: str, at: int) -> int:
        operation = self.cast.operation(kind, number, amount_minor=self.cast.amount_minor(number))
        aimed = self.aimed.get(number) if kind == "execute-investment" else None
        attempts = tuple(self._attempts(operation, number, at, hit=aimed is not None and aimed.bit))
        outcome = Outcome.OK if attempts[-1].status else Outcome.INFO
        if not aimed and self.random.random() < 0.02:
            attempts = (replace(attempts[-1], status=409, outcome=Outcome.FAIL),)
            outcome = Outcome.FAIL
        record = OperationRecord(
            scenario=self.record.name,
            phase=phase,
            operation=operation,
            outcome=outcome,
            subject=self.cast.root.child("investment", number).uuid(),
            attempts=attempts,
        )
        done = attempts[-1].done_ns // MS
        self.numbers[operation.id] = self.sample.write("operation", record, at_ms=done)
        self.attempts += len(attempts) if phase == "load" else 0
        if phase == "load":
            self.tally[outcome.value] += 1
        return done

    def _attempts(
        self, operation: Operation, number: int, at: int, *, hit: bool
    ) -> Iterator[Attempt]:
        took = int(self.random.lognormvariate(3.2, 0.45))
        if hit:
            lost = took + self.random.randrange(900, 3_000)
            yield Attempt(
                operation.id,
                1,
                f"api-{number % 2 + 1}",
                at * MS,
                (at + lost) * MS,
                None,
                Outcome.INFO,
                error="connection reset by peer before a complete reply",
            )
            at += lost + 210
        yield Attempt(
            operation.id,
            2 if hit else 1,
            f"api-{number % 2 + 1}",
            at * MS,
            (at + took) * MS,
            202,
            Outcome.OK,
            replayed=hit,
        )

    def faults(
        self, numbers: list[int], *, name: str, link: str, bites: Callable[[int], bool]
    ) -> None:
        """One fault for each aimed journey, in place from now on."""
        start = self.sample.now_ms
        for position, number in enumerate(numbers):
            summary = FaultSummary(
                id=f"{name}-{position + 1}",
                name=name,
                link=link,
                operation=f"{self.record.name}/execute-investment/{number}",
                parameters={"message": "COMMIT #1", "stream": "downstream"},
                from_ms=start + position * 90,
                until_ms=start + len(numbers) * 90 + 3_200,
                bit=bites(position),
                bit_ms=start + position * 90 + 40 if bites(position) else None,
                observer="postgres-log",
                evidence={"line": "could not send data to client: Connection reset by peer"}
                if bites(position)
                else {},
            )
            self.aimed[number] = summary
            self.record.faults.append(summary)
            for event in ("intent", "applied"):
                self._fault_event(summary, event, summary.from_ms or 0)

    def _fault_event(self, fault: FaultSummary, event: str, at_ms: int) -> None:
        record = FaultRecord(
            self.record.name,
            fault.id,
            fault.name,
            fault.link,
            fault.operation,
            event,
            fault.parameters,
        )
        self.sample.write("fault", record, at_ms=at_ms)

    def settle(self) -> None:
        """The quiet end: waiting, final reads, proofs."""
        for name, took in (("settle", 1_450), ("reads", 420)):
            start = self.sample.now_ms
            self.sample.now_ms += took
            self._span(name, start)
        for fault in self.record.faults:
            proof = ProofRecord(
                self.record.name, fault.id, fault.bit, fault.observer, fault.evidence
            )
            self.sample.write("proof", proof, at_ms=self.sample.now_ms)
        self.record.attempts = self.attempts
        self.record.operations = dict(self.tally)
        self.books = self.sample.write(
            "books",
            {"scenario": self.record.name, "moment": "after", "table": "partner_orders"},
            at_ms=self.sample.now_ms,
        )

    def judge(self, invariant: str, verdict: Verdict, *, reason: str, **changes: object) -> None:
        """Give one invariant, and with it the scenario, a verdict other than pass."""
        index = next(i for i, held in enumerate(self.record.invariants) if held.name == invariant)
        held = self.record.invariants[index]
        self.record.invariants[index] = held.model_copy(update={"verdict": verdict} | changes)
        self.record.verdict = worst((self.record.verdict, verdict))
        self.record.reasons.append(reason)


def _three(sample: Sample) -> dict[str, Scene]:
    return {
        "commit-reply-lost": sample.scenario("commit-reply-lost", aimed=range(8, 26, 2)),
        "partner-reply-lost": sample.scenario(
            "partner-reply-lost",
            aimed=range(10, 30, 4),
            link="worker-partner",
            fault="reset-reply",
        ),
        "one-investment-many-clients": sample.scenario("one-investment-many-clients", journeys=96),
    }


def passing(directory: Path) -> Path:
    """Three scenarios, about seven hundred operations, nothing wrong."""
    sample = Sample(directory)
    _three(sample)
    return sample.finish()


def failing(directory: Path, *, message: str = "", count: int = 2) -> Path:
    """An investment that was executed twice; `message` is what a service answered with it."""
    sample = Sample(directory)
    scene = _three(sample)["partner-reply-lost"]
    examples = []
    for number in list(scene.aimed)[1 : 1 + count]:
        operation = f"partner-reply-lost/execute-investment/{number}"
        amount = scene.cast.amount_minor(number)
        at_ms = (scene.aimed[number].from_ms or 0) + 1_874
        examples.append(
            ExampleRecord(
                subject=scene.cast.root.child("investment", number).uuid(),
                operation=operation,
                expected=f"1 partner order of {amount} minor units",
                actual=f"2 partner orders of {amount} minor units: ORD-000118 and ORD-000131"
                + (f"; the service said: {message}" if message else ""),
                at_ms=at_ms,
                records=[scene.numbers[operation], scene.books],
            )
        )
    sample.findings.append(
        FindingRecord(
            id="partner-reply-lost.executed-at-most-once.twice",
            scenario="partner-reply-lost",
            invariant="executed-at-most-once",
            title="An investment was executed twice",
            count=len(examples),
            examples=examples,
            replay=f"stormproof run partner-reply-lost --seed {SEED} --variant dedupe-removed",
        )
    )
    scene.judge(
        "executed-at-most-once",
        Verdict.FAIL,
        findings=len(examples),
        reason="executed-at-most-once: an investment was executed twice",
    )
    return sample.finish(
        reason="partner-reply-lost broke executed-at-most-once: an investment was executed twice.",
        variant="dedupe-removed",
    )


def inconclusive(directory: Path) -> Path:
    """Nothing wrong was seen, but two faults did not bite and an outcome stayed unknown."""
    sample = Sample(directory)
    scene = sample.scenario(
        "commit-reply-lost", aimed=range(8, 26, 2), bites=lambda position: position not in (2, 5)
    )
    sample.scenario("one-investment-many-clients", journeys=96)
    reason = "2 of 9 faults did not bite: drop-reply-3, drop-reply-6"
    scene.judge("every-fault-bit", Verdict.INCONCLUSIVE, reason=reason, unknown=[reason])
    return sample.finish(
        reason="commit-reply-lost supports no pass: 2 of 9 faults did not bite.",
        not_shown=["2 faults did not bite, so what they were aimed at was not tested."],
    )


def harness_failure(directory: Path) -> Path:
    """The stack never became ready: no verdict, no scenario, an unsealed journal."""
    sample = Sample(directory)
    return sample.finish(
        seal=False,
        verdict=None,
        exit_code=6,
        scenarios=[],
        findings=[],
        duration_ms=30_120,
        reason="No steady state: api-2 did not answer on /readyz within 30 s"
        " (last answer: 503, database not migrated).",
        not_shown=["Nothing was learned about the target."],
    )


SAMPLES: dict[str, Callable[[Path], Path]] = {
    "passing": passing,
    "failing": failing,
    "inconclusive": inconclusive,
    "harness-failure": harness_failure,
}

if __name__ == "__main__":
    for sample_name, make in SAMPLES.items():
        make(Path(sys.argv[1]) / sample_name)
