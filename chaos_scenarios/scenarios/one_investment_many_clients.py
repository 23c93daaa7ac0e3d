"""Many clients execute one investment at once: impatient users, retrying gateways, two tabs."""

from chaos_scenarios.scenarios import COMMON
from harness.core.scenario import Load, Plan, Story, scenario

# Ten rounds in which requests met are wanted; see the control.
CLIENTS, ROUNDS = 20, 13


@scenario("one-investment-many-clients")
def one_investment_many_clients(_plan: Plan) -> Story:
    """If twenty clients execute one investment at the same time, is it executed once?

    Rounds alternate between one idempotency key for all and a key for each; the calls go to both
    APIs. The decoded messages prove that the transactions of both APIs overlapped.
    """
    return Story(
        prepare=Load("open-investments", range(ROUNDS), clients=ROUNDS),
        load=Load(
            "execute-one-investment",
            range(CLIENTS * ROUNDS),
            clients=CLIENTS,
            in_rounds=True,
            params={"clients": str(CLIENTS)},
        ),
        invariants=(*COMMON, "entries-overlap"),
        operations_min=200,
    )
