"""The console: what is happening now, and at the end what came of it.

With a terminal there is one moving line; without, every step is a plain line of its own.
"""

import sys
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.status import Status
from rich.table import Table

from harness.core import clock
from harness.core.run_record import RunRecord, ScenarioRecord
from harness.core.verdict import Verdict
from harness.engine.events import Event
from harness.engine.run import RunOptions

_LOOK = {
    Verdict.PASS: ("green", "✓ PASS"),
    Verdict.DEGRADED: ("yellow", "~ DEGRADED"),
    Verdict.INCONCLUSIVE: ("yellow", "? INCONCLUSIVE"),
    Verdict.FAIL: ("red", "✕ FAIL"),
    None: ("red", "! NO VERDICT"),
}
_FINDINGS_MAX = 5


class ConsoleListener:
    """Prints the engine's events; quiet when a script reads standard output."""

    def __init__(self, options: RunOptions, *, quiet: bool = False) -> None:
        self.console = Console(highlight=False, quiet=quiet)
        self._options = options
        self._status: Status | None = None
        self._start_ns = clock.monotonic_ns()
        self._counts: dict[str, int] = {}
        self._phase = ""

    def __enter__(self) -> "ConsoleListener":
        if self.console.is_terminal:
            self._status = self.console.status("starting")
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if event.kind == "plan":
            self._show_plan()
        elif event.kind == "operation":
            self._count(event)
        elif event.kind == "scenario":
            of = f"{event.data['number']}/{event.data['of']}"
            self._line(f"[bold]scenario {of}: {escape(event.text)}[/]")
        else:
            self._flush_counts()
            style = "red" if event.kind == "problem" else ""
            text = escape(event.text)
            self._line(f"  {f'[{style}]{text}[/]' if style else text}")
            if event.kind == "phase":
                self._phase = str(event.data.get("phase", ""))

    def _elapsed(self) -> str:
        return f"{(clock.monotonic_ns() - self._start_ns) / 1e9:6.1f} s"

    def _line(self, text: str) -> None:
        self.console.print(f"[dim]{self._elapsed()}[/]  {text}", soft_wrap=True)
        if self._status is not None:
            self._status.update(text)

    def _count(self, event: Event) -> None:
        outcome = str(event.data["outcome"])
        self._counts[outcome] = self._counts.get(outcome, 0) + 1
        if self._status is not None:
            self._status.update(f"{self._phase}: {self._told()}")

    def _told(self) -> str:
        told = ", ".join(f"{count} {name}" for name, count in sorted(self._counts.items()))
        return f"operations: {told}"

    def _flush_counts(self) -> None:
        if self._counts:
            self._line(f"  {self._told()}")
            self._counts.clear()

    def _show_plan(self) -> None:
        options = self._options
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        rows = {
            "run": f"{options.profile} ({options.run_id})",
            "scenarios": ", ".join(options.scenario_names),
            "seed": str(options.seed),
            "stack": options.stack_kind,
            "variant": options.variant or "none",
            "at most": f"{options.max_seconds:g} s",
            "commit": options.commit[:12] + ("+" if options.commit.endswith("+") else ""),
            "directory": str(options.folder),
        }
        for name, value in rows.items():
            table.add_row(f"[dim]{name}[/]", escape(value or "–"))
        self.console.print(table)


def show_panel(record: RunRecord, folder: Path) -> None:
    """The end of a run: verdict, what was tried, findings, where the report is, how to repeat."""
    console = Console(highlight=False)
    colour, word = _LOOK[record.verdict]
    lines = [f"[bold {colour}]{word}[/]  {escape(record.reason)}", ""]
    lines += [_scenario_line(scenario) for scenario in record.scenarios]
    for finding in record.findings[:_FINDINGS_MAX]:
        example = finding.examples[0]
        lines += [
            "",
            f"[bold red]finding[/] {escape(finding.id)} ({finding.count}×)",
            f"  {escape(example.subject)}: {escape(finding.title)}",
            f"  expected {escape(example.expected)}; found {escape(example.actual)}",
        ]
    if len(record.findings) > _FINDINGS_MAX:
        lines.append(f"  and {len(record.findings) - _FINDINGS_MAX} more in the report")
    console.print(Panel("\n".join(lines), border_style=colour, title="stormproof"))
    program = _program()
    for label, text in (
        ("report", str(folder / "report.html")),
        ("repeat", record.command.replace("stormproof", program, 1)),
        ("re-check", f"{program} analyze {folder}"),
        ("exit code", str(record.exit_code)),
    ):
        # Never wrapped: these lines are there to be copied.
        console.print(f"[dim]{label:<10}[/]{escape(text)}", soft_wrap=True)


def _program() -> str:
    """How this program was called, so that printed commands can be pasted."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "stormproof" and called.exists() else "stormproof"


def _scenario_line(scenario: ScenarioRecord) -> str:
    colour, word = _LOOK[scenario.verdict]
    bit = sum(fault.bit for fault in scenario.faults)
    told = [f"{sum(scenario.operations.values())} operations"]
    if scenario.faults:
        told.append(f"{bit} of {len(scenario.faults)} faults bit")
    held = sum(one.verdict is Verdict.PASS for one in scenario.invariants)
    told.append(f"{held} of {len(scenario.invariants)} invariants held")
    return f"[{colour}]{word:<15}[/] {scenario.name:<28} {', '.join(told)}"
