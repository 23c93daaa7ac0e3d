"""Idempotency keys, jobs, outbox, partner orders, limits and flags."""

from alembic import op
from investment.migrations.parking import park, unpark

revision = "042"
down_revision = "041"
branch_labels = None
depends_on = None

TABLES = [
    "idempotency_keys",
    "jobs",
    "job_state_logs",
    "outbox",
    "partner_orders",
    "partner_events",
    "rate_users",
    "rate_events",
    "feature_flags",
    "flag_audits",
]
FUNCTIONS = ["check_job_transition", "notify_outbox"]

HAND_OFF = """
CREATE TABLE idempotency_keys (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    route text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    status integer,
    body text,
    location text,
    traceparent text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_scope UNIQUE (user_id, route, key)
);
CREATE TABLE jobs (
    id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('deposit', 'execution', 'dividend')),
    subject_id text NOT NULL,
    user_id uuid NOT NULL REFERENCES users (id),
    state text NOT NULL,
    reason text,
    attempts integer NOT NULL DEFAULT 0,
    -- How many of the attempts surely sent nothing.
    unsent integer NOT NULL DEFAULT 0,
    fence bigint NOT NULL DEFAULT 0,
    claim_id uuid,
    lease_until timestamptz,
    next_run_at timestamptz,
    traceparent text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT jobs_subject UNIQUE (kind, subject_id)
);
CREATE INDEX jobs_open ON jobs (state) WHERE state NOT IN ('SUCCEEDED', 'FAILED');
CREATE TABLE job_state_logs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id uuid NOT NULL REFERENCES jobs (id),
    from_state text,
    to_state text NOT NULL,
    attempt integer NOT NULL,
    fence bigint NOT NULL,
    reason text,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX job_state_logs_job ON job_state_logs (job_id, id);
CREATE TABLE outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    job_id uuid NOT NULL UNIQUE REFERENCES jobs (id),
    status text NOT NULL CHECK (status IN ('pending', 'published')),
    publishes integer NOT NULL DEFAULT 0,
    traceparent text,
    created_at timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz
);
CREATE INDEX outbox_pending ON outbox (seq) WHERE status = 'pending';
CREATE TABLE partner_orders (
    investment_id uuid NOT NULL REFERENCES investments (id),
    client_order_id uuid NOT NULL,
    status text NOT NULL CHECK (status IN ('INTENT', 'SENT', 'UNKNOWN', 'CONFIRMED', 'REJECTED')),
    attempts integer NOT NULL DEFAULT 0,
    fence bigint NOT NULL,
    payload_hash bytea NOT NULL,
    partner_order_id text,
    reason text,
    traceparent text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    checked_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT partner_orders_investment UNIQUE (investment_id),
    CONSTRAINT partner_orders_client_order_id UNIQUE (client_order_id)
);
CREATE INDEX partner_orders_open ON partner_orders (checked_at)
    WHERE status IN ('INTENT', 'SENT', 'UNKNOWN');
CREATE TABLE partner_events (
    event_id text PRIMARY KEY,
    client_order_id uuid NOT NULL,
    kind text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now()
);
"""

CONTROL = """
CREATE TABLE rate_users (
    user_id uuid PRIMARY KEY REFERENCES users (id)
);
CREATE TABLE rate_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    action text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX rate_events_window ON rate_events (user_id, action, at);
CREATE TABLE feature_flags (
    key text PRIMARY KEY,
    enabled boolean NOT NULL DEFAULT false,
    pct integer NOT NULL DEFAULT 0 CHECK (pct BETWEEN 0 AND 100),
    salt text NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE flag_audits (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL REFERENCES feature_flags (key),
    -- Without an actor: the canary controller.
    actor_id uuid REFERENCES users (id),
    reason text NOT NULL,
    before jsonb,
    after jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""

GUARDS = [
    """
CREATE FUNCTION check_job_transition() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    edge text := coalesce(CASE TG_OP WHEN 'UPDATE' THEN OLD.state END, '-') || '>' || NEW.state;
BEGIN
    IF edge NOT IN ('->PENDING', 'PENDING>RUNNING', 'PENDING>FAILED', 'RUNNING>RUNNING',
        'RUNNING>SUCCEEDED', 'RUNNING>FAILED', 'RUNNING>WAITING', 'RUNNING>REVIEW',
        'WAITING>RUNNING', 'WAITING>FAILED', 'WAITING>REVIEW', 'REVIEW>RUNNING',
        'REVIEW>SUCCEEDED', 'REVIEW>FAILED') THEN
        RAISE EXCEPTION 'illegal job transition % of %', edge, NEW.id USING ERRCODE = '23514';
    END IF;
    IF edge = 'RUNNING>RUNNING' AND NEW.fence <= OLD.fence THEN
        RAISE EXCEPTION 'job % taken over without a new fence', NEW.id USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$
""",
    """
CREATE TRIGGER jobs_transition BEFORE INSERT OR UPDATE OF state ON jobs
    FOR EACH ROW EXECUTE FUNCTION check_job_transition()
""",
    """
CREATE FUNCTION notify_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_notify('outbox', ''); RETURN NULL; END $$
""",
    """
CREATE TRIGGER outbox_notify AFTER INSERT OR UPDATE OF status ON outbox
    FOR EACH ROW WHEN (NEW.status = 'pending') EXECUTE FUNCTION notify_outbox()
""",
]


def upgrade() -> None:
    if unpark(revision):
        return
    for statement in (HAND_OFF, CONTROL, *GUARDS):
        op.execute(statement)


def downgrade() -> None:
    park(revision, tables=TABLES, functions=FUNCTIONS)
