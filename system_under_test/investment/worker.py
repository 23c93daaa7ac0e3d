"""The worker: a Celery process whose children run one job at a time."""

from uuid import UUID

from celery.signals import setup_logging, worker_process_init

from . import broker, db, deposits, dividends, execution, jobs, logs, partners, tracing
from .jobs import Claim
from .partner_client import PartnerClient
from .settings import Settings


def run_job(job_id: UUID, *, services: "WorkerServices") -> None:
    """Claim the job and run it; a message for a job that is not due is simply dropped.

    Whatever goes wrong, the job is given back: never Celery's to retry. When even that fails, its
    lease ends, and the sweeper publishes it again.
    """
    claim = jobs.claim(services.engine, job_id, settings=services.settings)
    if claim is None:
        logs.info("job_not_claimed", job_id=job_id)
        return
    try:
        _work(claim, services)
    except Exception as error:
        logs.exception("job_interrupted", error, job_id=job_id)
        reason = f"interrupted: {type(error).__name__}"
        jobs.postpone(services.engine, claim, reason=reason, settings=services.settings)


def _work(claim: Claim, services: "WorkerServices") -> None:
    engine, settings = services.engine, services.settings
    match claim.kind:
        case "deposit":
            deposits.post(engine, claim)
        case "dividend":
            dividends.pay(engine, claim, settings=settings)
        case "execution":
            execution.execute(engine, services.partner, claim, settings=settings)
        case kind:
            raise LookupError(f"no work of kind {kind} is known")


class WorkerServices:
    """What a child needs; made after the fork, for connections must not be shared."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = db.make_engine(settings, pool_size=2)
        self.partner = PartnerClient(settings, partners.api_key_reader(self.engine, settings))


def main(settings: Settings) -> None:
    app = broker.make_celery(settings)
    children: list[WorkerServices] = []

    @setup_logging.connect(weak=False)
    def keep_our_logging(**_: object) -> None:
        """Celery leaves logging alone when somebody answers this signal."""

    @worker_process_init.connect(weak=False)
    def start_child(**_: object) -> None:
        tracing.start_spans(settings)
        children.append(WorkerServices(settings))

    @app.task(name=broker.TASK, bind=True, ignore_result=True)
    def run_job_task(task, job_id: str) -> None:  # type: ignore[no-untyped-def]
        with tracing.traced(task.request.get("traceparent")):
            try:
                run_job(UUID(job_id), services=children[-1])
            except Exception as error:
                logs.exception("job_left_to_sweeper", error, job_id=job_id)

    arguments = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-O", "fair"]
    app.worker_main(["worker", "--pool=prefork", "-Q", broker.QUEUE, *arguments])
