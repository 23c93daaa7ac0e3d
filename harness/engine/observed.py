"""What proofs may look at: the scenario's own part of logs, journals and messages."""

from collections.abc import Mapping, Sequence

from harness.core import clock
from harness.core.books import Books, PartnerEvent
from harness.core.stack import ProxyEvent, Stack, Unit


class Observation:
    """Collects during a scenario what the fault's injector cannot write, and its claims."""

    def __init__(self, stack: Stack, *, events_from: int, logs_from: Mapping[str, int]) -> None:
        self._stack = stack
        self._logs_from = logs_from
        self._claims, self.events_position = stack.proxies.events(events_from)
        self._logs: dict[str, str] = {}
        self._units: dict[str, list[Unit]] = {}
        self._partner: Sequence[PartnerEvent] = ()
        self._wall_offset_ns = int(clock.utc_now().timestamp() * 1e9) - clock.monotonic_ns()

    def take_units(self, units: Sequence[Unit]) -> None:
        """Add decoded messages."""
        for unit in units:
            if unit.trace:
                self._units.setdefault(unit.trace, []).append(unit)

    def take_books(self, books: Books, *, partner_from: int) -> None:
        """Add what the partner's journal got since a row."""
        self._partner = [e for e in books.partner_events if e.seq > partner_from]

    def claims(self, toxic: str) -> Sequence[ProxyEvent]:
        """What the proxy says that this toxic did."""
        return [event for event in self._claims if event.toxic == toxic]

    def server_log(self, name: str) -> str:
        """What a server or process wrote to its own log during the scenario."""
        if name not in self._logs:
            self._logs[name] = self._stack.log(name, offset=self._logs_from.get(name, 0))[0]
        return self._logs[name]

    def partner_events(self) -> Sequence[PartnerEvent]:
        """The partner's own journal during the scenario."""
        return self._partner

    def units(self, trace: str) -> Sequence[Unit]:
        """The decoded exchange of one trace, in order."""
        return self._units.get(trace, [])

    def wall_ns(self, monotonic_ns: int) -> int:
        """The Unix time in nanoseconds of a monotonic time, to compare with a server's log."""
        return monotonic_ns + self._wall_offset_ns
