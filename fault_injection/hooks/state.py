"""What the controller knows: arms, processes, hits. Touched by the hub's thread alone."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from fault_injection.hooks.hub import Message, Peer
from fault_injection.hooks.point import Point
from fault_injection.hooks.term import Step, Term
from harness.core import clock
from harness.core.errors import HarnessError
from harness.core.stack import HookEvent

EVENTS_MAX = 200_000
OnEvent = Callable[[HookEvent], None]


@dataclass
class Arm:
    """An armed hook: how often each step fired, and its own stream of chance."""

    id: str
    point: Point
    term: Term
    trace: str
    process: str
    shared: bool
    chance: Callable[[], float]
    expires_ns: int
    used: list[int] = field(default_factory=list)
    hits: int = 0

    def order(self) -> Message:
        """What a process is told."""
        return {
            "id": self.id,
            "module": self.point.module,
            "qualname": self.point.qualname,
            "event": self.point.event,
            "trace": self.trace,
            "exceptions": self.term.exceptions,
        }

    def next_step(self) -> int | None:
        """The step that a hit fires, or None. Chance is drawn here, never in the target."""
        for number, step in enumerate(self.term.steps):
            if step.count is not None and self.used[number] >= step.count:
                continue
            if step.percent is not None and self.chance() * 100 >= step.percent:
                continue
            return number
        return None

    @property
    def spent(self) -> bool:
        """Whether no hit can fire any more."""
        for number, step in enumerate(self.term.steps):
            if step.count is not None and self.used[number] >= step.count:
                continue
            return step.action == "off" and step.percent is None
        return True


@dataclass
class Firing:
    """A hit that is under way; `go_at_ns` is when what it holds is let go at the latest."""

    number: int
    arm: Arm
    peer: Peer
    process: str
    trace: str
    step: Step
    shared: bool
    go_at_ns: int = 0


@dataclass
class Answers:
    """The processes that still have to answer an order, and what the others said."""

    future: "Future[list[Message]]"
    open: set[Peer]
    given: list[Message] = field(default_factory=list)

    def settle(self, peer: Peer, message: Message | None) -> None:
        """One has answered, or has gone."""
        if peer in self.open:
            self.open.discard(peer)
            if message is not None:
                self.given.append(message)
        if not self.open and not self.future.done():
            self.future.set_result(self.given)


class State:
    """The hub's listener: decides what each hit does and writes it down before it answers."""

    def __init__(self, resolver: str, on_event: OnEvent) -> None:
        self.resolver = resolver
        self.arms: dict[str, Arm] = {}
        self.processes: dict[Peer, str] = {}
        self.firings: dict[Peer, Firing] = {}
        self.answers: dict[str, Answers] = {}
        self.events: list[HookEvent] = []
        self.dropped = 0
        self._on_event = on_event
        self._firing_count = 0

    # -- lines from the target --------------------------------------------------------------------

    def heard(self, peer: Peer, message: Message) -> None:
        """A process joins, answers an order, hits a hook, or reports what it did."""
        if "join" in message:
            self._join(peer, str(message["join"]))
        elif "answer" in message:
            self._answer(peer, message)
        elif "hit" in message:
            self._hit(peer, message)
        elif "after" in message:
            self._after(peer, message)

    def _join(self, peer: Peer, name: str) -> None:
        self.processes[peer] = name
        orders = [arm.order() for arm in self.arms.values() if self._meant(arm, name)]
        peer.send({"arms": orders, "resolver": self.resolver} if orders else {})

    @staticmethod
    def _meant(arm: Arm, process: str) -> bool:
        return arm.process in ("", process) and not arm.spent

    def _answer(self, peer: Peer, message: Message) -> None:
        key = str(message["answer"])
        waiting = self.answers.get(key)
        if waiting is not None and peer in waiting.open:
            waiting.settle(peer, message)
        elif message.get("state") == "unknown" and key in self.arms:
            # Found out when the module was imported, or in a process that joined later.
            self._write("unresolved", self.arms[key], peer, outcome=str(message["detail"]))

    def _hit(self, peer: Peer, message: Message) -> None:
        arm = self.arms.get(str(message["hit"]))
        number = None
        if arm is not None:
            arm.hits += 1
            number = arm.next_step()
        if arm is None or number is None or arm.term.steps[number].action == "off":
            peer.send({"do": "off"})
            return
        step, trace = arm.term.steps[number], str(message.get("trace", ""))
        stops_loop = bool(message.get("blocks_loop")) and step.holds
        if stops_loop and step.action == "pause" and not arm.shared:
            self._write("refused", arm, peer, step, trace, "it would stop a whole event loop")
            peer.send({"do": "off"})
            return
        if len(self.events) >= EVENTS_MAX:  # what cannot be written down must not happen
            self.dropped += 1
            peer.send({"do": "off"})
            return
        arm.used[number] += 1
        self._firing_count += 1
        firing = Firing(
            self._firing_count, arm, peer, self._name_of(peer), trace, step, stops_loop,
            clock.monotonic_ns() + step.hold_ms * 1_000_000 if step.holds else 0,
        )  # fmt: skip
        self.firings[peer] = firing
        self._record("before", firing)
        peer.send(_decision(step))
        if arm.spent:
            self.send_disarm(arm)

    def _name_of(self, peer: Peer) -> str:
        names = [name for each, name in self.processes.items() if each.pid == peer.pid]
        return names[-1] if names else ""

    def _after(self, peer: Peer, message: Message) -> None:
        firing = self.firings.pop(peer, None)
        if firing is not None:
            why = str(message.get("why", ""))
            self._record("after", firing, f"{message['after']}{': ' if why else ''}{why}")

    def left(self, peer: Peer) -> None:
        """A process or a hit ended; a hit without a report may have ended with its process."""
        self.processes.pop(peer, None)
        for waiting in list(self.answers.values()):
            waiting.settle(peer, None)
        firing = self.firings.pop(peer, None)
        if firing is not None:
            self._record("after", firing, "connection ended")

    # -- deadlines --------------------------------------------------------------------------------

    def rings_at_ns(self) -> int | None:
        """The next hold or lease that ends."""
        holds = [firing.go_at_ns for firing in self.firings.values() if firing.go_at_ns]
        leases = [arm.expires_ns for arm in self.arms.values() if arm.expires_ns]
        return min(holds + leases, default=None)

    def ring(self) -> None:
        """Let go what was held long enough; disarm what nobody renewed."""
        now = clock.monotonic_ns()
        for firing in list(self.firings.values()):
            if firing.go_at_ns and firing.go_at_ns <= now:
                self.let_go(firing, "delayed" if firing.step.action == "delay" else "expired")
        for arm in list(self.arms.values()):
            if arm.expires_ns <= now:
                self.drop(arm)
                self._write("expired", arm, None)

    # -- orders to the target ---------------------------------------------------------------------

    def let_go(self, firing: Firing, why: str) -> None:
        """End a hold."""
        firing.go_at_ns = 0
        firing.peer.send({"do": "go", "why": why})

    def send_disarm(self, arm: Arm) -> list[Peer]:
        """Have the functions given their own code back; the processes that were told."""
        names = ("", arm.process)
        return [
            peer
            for peer, name in self.processes.items()
            if (arm.process == "" or name in names) and peer.send({"disarm": arm.id})
        ]

    def drop(self, arm: Arm) -> list[Peer]:
        """Disarm, and let go what it holds."""
        self.arms.pop(arm.id, None)
        for firing in list(self.firings.values()):
            if firing.arm is arm and firing.go_at_ns:
                self.let_go(firing, "disarmed")
        return self.send_disarm(arm)

    # -- records ----------------------------------------------------------------------------------

    def _record(self, kind: str, firing: Firing, outcome: str = "") -> None:
        self._write(
            kind, firing.arm, firing.peer, firing.step, firing.trace, outcome, firing=firing
        )

    def _write(
        self,
        kind: str,
        arm: Arm,
        peer: Peer | None,
        step: Step | None = None,
        trace: str = "",
        outcome: str = "",
        *,
        firing: Firing | None = None,
    ) -> None:
        name = firing.process if firing else self._name_of(peer) if peer else arm.process
        event = HookEvent(
            seq=len(self.events) + 1,
            at_ns=clock.monotonic_ns(),
            kind=kind,
            arm=arm.id,
            firing=firing.number if firing else 0,
            point=str(arm.point),
            process=name,
            pid=peer.pid if peer else 0,
            started=peer.started if peer else "",
            trace=trace,
            action=str(step.action) if step else "",
            outcome=outcome,
            shared=bool(firing and firing.shared),
        )
        self.events.append(event)
        self._on_event(event)

    def since(self, after: int) -> list[HookEvent]:
        """The events after that number; raises `HarnessError` when hits had to be let pass."""
        if self.dropped:
            raise HarnessError(
                f"{self.dropped} hits of hooks were let pass, for the record was full",
                value=str(EVENTS_MAX),
                fix="aim the hook at a trace, or give it a count",
            )
        return self.events[after:]


def _decision(step: Step) -> Message:
    if step.holds:
        return {"do": "hold", "ms": step.hold_ms}
    if step.action == "raise":
        return {"do": "raise", "exception": step.exception, "text": step.text}
    if step.action == "return":
        return {"do": "return", "value": step.value}
    return {"do": step.action, "code": step.exit_code}
