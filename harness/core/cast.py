"""The cast of a scenario: everything about journey N that follows from the seed and N."""

from dataclasses import dataclass

from harness.core.history import Operation
from harness.core.seeds import Seed, bearer_token

_JOURNEYS_MAX = 5_000
# Amounts are far apart, so that one that is wrong by a little is nobody else's.
_SPACING = 97


@dataclass(frozen=True)
class Cast:
    """Derives users, keys, traces and amounts, so that harness and Locust agree without talking.

    `seed` is the run's, `scenario` the name and `slot` the number that keep scenarios apart.
    Every journey has a user of its own unless an operation names another.
    """

    seed: int
    scenario: str
    slot: int
    currency: str = "EUR"

    @property
    def root(self) -> Seed:
        """The seed below which everything of this scenario is derived."""
        return Seed(self.seed, self.scenario)

    def user(self, number: int) -> str:
        """The user id of journey `number`."""
        return self.root.child("user", number).uuid()

    def user_token(self, number: int) -> str:
        """The bearer token of that user."""
        return bearer_token(self.seed, f"{self.scenario}/{number}")

    def admin_token(self) -> str:
        """The bearer token of the administrator."""
        return bearer_token(self.seed, "admin")

    def amount_minor(self, number: int) -> int:
        """The amount that journey `number` moves; no other journey of the run has it.

        Raises `ValueError` for numbers outside a scenario's block of amounts.
        """
        if not 0 <= number < _JOURNEYS_MAX:
            raise ValueError(f"journey number {number} is not in 0..{_JOURNEYS_MAX - 1}")
        return (self._block() + number) * _SPACING

    def deposit_minor(self, number: int) -> int:
        """The amount that funds journey `number`: unique too, never an amount of a journey.

        It is enough for three: a service that takes the money twice must find it there.
        """
        return 3 * self.amount_minor(number) + 1

    def _block(self) -> int:
        first = 10_000 + int(Seed(self.seed, "amounts").hex(7), 16) % 80_000
        return (first + self.slot) * _JOURNEYS_MAX

    def operation(
        self,
        kind: str,
        number: int,
        *,
        name: str = "",
        user: int | None = None,
        key: str | int | None = None,
        trace: str = "",
        amount_minor: int = 0,
        admin: bool = False,
        params: dict[str, str] | None = None,
    ) -> Operation:
        """An operation of journey `number`.

        `name` tells it from others of its kind in the journey. `user` is the number of the journey
        whose user it is about, who acts unless `admin` does (its own by default); operations with
        the same `key` share an idempotency key (its own by default, none with an empty text).
        """
        owner = number if user is None else user
        key_name = number if key is None else key
        name = name or kind
        return Operation(
            id=f"{self.scenario}/{name}/{number}",
            kind=kind,
            number=number,
            user=self.user(owner),
            key=self.root.child("key", kind, key_name).uuid() if key_name != "" else "",
            trace=trace or self.root.child("trace", name, number).hex(32),
            amount_minor=amount_minor,
            currency=self.currency,
            params=params or {},
            secret=self.admin_token() if admin else self.user_token(owner),
            user_secret=self.user_token(owner),
        )
