"""Users, wallets, the double-entry ledger, investments and dividends."""

from alembic import op
from investment.migrations.parking import park, unpark

revision = "041"
down_revision = None
branch_labels = None
depends_on = None

# In the order in which they can be moved or created.
TABLES = [
    "users",
    "api_tokens",
    "ledger_accounts",
    "ledger_transactions",
    "ledger_entries",
    "wallets",
    "deposits",
    "external_investment_partners",
    "investments",
    "investment_state_logs",
    "dividend_batches",
    "dividend_payouts",
]
FUNCTIONS = [
    "refuse_ledger_change",
    "check_transaction_balanced",
    "check_entry_balanced",
    "assert_balanced",
    "check_investment_transition",
]

ACCESS = """
CREATE TABLE users (
    id uuid PRIMARY KEY,
    role text NOT NULL CHECK (role IN ('user', 'admin')),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE api_tokens (
    token_hash bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    user_id uuid NOT NULL REFERENCES users (id),
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
CREATE INDEX api_tokens_user ON api_tokens (user_id);
"""

LEDGER = """
CREATE TABLE ledger_accounts (
    id text PRIMARY KEY,
    currency char(3) NOT NULL,
    normal_side char(1) NOT NULL CHECK (normal_side IN ('D', 'C')),
    -- Cached only where a no-overdraft law needs a lock; NULL means: the sum of the entries.
    balance_minor bigint CONSTRAINT ledger_accounts_no_overdraft CHECK (balance_minor >= 0),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE ledger_transactions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('deposit', 'withdraw', 'hold', 'capture', 'residual',
        'release', 'divin', 'div', 'divun', 'rev')),
    subject_id text NOT NULL,
    step integer NOT NULL DEFAULT 0,
    currency char(3) NOT NULL,
    fence bigint,
    reversal_of bigint UNIQUE REFERENCES ledger_transactions (id),
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    traceparent text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ledger_transactions_natural_key UNIQUE (kind, subject_id, step)
);
-- A hold is resolved once: by a capture or by a release, never by both.
CREATE UNIQUE INDEX ledger_transactions_one_resolution ON ledger_transactions (subject_id)
    WHERE kind IN ('capture', 'release');
CREATE TABLE ledger_entries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tx_id bigint NOT NULL REFERENCES ledger_transactions (id),
    account_id text NOT NULL CHECK (account_id ~ '^[ALIX][:]'),
    -- A foreign key locks the row that it points to: only client accounts are checked, for all
    -- tenants share the system accounts.
    client_account_id text GENERATED ALWAYS AS
        (CASE WHEN account_id LIKE 'L%' THEN account_id END) STORED REFERENCES ledger_accounts (id),
    direction char(1) NOT NULL CHECK (direction IN ('D', 'C')),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0)
);
CREATE INDEX ledger_entries_tx ON ledger_entries (tx_id);
CREATE INDEX ledger_entries_account ON ledger_entries (account_id, id);
"""

# One statement each: psycopg cannot split a string that holds function bodies with semicolons.
LEDGER_GUARDS = [
    """
CREATE FUNCTION assert_balanced(transaction_id bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    total numeric;
    entries integer;
BEGIN
    SELECT coalesce(sum(CASE direction WHEN 'D' THEN amount_minor ELSE -amount_minor END), 0),
           count(*) INTO total, entries FROM ledger_entries WHERE tx_id = transaction_id;
    IF total <> 0 OR entries < 2 THEN
        RAISE EXCEPTION 'ledger transaction % is not balanced', transaction_id
            USING ERRCODE = '23514';
    END IF;
END $$
""",
    """
CREATE FUNCTION check_transaction_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM assert_balanced(NEW.id); RETURN NULL; END $$
""",
    """
CREATE FUNCTION check_entry_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM assert_balanced(NEW.tx_id); RETURN NULL; END $$
""",
    """
CREATE CONSTRAINT TRIGGER ledger_transactions_balanced AFTER INSERT ON ledger_transactions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_transaction_balanced()
""",
    """
CREATE CONSTRAINT TRIGGER ledger_entries_balanced AFTER INSERT ON ledger_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_entry_balanced()
""",
    """
CREATE FUNCTION refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: post a reversal' USING ERRCODE = '23514';
END $$
""",
    """
CREATE TRIGGER ledger_transactions_append_only BEFORE UPDATE OR DELETE ON ledger_transactions
    FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change()
""",
    """
CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE ON ledger_entries
    FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change()
""",
]

BUSINESS = """
CREATE TABLE wallets (
    user_id uuid PRIMARY KEY REFERENCES users (id),
    currency char(3) NOT NULL,
    account_id text NOT NULL UNIQUE REFERENCES ledger_accounts (id),
    account_number text,
    created_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz
);
CREATE TABLE deposits (
    id uuid PRIMARY KEY,
    reference text NOT NULL CONSTRAINT deposits_reference UNIQUE,
    user_id uuid NOT NULL REFERENCES wallets (user_id),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency char(3) NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX deposits_user ON deposits (user_id);
CREATE TABLE external_investment_partners (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE,
    auth_config bytea,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE investments (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES wallets (user_id),
    partner_id uuid REFERENCES external_investment_partners (id),
    instrument text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency char(3) NOT NULL,
    state text NOT NULL,
    executed_minor bigint CHECK (executed_minor > 0 AND executed_minor <= amount_minor),
    metadata jsonb,
    idempotency_key text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX investments_user ON investments (user_id);
CREATE INDEX investments_holders ON investments (instrument) WHERE state = 'EXECUTED';
CREATE TABLE investment_state_logs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    investment_id uuid NOT NULL REFERENCES investments (id),
    from_state text,
    to_state text NOT NULL,
    reason text,
    evidence text,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX investment_state_logs_investment ON investment_state_logs (investment_id, id);
CREATE TABLE dividend_batches (
    id uuid PRIMARY KEY,
    instrument text NOT NULL,
    dividend_event_id text NOT NULL,
    total_minor bigint NOT NULL CHECK (total_minor > 0),
    currency char(3) NOT NULL,
    record_at timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN ('DECLARED', 'ALLOCATED', 'PAYING', 'COMPLETED')),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT dividend_batches_event UNIQUE (instrument, dividend_event_id)
);
CREATE TABLE dividend_payouts (
    id uuid PRIMARY KEY,
    batch_id uuid NOT NULL REFERENCES dividend_batches (id),
    investment_id uuid NOT NULL REFERENCES investments (id),
    amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
    state text NOT NULL CHECK (state IN ('PENDING', 'POSTED', 'UNCLAIMED')),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT dividend_payouts_holder UNIQUE (batch_id, investment_id)
);
CREATE INDEX dividend_payouts_pending ON dividend_payouts (batch_id) WHERE state = 'PENDING';
"""

INVESTMENT_GUARDS = [
    """
CREATE FUNCTION check_investment_transition() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    edge text := coalesce(CASE TG_OP WHEN 'UPDATE' THEN OLD.state END, '-') || '>' || NEW.state;
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.state = NEW.state THEN
        RETURN NEW;
    END IF;
    IF edge NOT IN ('->PENDING', 'PENDING>CANCELLED', 'PENDING>QUEUED', 'QUEUED>EXECUTING',
        'QUEUED>CANCELLED', 'EXECUTING>EXECUTED', 'EXECUTING>FAILED', 'EXECUTING>REVIEW',
        'REVIEW>EXECUTED', 'REVIEW>FAILED') THEN
        RAISE EXCEPTION 'illegal investment transition % of %', edge, NEW.id
            USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$
""",
    """
CREATE TRIGGER investments_transition BEFORE INSERT OR UPDATE OF state ON investments
    FOR EACH ROW EXECUTE FUNCTION check_investment_transition()
""",
]


def upgrade() -> None:
    if unpark(revision):
        return
    for statement in (ACCESS, LEDGER, *LEDGER_GUARDS, BUSINESS, *INVESTMENT_GUARDS):
        op.execute(statement)


def downgrade() -> None:
    park(revision, tables=TABLES, functions=FUNCTIONS)
