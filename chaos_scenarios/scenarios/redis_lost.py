"""Redis fails while idempotency keys are checked: does anything depend on it?"""

from chaos_scenarios.scenarios import COMMON
from fault_injection.faults.link_reset import LinkReset
from harness.core.scenario import Load, Plan, Story, scenario

NUMBERS = range(220)


@scenario("redis-lost")
def redis_lost(plan: Plan) -> Story:
    """If the APIs cannot use Redis, is a repeated request executed again, or refused?

    Every connection of both APIs to Redis is reset as soon as Redis answers. Clients repeat
    requests with old keys all the while: they must get the old answers, from PostgreSQL.
    """
    return Story(
        prepare=Load("open-investments", NUMBERS, clients=12),
        load=Load("execute-investments", NUMBERS, clients=16),
        faults=tuple(
            LinkReset(
                link=f"{entry}-redis", process=entry, sign="answer_cache_unavailable", signs_min=50
            )
            for entry in plan.entries
        ),
        invariants=COMMON,
        operations_min=200,
    )
