"""Whether the records behind this page are the ones that were written, and how to check it."""

from reports.content import Block, Command, Facts, Paragraph, Span, code
from reports.run import Run
from reports.section import section


@section("integrity", title="Integrity", order=80)
def integrity(run: Run) -> list[Block]:
    """The head of the journal's hash chain, its seal, and what is not proved."""
    facts = run.journal
    if not facts.present:
        return [Paragraph("There is no journal in this run directory: nothing can be checked.")]
    rows = (
        (
            "Journal",
            f"{len(facts.types)} records, "
            + ("sealed" if facts.sealed else "not sealed: the run ended early"),
        ),
        ("Head of the chain", code(facts.head or "empty")),
        ("In run.json", _agreement(run)),
        ("Signature", "not signed: nobody vouches for who wrote these records"),
    )
    return [
        Facts(rows),
        Paragraph(
            "Each record of the journal carries the SHA-256 of the one before it, so that none can "
            "be changed or left out unless all later ones are written anew. This page was made "
            "from run.json and journal.ndjson alone, and holds no time of its own."
        ),
        Command("Check it, in this page's directory", "stormproof analyze ."),
    ]


def _agreement(run: Run) -> Span:
    if not run.record.journal_head:
        return Span("? no head recorded", tone="unsure")
    if run.record.journal_head == run.journal.head:
        return Span("✓ the same head", tone="good")
    return Span(
        f"✕ DIFFERENT head {run.record.journal_head}: run.json and the journal do not belong "
        "together",
        tone="bad",
    )
