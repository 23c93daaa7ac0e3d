"""`run.json`: the one model of a finished run, which the report and other tools read."""

from pydantic import BaseModel, ConfigDict, Field

from harness.core.verdict import Verdict

SCHEMA_VERSION = "1"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FindingRecord(_Model):
    """One kind of violation in one scenario: how often, the first, the worst and the last."""

    id: str = Field(description="Stable across runs: scenario, invariant and kind of violation.")
    scenario: str
    invariant: str
    title: str
    count: int
    examples: list["ExampleRecord"] = Field(description="First, worst and last, at most 20 in all.")
    replay: str = Field(description="The command that repeats it.")


class ExampleRecord(_Model):
    """One instance of a finding, with the operation and the journal records behind it."""

    subject: str
    operation: str = ""
    expected: str
    actual: str
    at_ms: int | None = None
    records: list[int] = Field(default_factory=list)


class InvariantRecord(_Model):
    """The verdict of one invariant (or control) in one scenario."""

    name: str
    kind: str
    summary: str
    verdict: Verdict
    checked: int
    findings: int
    unknown: list[str] = Field(default_factory=list)
    note: str = ""


class FaultSummary(_Model):
    """One fault: where it was aimed, when it was in place, and whether it bit."""

    id: str
    name: str
    link: str
    operation: str = ""
    parameters: dict[str, str]
    from_ms: int | None = None
    until_ms: int | None = None
    bit: bool
    bit_ms: int | None = Field(default=None, description="When it bit, where that is known.")
    observer: str = ""
    evidence: dict[str, str] = Field(default_factory=dict)


class PhaseRecord(_Model):
    """A span of a scenario's life, in milliseconds from the start of the run."""

    name: str
    from_ms: int
    until_ms: int | None = None


class ScenarioRecord(_Model):
    """One scenario: what was tried, what held, and what could not be told."""

    name: str
    summary: str
    verdict: Verdict
    reasons: list[str] = Field(description="Why it is not a pass; empty for a pass.")
    operations: dict[str, int] = Field(
        description="Operations under load by outcome: ok, fail, info."
    )
    attempts: int
    resolved_info: int = Field(description="Unknown outcomes that final reads resolved.")
    faults: list[FaultSummary]
    invariants: list[InvariantRecord]
    phases: list[PhaseRecord]


class RunRecord(_Model):
    """A finished run."""

    verdict: Verdict | None = Field(description="None when the harness stopped before a verdict.")
    exit_code: int
    reason: str = Field(description="One sentence: why this verdict.")
    schema_version: str = SCHEMA_VERSION
    run_id: str
    command: str = Field(description="How to repeat this run.")
    started_at: str
    duration_ms: int
    seed: int
    profile: str
    target: str
    stack: str
    variant: str = ""
    commit: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    settings: dict[str, str] = Field(default_factory=dict)
    scenarios: list[ScenarioRecord] = Field(default_factory=list)
    findings: list[FindingRecord] = Field(default_factory=list)
    not_shown: list[str] = Field(
        default_factory=list, description="Limits of this run; never empty."
    )
    journal_head: str = ""


FindingRecord.model_rebuild()
