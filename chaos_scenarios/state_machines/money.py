"""Money: whatever one client does in whichever order, wallet and investments follow the model."""

import itertools
import json
from collections.abc import Iterator, Mapping

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from harness.core.cast import Cast
from harness.core.history import Completed, Operation, Outcome
from harness.core.target import Clients
from load.perform import Limits, perform
from load.sender import HttpSender

_LIMITS = Limits(operation_seconds=10, write_attempts=4)
_FIRST_DEPOSIT_MINOR, _FIRST_AMOUNT_MINOR = 1_000, 300
_AMOUNTS = st.integers(min_value=1, max_value=1_500)


class MoneyMachine(RuleBasedStateMachine):
    """One user with a wallet and investments; every example has a new one.

    `run_money_machine` binds it to a service. No answer of the service ever decides what is drawn.
    """

    cast: Cast
    clients: Clients
    send: HttpSender
    numbers: Iterator[int]

    investments: Bundle[Completed] = Bundle("investments")
    sent: Bundle[Completed] = Bundle("sent")

    def __init__(self) -> None:
        super().__init__()
        self.user = next(self.numbers)
        self.balance_minor = 0
        self.states: dict[str, str] = {}

    @initialize(targets=(investments, sent))
    def begin(self) -> Completed:
        """A user with money and one investment: something can happen from the first step on."""
        done = self._perform(self._operation("create-user", admin=True))
        assert done.outcome is Outcome.OK, _told(done)
        self.fund(_FIRST_DEPOSIT_MINOR)
        return self._create(_FIRST_AMOUNT_MINOR)

    @rule(target=sent, amount_minor=_AMOUNTS)
    def fund(self, amount_minor: int) -> Completed:
        """A deposit raises the balance, once its job is done."""
        operation = self._operation("fund", admin=True, amount_minor=amount_minor)
        operation.params["reference"] = f"{operation.key}"
        done = self._perform(operation)
        assert done.outcome is Outcome.OK, _told(done)
        self._await_job(done)
        self.balance_minor += amount_minor
        return done

    @rule(targets=(investments, sent), amount_minor=_AMOUNTS)
    def create(self, amount_minor: int) -> Completed:
        """A new investment moves no money."""
        return self._create(amount_minor)

    @rule(target=sent, created=investments)
    def execute(self, created: Completed) -> Completed:
        """An investment is executed once, and only with money that the wallet has."""
        name, amount_minor = _investment(created), created.operation.amount_minor
        done = self._perform(self._about("execute-investment", created))
        if self.states[name] == "PENDING" and self.balance_minor >= amount_minor:
            assert done.outcome is Outcome.OK, _told(done)
            self._await_job(done)
            self.states[name] = "EXECUTED"
            self.balance_minor -= amount_minor
        else:
            assert done.outcome is Outcome.FAIL, _told(done)
        return done

    @rule(target=sent, created=investments)
    def cancel(self, created: Completed) -> Completed:
        """Only what was not executed can be cancelled, and only once."""
        name = _investment(created)
        done = self._perform(self._about("cancel-investment", created))
        if self.states[name] == "PENDING":
            assert done.outcome is Outcome.OK, _told(done)
            self.states[name] = "CANCELLED"
        else:
            assert done.outcome is Outcome.FAIL, _told(done)
        return done

    @rule(before=sent)
    def retry_with_old_key(self, before: Completed) -> None:
        """A key used before gives the answer of then, and nothing happens again."""
        done = self._perform(before.operation)
        was, now = before.attempts[-1], done.attempts[-1]
        assert (now.status, now.body_sha256) == (was.status, was.body_sha256), _told(done)

    @invariant()
    def service_agrees_with_the_model(self) -> None:
        """Balance and states are what the model says, after every step."""
        wallet = self._read("read-wallet", {})
        assert int(wallet["balance_minor"]) == self.balance_minor, wallet
        for name, state in self.states.items():
            investment = self._read("read-investment", {"investment": name})
            assert investment["state"] == state, investment

    def _operation(self, kind: str, *, admin: bool = False, amount_minor: int = 0) -> Operation:
        number = next(self.numbers)
        return self.cast.operation(
            kind, number, user=self.user, amount_minor=amount_minor, admin=admin
        )

    def _create(self, amount_minor: int) -> Completed:
        operation = self._operation("create-investment", amount_minor=amount_minor)
        operation.params["instrument"] = "FUND-A"
        done = self._perform(operation)
        assert done.outcome is Outcome.OK, _told(done)
        self.states[done.reading.learned["investment"]] = "PENDING"
        return done

    def _about(self, kind: str, created: Completed) -> Operation:
        operation = self._operation(kind, amount_minor=created.operation.amount_minor)
        operation.params["investment"] = _investment(created)
        return operation

    def _perform(self, operation: Operation) -> Completed:
        return perform(operation, self.clients, self.send, limits=_LIMITS)

    def _await_job(self, accepted: Completed) -> None:
        operation = self._operation("await-job")
        operation.params["job"] = accepted.reading.learned["job"]
        done = self._perform(operation)
        assert done.outcome is Outcome.OK, _told(done)

    def _read(self, kind: str, params: dict[str, str]) -> dict[str, str]:
        operation = self._operation(kind)
        operation.params.update(params)
        done = self._perform(operation)
        assert done.attempts[-1].status == 200, _told(done)
        return json.loads(done.body)


def run_money_machine(
    *,
    cast: Cast,
    clients: Clients,
    entries: Mapping[str, str],
    examples_max: int = 12,
    steps_max: int = 8,
) -> int:
    """Run the machine against a service, and return how many operations that took.

    Raises what Hypothesis raises: an `AssertionError` with the program that leads to it. Examples
    are the same every time and are not shrunk: with so few steps that costs more than it tells.
    """
    numbers = itertools.count()
    send = HttpSender(entries)
    bound = {"cast": cast, "clients": clients, "send": send, "numbers": numbers}
    machine = type("Money", (MoneyMachine,), bound)
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples_max,
                stateful_step_count=steps_max,
                phases=(Phase.generate,),
                derandomize=True,
                database=None,
                deadline=None,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        send.close()
    return next(numbers)


def _investment(created: Completed) -> str:
    return created.reading.learned["investment"]


def _told(done: Completed) -> str:
    last = done.attempts[-1]
    body = done.body[:300].decode("utf-8", "replace")
    return f"{done.operation.kind} is {done.outcome}: {last.status} {last.error} {body}"
