"""Hooks on every kind of function, through every reference to it."""

import os

import pytest

from fault_injection.hooks import HookController
from harness.core.errors import FaultError, UsageError
from tests.hooks.conftest import Records, Script, StartScript

KINDS = [
    ("pay@entry", "pay(5, note=1, x=2)", "(5, 'EUR', (), 1, {'x': 2})"),
    ("pay@exit", "pay(5, 'USD', 7)", "(5, 'USD', (7,), None, {})"),
    ("refuse@raise", "refuse()", "ValueError: refused"),
    ("wrapped@entry", "wrapped(3)", "3"),
    ("concealed@entry", "concealed(3)", "3"),
    ("cached@entry", "cached(3)", "3"),
    ("Account.name@exit", "Account().name()", "'account of base'"),
    ("Account.fee@entry", "Account.fee(2)", "2"),
    ("Account.kind@entry", "Account().kind(2)", "('Account', 2)"),
    ("Account.balance@exit", "Account().balance", "1"),
    ("numbers@entry", "list(numbers(2))", "[0, 1]"),
    ("numbers@exit", "list(numbers(2))", "[0, 1]"),
    ("fetch@entry", "asyncio.run(fetch(4))", "4"),
    ("fetch@exit", "asyncio.run(fetch(4))", "4"),
    ("stream@entry", "asyncio.run(collect(2))", "[0, 1]"),
    ("stream@exit", "asyncio.run(collect(2))", "[0, 1]"),
]


@pytest.mark.parametrize(("point", "call", "plain"), KINDS, ids=[each[0] for each in KINDS])
def test_every_kind_of_function(
    script: Script,
    controller: HookController,
    records: Records,
    point: str,
    call: str,
    plain: str,
) -> None:
    """Armed it fires, disarmed it is as before; two records say so each time."""
    assert script.ask(call) == plain
    script.ask("cached.cache_clear()")
    armed = controller.arm(f"shop:{point}", "raise(builtins.TimeoutError:lost (really))")
    assert script.ask(call) == "TimeoutError: lost (really)"
    controller.disarm(armed)
    assert script.ask(call) == plain
    assert [(each.kind, each.outcome) for each in records()] == [
        ("before", ""),
        ("after", "raised"),
    ]


def test_a_context_manager_is_hooked_at_its_beginning_and_its_end(
    script: Script, controller: HookController
) -> None:
    armed = controller.arm("shop:transaction@exit", "raise(OSError:no answer)")
    assert script.ask("use_transaction()") == repr(
        ["begin", "work", "commit", "OSError('no answer')"]
    )
    controller.disarm(armed)
    controller.arm("shop:transaction@entry", "raise(OSError:refused)")
    assert script.ask("use_transaction()") == repr(["OSError('refused')"])


def test_an_async_generator_still_takes_what_is_sent(
    script: Script, controller: HookController
) -> None:
    plain = script.ask("asyncio.run(talk())")
    controller.arm("shop:stream@entry", "1*delay(1ms)->off")
    controller.arm("shop:stream@exit", "1*delay(1ms)")
    assert script.ask("asyncio.run(talk())") == plain == "[0, 'sent hello', 1]"


def test_a_function_of_a_closure_keeps_its_cells(
    script: Script, controller: HookController
) -> None:
    """It is reached by its module's name once it is bound there."""
    script.ask("setattr(shop, 'up', counter()) or shop.up(2)")
    controller.arm("shop:up@exit", "1*return(99)->off")
    assert [script.ask("shop.up()") for _ in range(2)] == ["99", "4"]


def test_whoever_inspects_the_function_sees_no_difference(
    script: Script, controller: HookController
) -> None:
    questions = [
        "str(__import__('inspect').signature(pay))",
        "pay.__code__.co_varnames[:5], pay.__code__.co_argcount, pay.__defaults__",
        "__import__('inspect').isasyncgenfunction(stream)",
        "__import__('inspect').iscoroutinefunction(fetch)",
        "__import__('inspect').isgeneratorfunction(numbers)",
        "Account.name.__qualname__",
    ]
    plain = [script.ask(question) for question in questions]
    for name in ("pay", "stream", "fetch", "numbers", "Account.name"):
        controller.arm(f"shop:{name}@entry", "delay(1ms)")
    assert [script.ask(question) for question in questions] == plain


def test_a_module_that_is_imported_later(script: Script, controller: HookController) -> None:
    controller.arm("wsgiref.util:guess_scheme@entry", "return('gopher')")
    assert script.ask("'wsgiref' in sys.modules") == "False"
    script.ask("exec('from wsgiref.util import guess_scheme', globals())")
    assert script.ask("guess_scheme({})") == "'gopher'"


def test_armed_before_the_process_starts(
    start_script: StartScript, controller: HookController
) -> None:
    controller.arm("shop:pay@entry", "return(1)", process="early", early=True)
    assert start_script("early").ask("pay(5)") == "1"


def test_what_cannot_be_found_when_it_is_imported_is_recorded(
    start_script: StartScript, controller: HookController, records: Records
) -> None:
    controller.arm("shop:Account.nmae@entry", "return(1)", process="late", early=True)
    assert start_script("late").ask("pay(5)") == "(5, 'EUR', (), None, {})"
    [event] = records()
    assert event.kind == "unresolved"
    assert "did you mean shop:Account.name" in event.outcome


WRONG_NAMES = [
    ("shop:pya@entry", "off", "did you mean shop:pay"),
    ("shpo:pay@entry", "off", "did you mean shop"),
    ("shop:Account.nmae@entry", "off", "did you mean shop:Account.name"),
    ("wsgiref.util:gess_scheme@entry", "off", "did you mean wsgiref.util:guess_scheme"),
    ("shop:pay@entry", "raise(TimeotError)", "did you mean builtins.TimeoutError"),
    ("shop:pay@entry", "raise(mailbox.Nothing)", "no name"),
    ("shop:pay@entry", "raise(builtins.UnicodeDecodeError:x)", "cannot be made of one text"),
    ("builtins:len@entry", "off", "not a function of Python code"),
    ("shop:pay@enter", "off", "did you mean “entry”"),
    ("shop:pay@entry", "dealy(1s)", "did you mean “delay”"),
]


@pytest.mark.parametrize(("point", "term", "says"), WRONG_NAMES)
def test_a_wrong_name_fails_at_once(
    script: Script, controller: HookController, point: str, term: str, says: str
) -> None:
    with pytest.raises(UsageError, match="did you mean|no name|cannot|not a function") as raised:
        controller.arm(point, term)
    assert says in str(raised.value)
    assert script.ask("pay(5)") == "(5, 'EUR', (), None, {})"


def test_without_a_process_nothing_can_be_armed(
    script: Script, controller: HookController
) -> None:
    with pytest.raises(FaultError, match="joined: .*script"):
        controller.arm("shop:pay@entry", "off", process="nobody")


def test_the_targets_own_sitecustomize_is_run(
    start_script: StartScript, controller: HookController, tmp_path: object
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.was_customized = 1\n")
    env = controller.environment("script", {**os.environ, "PYTHONPATH": str(tmp_path)})
    made = start_script(env=env)
    assert made.ask("sys.was_customized, sys.modules['sitecustomize'].__file__") == repr(
        (1, str(tmp_path / "sitecustomize.py"))
    )
    assert made.ask("[each for each in sys.path if 'hooks' in each]") == "[]"
