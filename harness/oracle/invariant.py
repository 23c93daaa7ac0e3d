"""Invariants: functions of one scenario's history and snapshots that return a judgement."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from harness.core.registry import Registry, first_sentence
from harness.core.verdict import Judgement
from harness.oracle.case import Case

Kind = Literal["safety", "liveness", "control"]


@dataclass(frozen=True)
class Invariant:
    """A registered invariant. `safety` says what must never be wrong, `liveness` what must get
    done, `control` what must hold of the experiment itself: a broken control accuses nobody, it
    makes the scenario inconclusive."""

    name: str
    kind: Kind
    check: Callable[[Case], Judgement]

    @property
    def summary(self) -> str:
        """Its promise: the first sentence of its docstring."""
        return first_sentence(inspect.getdoc(self.check) or self.name)


invariants: Registry[Invariant] = Registry("invariant")


def invariant(
    name: str, *, kind: Kind
) -> Callable[[Callable[[Case], Judgement]], Callable[[Case], Judgement]]:
    """Register a function as an invariant; the first sentence of its docstring is its promise."""

    def register(check: Callable[[Case], Judgement]) -> Callable[[Case], Judgement]:
        invariants.add(name, Invariant(name, kind, check), documented=check)
        return check

    return register
