"""Trace context is passed on unchanged, or not at all."""

import pytest
from investment import tracing

VALID = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_valid_traceparent_is_kept_as_it_is() -> None:
    assert tracing.parse_traceparent(f" {VALID} ") == VALID


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "garbage",
        VALID.upper(),
        VALID[:-1],
        VALID + "0",
        VALID.replace("00-", "01-", 1),
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        VALID[:-3] + "*/'",
    ],
)
def test_an_invalid_traceparent_means_no_trace(value: str | None) -> None:
    with tracing.traced(value):
        assert tracing.current_traceparent() is None
        assert tracing.sql_comment() == ""


def test_the_comment_carries_the_trace_and_ends_with_it() -> None:
    with tracing.traced(VALID):
        assert tracing.sql_comment() == f" /*traceparent='{VALID}'*/"
        assert tracing.trace_id() == "0af7651916cd43dd8448eb211c80319c"
        with tracing.traced(None):
            assert tracing.sql_comment() == ""
        assert tracing.current_traceparent() == VALID
    assert tracing.trace_id() is None
