"""The only source of chance: one seed, from which every stream is derived by name."""

import hashlib
import random
import secrets
import uuid

_NAMESPACE = uuid.UUID("6f1d3f0e-5a57-5f0d-9b1e-3a3b1f2c7d55")


def fresh_seed() -> int:
    """A new seed, for runs that were given none; it is printed and recorded."""
    return secrets.randbits(32)


class Seed:
    """A named point in the tree of derived values: the same seed and names give the same values."""

    def __init__(self, value: int, *path: str | int) -> None:
        self.value = value
        self.path = path

    def child(self, *names: str | int) -> "Seed":
        """The seed below this one under `names`."""
        return Seed(self.value, *self.path, *names)

    def _digest(self) -> bytes:
        text = "/".join(str(part) for part in (self.value, *self.path))
        return hashlib.sha256(text.encode()).digest()

    def hex(self, characters: int) -> str:
        """A lower-case hexadecimal text of that many characters (at most 64)."""
        return self._digest().hex()[:characters]

    def uuid(self) -> str:
        """A version-5 UUID."""
        return str(uuid.uuid5(_NAMESPACE, self._digest().hex()))

    def random(self) -> random.Random:
        """A generator of its own for this point."""
        return random.Random(self._digest())

    def sample(self, population: range, count: int) -> list[int]:
        """`count` different members, in ascending order."""
        return sorted(self.random().sample(population, count))


def bearer_token(seed: int, name: str) -> str:
    """The bearer token of a client in one run: harness, Locust and target tasks derive the same.

    It opens nothing but the run's own throw-away stack, and is kept out of every record.
    """
    return "sp_" + Seed(seed, "bearer", name).hex(48)


def fresh_id() -> str:
    """A short id that tells runs apart; it decides nothing."""
    return secrets.token_hex(3)
