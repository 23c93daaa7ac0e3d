"""Many small payments from one sum: where nobody knows which of them was the last."""

from chaos_scenarios.scenarios import COMMON
from fault_injection.faults.commit_reply_lost import CommitReplyLost
from harness.core.scenario import Load, Plan, Story, scenario

HOLDERS, DIVIDENDS = range(60), range(5)


@scenario("dividend-commit-reply-lost")
def dividend_commit_reply_lost(plan: Plan) -> Story:
    """If the reply to a COMMIT is lost while dividends are paid, is any holder paid twice, or not?

    Every second dividend loses the reply to the COMMIT that accepts it, the others the reply to
    the one of their first payout.
    """
    faults = []
    for number in DIVIDENDS:
        operation = plan.cast.operation("distribute-dividends", number)
        accepting = number % 2 == 0
        link = f"{plan.entry(number)}-postgres" if accepting else "worker-postgres"
        within = "insert into outbox" if accepting else "insert into ledger_transactions"
        faults.append(
            CommitReplyLost(link=link, trace=operation.trace, operation=operation.id, within=within)
        )
    return Story(
        prepare=Load("open-investments", HOLDERS, clients=12),
        baseline=Load("execute-investments", HOLDERS, clients=12),
        load=Load("distribute-dividends", DIVIDENDS, clients=len(DIVIDENDS)),
        faults=tuple(faults),
        invariants=(*COMMON, "shares-fair"),
        operations_min=3 * len(DIVIDENDS),
    )
