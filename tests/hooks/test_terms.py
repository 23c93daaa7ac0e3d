"""The grammar: what it reads, what it refuses, and that nothing breaks it."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fault_injection.hooks import parse_term
from fault_injection.hooks.point import parse_point
from fault_injection.hooks.term import PAUSE_MS_DEFAULT, Step
from harness.core.errors import UsageError

PIECES = st.sampled_from(
    ["raise", "return", "delay", "pause", "exit", "kill", "off", "(", ")", "%", "*", "->", "50",
     "0", "3", "200ms", "1.5s", "builtins.TimeoutError", ":", "text", "'", '"', "\\", "{'a': 1}",
     " ", ".", "-", "\n", "é", "１"]
)  # fmt: skip


def test_the_example() -> None:
    steps = parse_term("50%3*raise(builtins.TimeoutError:text)->delay(200ms)->off").steps
    assert steps == (
        Step("raise", Decimal(50), 3, exception="builtins.TimeoutError", text="text"),
        Step("delay", hold_ms=200),
        Step("off"),
    )


READ = [
    ("raise(ValueError)", Step("raise", exception="builtins.ValueError")),
    ("raise(a.B: f(x) -> y)", Step("raise", exception="a.B", text="f(x) -> y")),
    ("return", Step("return", value="None")),
    ("return({'a)': [1, 2.5]})", Step("return", value="{'a)': [1, 2.5]}")),
    ("0.5% return( 'it\\'s)->off' )", Step("return", Decimal("0.5"), value='"it\'s)->off"')),
    ("delay(1.5s)", Step("delay", hold_ms=1500)),
    ("pause", Step("pause", hold_ms=PAUSE_MS_DEFAULT)),
    ("2*pause(3s)", Step("pause", None, 2, hold_ms=3000)),
    ("exit", Step("exit", exit_code=1)),
    ("exit(0)", Step("exit", exit_code=0)),
    (" 1 * kill ", Step("kill", None, 1)),
]


@pytest.mark.parametrize(("text", "step"), READ, ids=[each[0] for each in READ])
def test_what_it_reads(text: str, step: Step) -> None:
    assert parse_term(text).steps == (step,)


@pytest.mark.parametrize("text", [
    "", "->", "off->", "off off", "0%off", "101%off", "0*off", "raise", "raise()", "raise(1.X)",
    "raise(A:un(balanced)", "return(open('x'))", "return(1e999)", "return(" + "(" * 500,
    "delay", "delay(5)", "delay(5m)", "delay(601s)", "pause(0ms)", "exit(256)", "exit(-1)",
    "kill(1)", "sleep(1s)", "off" * 1000, "->".join(["off"] * 33),
])  # fmt: skip
def test_what_it_refuses(text: str) -> None:
    with pytest.raises(UsageError):
        parse_term(text)


@pytest.mark.parametrize("text", ["", "a", "a:b", "a:b@", "a:@entry", ":b@entry", "a:b@start",
                                  "a b:c@entry", "a:b.<locals>.c@entry"])  # fmt: skip
def test_what_is_no_point(text: str) -> None:
    with pytest.raises(UsageError):
        parse_point(text)


@settings(max_examples=300, deadline=200)
@given(st.lists(PIECES, max_size=25).map("".join) | st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """What was read is written and read again as the same."""
    try:
        term = parse_term(text)
    except UsageError:
        return
    assert parse_term(str(term)) == term


STEPS = st.builds(
    lambda percent, count, action: f"{percent}{count}{action}",
    st.sampled_from(["", "50%", "0.25%", "100%"]),
    st.sampled_from(["", "1*", "20*"]),
    st.sampled_from(["raise(TimeoutError:a(b)c)", "return((1, 'x'))", "delay(5ms)", "off", "kill"]),
)


@settings(max_examples=100)
@given(st.lists(STEPS, min_size=1, max_size=6))
def test_what_is_well_formed_is_read(steps: list[str]) -> None:
    assert len(parse_term("->".join(steps)).steps) == len(steps)
