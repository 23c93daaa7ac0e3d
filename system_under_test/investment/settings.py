"""Every setting of the service, read from INVESTMENT_* environment variables."""

from functools import cache
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_SCHEMES = {
    "database_url": ("postgresql+psycopg",),
    "redis_url": ("redis", "rediss"),
    "partner_url": ("http", "https"),
    "otlp_endpoint": ("http", "https"),
}


class Settings(BaseSettings):
    """Settings of one process. Durations carry their unit in the name."""

    model_config = SettingsConfigDict(
        env_prefix="INVESTMENT_", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    database_url: str = Field(repr=False)
    redis_url: str = Field(default="redis://127.0.0.1:6379/0", repr=False)
    partner_url: str = "http://127.0.0.1:8090"
    admin_token: str = Field(default="", repr=False)
    # For `prepare`: the password of the role that the service's processes log in with.
    app_password: str = Field(default="", repr=False)
    # For `prepare`: how flags that do not exist yet begin.
    initial_flags: Literal["on", "off"] = "off"
    # For `prepare`: the partner's auth_config.
    partner_api_key: str = Field(default="", repr=False)
    partner_callback_secret: str = Field(default="", repr=False)
    # Key-encryption keys, newest first, as `kid:base64` separated by commas; 32 bytes each.
    vault_keys: str = Field(default="", repr=False)
    # The key of blind indexes and fingerprints, base64 of 32 bytes; it is not rotated.
    vault_index_key: str = Field(default="", repr=False)
    process_name: str = "investment"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"

    db_pool_size: int = 16
    lock_timeout_ms: int = 2000
    statement_timeout_ms: int = 5000
    redis_timeout_ms: int = 500
    # How long a final answer may be replayed from Redis; PostgreSQL keeps it for good.
    redis_answer_ttl_s: int = 300

    worker_children: int = 8
    relay_threads: int = 4
    relay_poll_ms: int = 500
    job_lease_ms: int = 4000
    sweep_tick_ms: int = 500
    redispatch_after_ms: int = 3000
    visibility_timeout_s: int = 15

    partner_connect_timeout_ms: int = 1000
    partner_read_timeout_ms: int = 3000
    retry_base_ms: int = 200
    retry_cap_ms: int = 2000
    max_attempts: int = 12
    review_after_ms: int = 60000
    review_retry_ms: int = 10000

    # After this time a key may be used anew; what must not happen twice has names of its own.
    idempotency_retention_days: int = 30
    # Accepted writes per user and hour; deposits are counted for the wallet's user, executions and
    # cancellations for the investment's.
    limit_create_investment: int = 5
    limit_execute_investment: int = 10
    limit_distribute_dividends: int = 5
    limit_cancel_investment: int = 20
    limit_create_user: int = 10000
    limit_deposit: int = 60
    limit_close_wallet: int = 10000
    limit_set_flag: int = 600

    # A step of a canary lasts at least this long and until it has this many samples.
    canary_step_ms: int = 60000
    canary_min_samples: int = 50
    canary_max_error_share: float = 0.02
    canary_max_p99_ms: int = 1000
    canary_min_success_share: float = 0.95
    canary_tick_ms: int = 500

    admin_session_minutes: int = 30
    # Where spans are sent by OTLP/HTTP, such as http://127.0.0.1:4318; empty: none are made.
    otlp_endpoint: str = ""

    @field_validator("*")
    @classmethod
    def _is_usable(cls, value: object, info: ValidationInfo) -> object:
        """Durations and counts are positive, shares are shares, addresses have their scheme."""
        if isinstance(value, float) and not 0 <= value <= 1:
            raise ValueError("must be from 0 to 1")
        if isinstance(value, int) and not 1 <= value < 2**31:
            raise ValueError("must be from 1 to 2147483647")
        schemes = _SCHEMES.get(str(info.field_name))
        if schemes and value and urlsplit(str(value)).scheme not in schemes:
            raise ValueError(f"must begin with {' or '.join(f'{s}://' for s in schemes)}")
        return value

    def secrets(self) -> set[str]:
        """What no log may hold; short values are words, and hide nothing."""
        found = {self.admin_token, self.app_password, self.vault_index_key}
        found.update((self.partner_api_key, self.partner_callback_secret))
        found.update(pair.partition(":")[2] for pair in self.vault_keys.split(","))
        found.update(urlsplit(url).password or "" for url in (self.database_url, self.redis_url))
        return {secret for secret in found if len(secret) >= 8}

    @property
    def reply_timeout_ms(self) -> int:
        """How long a client waits for PostgreSQL to answer before it drops the connection.

        Longer than the server's own timeouts, so that it only bites when the reply is lost.
        """
        return self.statement_timeout_ms + 2000

    @property
    def cache_url(self) -> str:
        """Redis database 1 holds cached answers, apart from the broker's database 0."""
        return urlunsplit(urlsplit(self.redis_url)._replace(path="/1"))


@cache
def get_settings() -> Settings:
    return Settings()  # type: ignore[call-arg]  # filled from the environment
