"""What a reader must not conclude from this run. Never empty."""

from reports.content import Block, Bullets, Paragraph
from reports.run import Run
from reports.section import section
from reports.words import count

ITEMS_MAX = 40
NOTHING = "nothing was there to be checked"
STANDING = (
    "What held here held for these scenarios, faults, seed and versions; nothing follows for "
    "others."
)


@section("limits", title="What this run does not show", order=20)
def limits(run: Run) -> list[Block]:
    """The limits that the run itself recorded, and those that follow from its figures."""
    found = [*run.record.not_shown, *_from_figures(run)]
    items = list(dict.fromkeys(item for item in found if item.strip()))
    shown = tuple(items[:ITEMS_MAX])
    blocks: list[Block] = [Paragraph(STANDING)]
    if shown:
        blocks.append(Bullets(shown))
    if len(items) > len(shown):
        blocks.append(Paragraph(f"Showing {len(shown)} of {len(items)}; all are in run.json."))
    return blocks


def _from_figures(run: Run) -> list[str]:
    items = []
    for scenario in run.record.scenarios:
        dull = [fault for fault in scenario.faults if not fault.bit]
        if dull:
            total = count(len(scenario.faults), "fault")
            items.append(f"{scenario.name}: {len(dull)} of {total} did not bite.")
        reasons: dict[str, list[str]] = {}
        for invariant in scenario.invariants:
            for reason in invariant.unknown or ([] if invariant.checked else [NOTHING]):
                reasons.setdefault(reason, []).append(invariant.name)
        items += [f"{scenario.name}: {why} ({', '.join(names)})." for why, names in reasons.items()]
    if not run.record.scenarios:
        items.append("No scenario was carried out, so nothing is known about the target.")
    if not run.journal.present:
        items.append("There is no journal: operations, moments and pictures are missing.")
    elif not run.journal.sealed:
        items.append("The journal is not sealed: the run ended early, and records may be missing.")
    return items
