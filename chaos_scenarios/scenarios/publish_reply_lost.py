"""The queue fails while a job is handed to it: is the job lost, or run twice?"""

from chaos_scenarios.scenarios import COMMON
from fault_injection.faults.publish_reply_lost import PublishReplyLost
from harness.core.scenario import Load, Plan, Story, scenario

NUMBERS, CHOSEN = range(220), 10


@scenario("publish-reply-lost")
def publish_reply_lost(plan: Plan) -> Story:
    """If the queue takes a job's message and its reply is lost, does the job run twice, or never?

    The publisher cannot know that the message arrived, and publishes it again: two messages of
    one job are in the queue, and two workers may take one each.
    """
    chosen = plan.cast.root.child("chosen").sample(NUMBERS[20:-20], CHOSEN)
    operations = [plan.cast.operation("execute-investment", number) for number in chosen]
    return Story(
        prepare=Load("open-investments", NUMBERS, clients=12),
        load=Load("execute-investments", NUMBERS, clients=16),
        faults=tuple(
            PublishReplyLost(
                link="relay-redis", trace=operation.trace, operation=operation.id,
                publisher="relay", sign="publish_failed",
            )
            for operation in operations
        ),
        invariants=COMMON,
        operations_min=200,
    )  # fmt: skip
