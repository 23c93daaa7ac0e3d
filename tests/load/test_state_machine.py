"""The money machine: passes on a right service, and finds what is planted in a wrong one."""

import pytest

from chaos_scenarios.state_machines.money import run_money_machine
from harness.core.cast import Cast
from harness.core.target import Clients
from harness.core.waits import Deadline
from tests.load.service.server import TinyService

CAST = Cast(seed=7, scenario="money-machine", slot=900)


def test_a_right_service_passes(service: TinyService, clients: Clients) -> None:
    assert run_money_machine(cast=CAST, clients=clients, entries=service.entries) > 100


@pytest.mark.parametrize("plant", ["pays_twice", "forgets"])
def test_a_wrong_service_is_found(clients: Clients, plant: str) -> None:
    with TinyService(**{plant: True}) as service, pytest.raises(AssertionError) as found:
        run_money_machine(cast=CAST, clients=clients, entries=service.entries)
    program = "\n".join(found.value.__notes__)
    assert "state.execute(" in program or "state.retry_with_old_key(" in program


@pytest.mark.stack
def test_the_reference_service_agrees_with_the_model(stack) -> None:
    deadline = Deadline(60)
    cast = Cast(seed=stack.seed, scenario="money-machine", slot=900)
    operations = run_money_machine(
        cast=cast, clients=stack.target.door.clients, entries=stack.entry_urls()
    )
    assert operations > 100
    assert 60 - deadline.remaining_seconds < 20
