"""The most ambiguous moment of a money flow: COMMIT was sent, and no answer comes."""

from chaos_scenarios.scenarios import COMMON
from fault_injection.faults.commit_reply_lost import CommitReplyLost
from harness.core.scenario import Load, Plan, Story, scenario

BASELINE, LOAD, CHOSEN = range(40), range(40, 260), 10


@scenario("commit-reply-lost")
def commit_reply_lost(plan: Plan) -> Story:
    """If the reply to a COMMIT is lost, is anything executed twice, or never?

    Ten executions among many are chosen before they start: five lose the reply to the COMMIT that
    accepts them, five the one that settles them. All others must not notice.
    """
    # Not among the first and last ones, which have fewer others beside them.
    chosen = plan.cast.root.child("chosen").sample(LOAD[40:-40], CHOSEN)
    faults = []
    for place, number in enumerate(chosen):
        operation = plan.cast.operation("execute-investment", number)
        accepting = place % 2 == 0
        link = f"{plan.entry(number)}-postgres" if accepting else "worker-postgres"
        within = "insert into outbox" if accepting else "insert into ledger_transactions"
        faults.append(
            CommitReplyLost(link=link, trace=operation.trace, operation=operation.id, within=within)
        )
    return Story(
        prepare=Load("open-investments", range(LOAD.stop), clients=12),
        baseline=Load("execute-investments", BASELINE, clients=40),
        load=Load("execute-investments", LOAD, clients=40, driver="locust"),
        faults=tuple(faults),
        invariants=(*COMMON, "bystanders-undisturbed", "others-in-flight"),
        operations_min=200,
    )
