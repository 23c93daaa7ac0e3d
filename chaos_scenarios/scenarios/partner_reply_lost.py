"""The partner executes and the confirmation is lost: the classic way to pay twice."""

from chaos_scenarios.scenarios import COMMON
from fault_injection.faults.partner_reply_lost import PartnerReplyLost
from harness.core.scenario import Load, Plan, Story, scenario

NUMBERS, CHOSEN = range(220), 10


@scenario("partner-reply-lost")
def partner_reply_lost(plan: Plan) -> Story:
    """If the partner executes an order and its reply is lost, is the order executed again?

    The proxy forwards the order, drops the reply and resets the connection. The service must ask
    before it sends anything again, and must ask with the key that it used.
    """
    chosen = plan.cast.root.child("chosen").sample(NUMBERS[20:-20], CHOSEN)
    operations = [plan.cast.operation("execute-investment", number) for number in chosen]
    return Story(
        prepare=Load("open-investments", NUMBERS, clients=12),
        load=Load("execute-investments", NUMBERS, clients=16),
        faults=tuple(
            PartnerReplyLost(link="worker-partner", trace=operation.trace, operation=operation.id)
            for operation in operations
        ),
        invariants=COMMON,
        operations_min=200,
    )
