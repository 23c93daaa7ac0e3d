"""Metrics say what is, and every alert fires when it should, and not before.

On a service beside the stack's: its API, worker, relay and sweeper use the stack's proxies and a
database of their own, so that nothing that other tests leave behind can be seen here.
"""

import contextlib
import operator
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import urllib3
import yaml
from prometheus_client.parser import text_string_to_metric_families

from harness.cli import catalogue, wiring
from tests.service.conftest import PREFIX
from tests.service.scratch import Beside, wait_for

pytestmark = [pytest.mark.stack, pytest.mark.long]

ROOT = Path(__file__).parents[2]
Labels = dict[str, str]
UP = {"job": "investment"}
Scrape = list[tuple[str, Labels, float]]


@dataclass(frozen=True)
class Alert:
    """A rule of the form `metric{labels} op number`, perhaps over the increase between scrapes."""

    name: str
    metric: str
    labels: tuple[tuple[str, str, str], ...]
    holds: Callable[[float, float], bool]
    threshold: float
    increase: bool
    severity: str
    annotations: Labels

    def fires(self, before: Scrape, now: Scrape) -> bool:
        earlier = {(n, *sorted(ls.items())): value for n, ls, value in before}
        for name, labels, value in now:
            if name == self.metric and all(self._matches(labels, *m) for m in self.labels):
                # As in Prometheus, what was not there before has not increased.
                born = earlier.get((name, *sorted(labels.items())), value)
                base = born if self.increase else 0.0
                if self.holds(value - base, self.threshold):
                    return True
        return False

    @staticmethod
    def _matches(labels: Labels, key: str, how: str, wanted: str) -> bool:
        held = labels.get(key, "")
        return held == wanted if how == "=" else re.fullmatch(wanted, held) is not None


_EXPRESSION = re.compile(
    r"(?P<increase>increase\()?(?P<metric>\w+)(\{(?P<labels>[^}]*)\})?(\[5m\]\))?"
    r" (?P<op>==|>|<) (?P<threshold>[\d.]+)"
)
_OPERATORS = {"==": operator.eq, ">": operator.gt, "<": operator.lt}


def alerts() -> list[Alert]:
    document = yaml.safe_load((ROOT / "system_under_test/alerts.yml").read_text())
    found = []
    for rule in (rule for group in document["groups"] for rule in group["rules"]):
        match = _EXPRESSION.fullmatch(rule["expr"])
        assert match, rule["expr"]
        found.append(
            Alert(
                rule["alert"],
                match["metric"],
                tuple(re.findall(r'(\w+)(=~|=)"([^"]*)"', match["labels"] or "")),
                _OPERATORS[match["op"]],
                float(match["threshold"]),
                match["increase"] is not None,
                rule["labels"]["severity"],
                rule["annotations"],
            )
        )
    return found


ALERTS = alerts()


def scrape(beside: Beside, *, timeout_s: float = 4) -> Scrape:
    """What Prometheus would have: `up` is its own, and all there is when nobody answers."""
    try:
        reply = urllib3.request("GET", f"{beside.url}/metrics", retries=False, timeout=timeout_s)
    except urllib3.exceptions.HTTPError:
        return [("up", UP, 0.0)]
    assert reply.status == 200
    samples = [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(reply.data.decode())
        for sample in family.samples
    ]
    return [("up", UP, 1.0), *samples]


def firing(beside: Beside, *, since: Scrape, timeout_s: float = 4) -> set[str]:
    now = scrape(beside, timeout_s=timeout_s)
    return {alert.name for alert in ALERTS if alert.fires(since, now)}


@pytest.fixture
def since(beside: Beside) -> Iterator[Scrape]:
    """The scrape before a test, on which no alert fires, and none does for long after it."""
    before = scrape(beside)
    assert firing(beside, since=before) == set()
    yield before
    after: list[Scrape] = []

    def quiet() -> bool:
        after.append(scrape(beside))
        return not firing(beside, since=after[-1])

    wait_for(quiet)


@contextlib.contextmanager
def away(stack, *links: str) -> Iterator[None]:  # noqa: ANN001
    """Connections over these links are reset."""
    proxies = stack.stack.proxies
    for link in links:
        proxies.add_toxic(
            link, name="away", type="reset_peer", stream="downstream", attributes={"timeout": 0}
        )
    try:
        yield
    finally:
        for link in links:
            proxies.remove_toxic(link, "away")


def value_of(samples: Scrape, name: str, **labels: str) -> float:
    """The sum of the samples that have these labels."""
    return sum(v for n, ls, v in samples if n == name and labels.items() <= ls.items())


# -- the rules themselves -----------------------------------------------------------------------


def test_rules_are_complete(beside: Beside) -> None:
    """Every metric exists, every runbook is there, and every scenario or test that provokes it."""
    wiring.discover()
    scenarios = {name for name, _ in catalogue._KINDS["scenarios"]()}
    page = urllib3.request("GET", f"{beside.url}/metrics").data.decode()
    families = list(text_string_to_metric_families(page))
    known = {f"{f.name}_total" if f.type == "counter" else f.name for f in families} | {"up"}
    assert len({alert.name for alert in ALERTS}) == len(ALERTS) >= 12
    for alert in ALERTS:
        assert alert.severity in ("critical", "warning", "info")
        assert alert.annotations["summary"]
        assert alert.metric in known, f"{alert.name}: no metric {alert.metric}"
        assert (ROOT / alert.annotations["runbook"]).is_file(), alert
        by = alert.annotations["scenario"]
        file, _, test = by.partition("::")
        assert by in scenarios or f"def {test}(" in (ROOT / file).read_text(), alert


# -- what is measured ---------------------------------------------------------------------------


def test_requests_and_their_ends_are_counted(beside: Beside, since: Scrape) -> None:
    service = beside.service
    user = service.user(1_000)
    investment_id = service.investment(user, 10)
    key = str(uuid4())
    first, again = (service.execute(user, investment_id, key=key) for _ in range(2))
    assert again.replayed
    service.finish(first)
    assert service.send("GET", f"{PREFIX}/jobs/nonsense").status == 422
    assert service.send("GET", "/no-such-page").status == 404
    now = scrape(beside)

    def grown(name: str, **labels: str) -> float:
        return value_of(now, name, **labels) - value_of(since, name, **labels)

    execute = f"{PREFIX}/investments/{{investment_id}}/execute"
    assert grown("investment_http_requests_total", route=execute, status="202", method="POST") == 2
    assert grown("investment_idempotent_replays_total", route=execute) == 1
    assert grown("investment_http_request_duration_seconds_count", route=execute) == 2
    assert grown("investment_http_requests_total", status="404") == 1
    assert grown("investment_jobs", kind="execution", state="SUCCEEDED") == 1
    assert grown("investment_partner_orders", status="CONFIRMED") == 1
    assert value_of(now, "investment_flag_pct", flag="investment_module_enabled") == 100


def test_no_label_names_a_person_or_a_resource(beside: Beside) -> None:
    user = beside.service.user(10)
    beside.service.get(f"/wallets/{user.user_id}")
    urllib3.request(f"X{user.user_id[:8].upper()}", f"{beside.url}/{user.user_id}", retries=False)
    looks_like_an_id = re.compile(r"[0-9a-f]{8}-|[0-9]{6}", re.IGNORECASE)
    values = {value for _, labels, _ in scrape(beside) for value in labels.values()}
    assert len(values) > 20
    assert [value for value in values if looks_like_an_id.search(value)] == []
    assert user.user_id[:8].upper() not in str(values)


# -- every alert fires --------------------------------------------------------------------------


def test_database_and_redis_away(stack, beside: Beside, since: Scrape) -> None:  # noqa: ANN001
    with away(stack, "api-1-redis"):
        assert firing(beside, since=since) == {"RedisDown"}
    with away(stack, "api-1-postgres"):
        body = {"currency": "EUR", "token": secrets.token_urlsafe(32)}
        assert beside.service.send("POST", f"{PREFIX}/users", body).status == 503
        started = time.monotonic()
        assert firing(beside, since=since) == {"DatabaseDown", "ServerErrors"}
        assert time.monotonic() - started < 4


def test_a_stopped_api(beside: Beside, since: Scrape) -> None:
    with beside.stopped("api"):
        assert firing(beside, since=since, timeout_s=1) == {"ApiDown"}


def test_stopped_relay_and_worker_and_partner_away(stack, beside: Beside, since: Scrape) -> None:  # noqa: ANN001
    """First the partner is away, then worker and relay hang, then the sweeper's patience ends."""
    service = beside.service
    user, other = service.user(1_000), service.user()
    investment_id = service.investment(user, 10)
    with away(stack, "worker-partner"):
        accepted = service.execute(user, investment_id)
        wait_for(lambda: value_of(scrape(beside), "investment_partner_orders", status="UNKNOWN"))
        with beside.stopped("worker"):
            published = service.deposit(other, 10)
            wait_for(lambda: not value_of(scrape(beside), "investment_outbox_pending"))
            with beside.stopped("relay"):
                kept = service.deposit(other, 10)
                all_three = {"PartnerUnsettled", "JobsNotPickedUp", "OutboxStuck"}
                wait_for(lambda: firing(beside, since=since) == all_three)
        for reply in (published, kept):
            assert service.finish(reply)["state"] == "SUCCEEDED"
        impatient = {"INVESTMENT_MAX_ATTEMPTS": "1", "INVESTMENT_REVIEW_AFTER_MS": "1"}
        with beside.scratch.start("sweeper", **impatient):
            review = {"InvestmentInReview", "JobInReview", "PartnerUnsettled"}
            wait_for(lambda: firing(beside, since=since) == review)
    wait_for(lambda: service.get(f"/jobs/{accepted.document['job_id']}")["state"] == "SUCCEEDED")


def test_a_stopped_sweeper(stack, beside: Beside, since: Scrape) -> None:  # noqa: ANN001
    """Nobody else sends a job that waits for its next attempt to the worker again."""
    service = beside.service
    user = service.user(1_000)
    with beside.stopped("sweeper"), beside.scratch.connect() as owner:
        with away(stack, "worker-partner"):
            accepted = service.execute(user, service.investment(user, 10))
            wait_for(lambda: value_of(scrape(beside), "investment_jobs", state="WAITING"))
        assert "JobOverdue" not in firing(beside, since=since)
        minute = "UPDATE jobs SET next_run_at = now() - interval '1 minute'"
        owner.execute(f"{minute} WHERE state = 'WAITING'")
        assert firing(beside, since=since) - {"PartnerUnsettled"} == {"JobOverdue"}
    assert service.finish(accepted)["state"] == "SUCCEEDED"


def test_a_user_beyond_the_limit(beside: Beside, since: Scrape) -> None:
    user = beside.service.user(1_000)
    statuses = [beside.service.create(user, 1).status for _ in range(6)]
    assert statuses == [201] * 5 + [429]
    assert firing(beside, since=since) == {"RateLimited"}


def test_books_that_are_wrong(beside: Beside, since: Scrape) -> None:
    """As the owner, in spite of every guard: the processes' own role cannot."""
    batch = uuid4()
    with beside.scratch.connect() as owner:
        owner.execute("ALTER TABLE ledger_entries DISABLE TRIGGER USER")
        owner.execute("UPDATE ledger_entries SET amount_minor = amount_minor + 1 WHERE id = 1")
        owner.execute(
            """INSERT INTO dividend_batches
                (id, instrument, dividend_event_id, total_minor, currency, record_at, state)
            VALUES (%s, 'FUND-A', 'unpaid', 7, 'EUR', now(), 'COMPLETED')""",
            (batch,),
        )
        owner.execute(
            "INSERT INTO ledger_accounts VALUES (%s, 'EUR', 'C', 7)", (f"L:DIVCLR:{batch}",)
        )
        try:
            wrong = {"GuardLacking", "LedgerUnbalanced", "DividendsNotPaidOut", "BalanceDrifting"}
            assert firing(beside, since=since) == wrong
        finally:
            owner.execute("UPDATE ledger_entries SET amount_minor = amount_minor - 1 WHERE id = 1")
            owner.execute("DELETE FROM ledger_accounts WHERE id = %s", (f"L:DIVCLR:{batch}",))
            owner.execute("DELETE FROM dividend_batches WHERE id = %s", (batch,))
            owner.execute("ALTER TABLE ledger_entries ENABLE TRIGGER USER")


def test_a_canary_that_was_rolled_back(beside: Beside, since: Scrape) -> None:
    with beside.scratch.connect() as owner:
        owner.execute(
            """INSERT INTO canaries (flag, state, pct, started_by, reason)
            SELECT 'dividend_distribution_enabled', 'ROLLED_BACK', 0, id, 'test' FROM users
            WHERE role = 'admin'"""
        )
        try:
            assert firing(beside, since=since) == {"CanaryRolledBack"}
        finally:
            owner.execute("DELETE FROM canaries")
