"""How the run was made: what somebody needs to make it again."""

from reports.content import Block, Command, Facts, Table, code
from reports.run import Run
from reports.section import section
from reports.words import repeat_command, seconds


@section("method", title="How it was run", order=70)
def method(run: Run) -> list[Block]:
    """Seed, options, versions, settings and the scenarios with their loads."""
    record = run.record
    facts = (
        ("Run", code(record.run_id)),
        ("Started", f"{record.started_at} (UTC), took {seconds(record.duration_ms)}"),
        ("Seed", code(str(record.seed))),
        ("Profile", record.profile or "none"),
        ("Target", record.target),
        ("Stack", record.stack),
        ("Variant", record.variant or "none: the target as it is"),
        ("Commit", code(record.commit) if record.commit else "not recorded"),
        ("Exit code", str(record.exit_code)),
    )
    blocks: list[Block] = [Facts(facts), Command("Repeat this run", repeat_command(record))]
    if record.scenarios:
        columns = ("Scenario", "Ok", "Refused", "Unknown", "Resolved", "Attempts", "Question")
        rows = tuple(
            (
                s.name,
                *(str(s.operations.get(k, 0)) for k in ("ok", "fail", "info")),
                str(s.resolved_info),
                str(s.attempts),
                s.summary,
            )
            for s in record.scenarios
        )
        note = "Resolved: unknown outcomes that reads after the faults made known."
        caption = "Operations under load, by what their clients could conclude"
        blocks.append(Table(caption, columns, rows, numeric=(1, 2, 3, 4, 5), note=note))
    for caption, column, values in (
        ("Versions", "Version", record.versions),
        ("Settings of the target", "Value", record.settings),
    ):
        if values:
            pairs = tuple((name, code(value)) for name, value in sorted(values.items()))
            blocks.append(Table(caption, ("Name", column), pairs))
    return blocks
