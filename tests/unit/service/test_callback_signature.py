"""Who may send events: only the owner of the secret, about this content, at this time."""

import hmac

import pytest
from investment.api.callbacks import is_signed

SECRET, CONTENT, NOW = "callback-secret", b'{"event_id": "1"}', 1_800_000_000.7


def signature(at: int | str, *, secret: str = SECRET, content: bytes = CONTENT) -> str:
    mac = hmac.digest(secret.encode(), f"{at}.".encode() + content, "sha256").hex()
    return f"t={at},v1={mac}"


@pytest.mark.parametrize("seconds", [-299, -1, 0, 1, 299])
def test_a_fresh_signature_is_accepted(seconds: int) -> None:
    assert is_signed(signature(int(NOW) + seconds), CONTENT, secret=SECRET, now_s=NOW)


@pytest.mark.parametrize(
    "wrong",
    [
        "", "t=,v1=", "t=1800000000", "v1=00", "t=1800000000,v1=", "t=-1,v1=00", "t=²,v1=00",
        signature(int(NOW)).upper(),
        signature(int(NOW)) + "0",
        signature(int(NOW), secret="another"),
        signature(int(NOW), content=CONTENT + b" "),
        signature(int(NOW) - 302),
        signature(int(NOW) + 302),
        signature(int(NOW)).replace("t=1800000000", "t=1800000001"),
        signature("9" * 400),
        signature(int(NOW)) + "ÿ",
    ],
)  # fmt: skip
def test_any_other_is_refused(wrong: str) -> None:
    assert not is_signed(wrong, CONTENT, secret=SECRET, now_s=NOW)
