"""The token vault, and what the roll-out needs: canaries, their samples, operators' sessions.

Sensitive columns of 041 and 042 become tokens of the vault; what is in them is moved there and,
by the reverse, back again.
"""

from alembic import op
from investment.migrations import tokenised
from investment.migrations.parking import park, unpark

revision = "043"
down_revision = "042"
branch_labels = None
depends_on = None

TABLES = ["canary_samples", "canaries", "admin_sessions", "vault_checks"]

VAULT = """
CREATE TABLE token_vault (
    token uuid PRIMARY KEY,
    purpose text NOT NULL,
    -- The row that the value belongs to: part of what the encryption is bound to.
    subject_id text NOT NULL,
    kid text NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT token_vault_subject UNIQUE (purpose, subject_id)
);
CREATE INDEX token_vault_kid ON token_vault (kid);
"""

ROLLOUT = """
CREATE TABLE canaries (
    flag text PRIMARY KEY REFERENCES feature_flags (key),
    state text NOT NULL CHECK (state IN ('RUNNING', 'COMPLETED', 'ROLLED_BACK', 'STOPPED')),
    pct integer NOT NULL CHECK (pct BETWEEN 0 AND 100),
    step_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_by uuid NOT NULL REFERENCES users (id),
    reason text NOT NULL
);
CREATE TABLE canary_samples (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    flag text NOT NULL,
    ok boolean NOT NULL,
    duration_ms integer NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX canary_samples_window ON canary_samples (flag, at);
CREATE TABLE admin_sessions (
    session_hash bytea PRIMARY KEY CHECK (length(session_hash) = 32),
    token_hash bytea NOT NULL REFERENCES api_tokens (token_hash),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
-- By which a process sees that its vault keys are those of this database; outlives the vault.
CREATE TABLE vault_checks (kid text PRIMARY KEY, sealed bytea NOT NULL);
"""


def upgrade() -> None:
    if not unpark(revision):
        op.execute(ROLLOUT)
    op.execute(VAULT)
    tokenised.upgrade()


def downgrade() -> None:
    tokenised.downgrade()
    op.execute("DROP TABLE token_vault")
    park(revision, tables=TABLES, functions=[])
