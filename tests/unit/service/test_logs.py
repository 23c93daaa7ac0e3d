"""No line of a log holds a secret, wherever it stood before."""

import json
import logging
from collections.abc import Iterator

import pytest
from investment import logs
from investment.settings import Settings

SECRET = 'a"key\\with/all+of=it'


@pytest.fixture
def formatted() -> Iterator[object]:
    before = set(logs._hidden)
    formatter = logs._JsonFormatter("test")

    def line(event: str, error: BaseException | None = None, **fields: object) -> str:
        record = logging.LogRecord("x", logging.INFO, "", 0, event, None, None)
        record.fields = fields
        record.exc_info = error and (type(error), error, error.__traceback__)
        return formatter.format(record)

    yield line
    logs._hidden.clear()
    logs._hidden.update(before)


def test_a_secret_is_hidden_in_event_field_and_traceback(formatted) -> None:  # noqa: ANN001
    logs.hide(SECRET, "")
    try:
        raise ValueError(f"refused {SECRET}")
    except ValueError as error:
        line = formatted(f"about {SECRET}", error, where={"nested": [SECRET]}, amount_minor="12345")
    document = json.loads(line)
    assert SECRET not in line
    assert json.dumps(SECRET)[1:-1] not in line
    assert document["event"] == "about [redacted]"
    assert "ValueError: refused [redacted]" in document["exception"]
    assert document["where"] == {"nested": ["[redacted]"]}
    assert document["amount_minor"] == "12345"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer abc.DEF-123~x/y+z=", "abc.DEF-123~x/y+z="),
        ("{'authorization': 'bearer s3cret-of-nobody'}", "s3cret-of-nobody"),
        ("postgresql+psycopg://app:p%40ss!w0rd@127.0.0.1:5432/db is away", "p%40ss!w0rd"),
        ("redis://:hunter2hunter2@127.0.0.1:6379/0", "hunter2hunter2"),
        ("host=127.0.0.1 password=correct-horse user=app", "correct-horse"),
        ('{"api_key": "0123456789abcdef", "amount_minor": "5"}', "0123456789abcdef"),
    ],
)
def test_what_looks_like_a_secret_is_hidden_too(formatted, text: str, secret: str) -> None:  # noqa: ANN001
    line = formatted("failed", RuntimeError(text), detail=text)
    assert secret not in line
    assert json.loads(line)["detail"].count("[redacted]") == 1


def test_a_line_without_secrets_stays_as_it_is(formatted) -> None:  # noqa: ANN001
    text = "GET http://127.0.0.1:8080/orders?client_order_id=1 by token_vault, k1: 5, bearer"
    assert json.loads(formatted(text))["event"] == text


def test_the_settings_know_their_secrets_and_show_none() -> None:
    secrets = {name: f"{name}-of-the-environment" for name in ("admin_token", "app_password")}
    settings = Settings(
        database_url="postgresql+psycopg://app:pw-of-the-database@127.0.0.1/db",
        vault_keys="k2:second-key-in-base64,k1:first-key-in-base64",
        vault_index_key="index-key-in-base64",
        partner_api_key="api-key-of-the-partner",
        partner_callback_secret="callback-secret-of-the-partner",
        **secrets,
    )
    found = settings.secrets()
    assert found == {
        *secrets.values(), "pw-of-the-database", "second-key-in-base64", "first-key-in-base64",
        "index-key-in-base64", "api-key-of-the-partner", "callback-secret-of-the-partner",
    }  # fmt: skip
    assert not [secret for secret in found if secret in repr(settings)]


def test_a_setting_that_is_missing_or_wrong_shows_no_other(monkeypatch) -> None:  # noqa: ANN001
    monkeypatch.setenv("INVESTMENT_VAULT_KEYS", "k1:first-key-in-base64")
    monkeypatch.setenv("INVESTMENT_DB_POOL_SIZE", "many-of-them")
    monkeypatch.delenv("INVESTMENT_DATABASE_URL", raising=False)
    with pytest.raises(ValueError, match="database_url") as raised:
        Settings()
    assert "first-key" not in str(raised.value)
    assert "many-of-them" not in str(raised.value)
