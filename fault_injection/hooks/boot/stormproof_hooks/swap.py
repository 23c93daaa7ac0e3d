"""Replaces a function's code in place, which every reference to the function sees.

The new code has the parameters, the kind and the free variables of the old one, so that whoever
inspects the function sees no difference. It reaches its hook through a constant, since a function's
globals and closure are the target's own.
"""

import inspect
from types import CodeType, FunctionType

_MARK = "\0stormproof-hook"
_BODIES = {
    "function": "def f({parameters}):\n    return {hook}.call({arguments})\n",
    "generator": "def f({parameters}):\n    return (yield from {hook}.generate({arguments}))\n",
    "coroutine": "async def f({parameters}):\n    return await {hook}.run({arguments})\n",
    # An async generator cannot delegate: what comes in is handed on by hand.
    "async generator": """\
async def f({parameters}):
    _stormproof_steps = {hook}.steps({arguments})
    try:
        _stormproof_value = await _stormproof_steps.start()
        while True:
            try:
                _stormproof_value = yield _stormproof_value
            except GeneratorExit:
                await _stormproof_steps.close()
                raise
            except BaseException as _stormproof_error:
                _stormproof_value = await _stormproof_steps.throw(_stormproof_error)
            else:
                _stormproof_value = await _stormproof_steps.send(_stormproof_value)
    except StopAsyncIteration:
        return
""",
}


def kind_of(code: CodeType) -> str:
    """What calling a function of this code gives."""
    if code.co_flags & inspect.CO_COROUTINE:
        return "coroutine"
    if code.co_flags & inspect.CO_ASYNC_GENERATOR:
        return "async generator"
    return "generator" if code.co_flags & inspect.CO_GENERATOR else "function"


def twin(function: FunctionType) -> FunctionType:
    """The function as it was, to be called by its hook with every argument given."""
    made = FunctionType(
        function.__code__, function.__globals__, function.__name__, None, function.__closure__
    )
    made.__qualname__ = function.__qualname__
    return made


def hooked_code(code: CodeType, hook: object) -> CodeType:
    """Code that hands its arguments to `hook` and looks like `code` from outside."""
    parameters, arguments = _signature(code)
    source = _BODIES[kind_of(code)].format(
        parameters=parameters, arguments=arguments, hook=repr(_MARK)
    )
    [body] = (
        constant
        for constant in compile(source, "<stormproof hook>", "exec", dont_inherit=True).co_consts
        if isinstance(constant, CodeType)
    )
    return body.replace(
        co_consts=tuple(hook if constant == _MARK else constant for constant in body.co_consts),
        co_name=code.co_name,
        co_qualname=code.co_qualname,
        co_freevars=code.co_freevars,
        co_firstlineno=code.co_firstlineno,
        co_flags=body.co_flags | code.co_flags & inspect.CO_ITERABLE_COROUTINE,
    )


def _signature(code: CodeType) -> tuple[str, str]:
    """The parameters as in a definition, and how they are handed on: a tuple and a dict."""
    names = list(code.co_varnames)
    positional, names = names[: code.co_argcount], names[code.co_argcount :]
    keyword, names = names[: code.co_kwonlyargcount], names[code.co_kwonlyargcount :]
    parameters, given = list(positional), list(positional)
    if code.co_posonlyargcount:
        parameters.insert(code.co_posonlyargcount, "/")
    if code.co_flags & inspect.CO_VARARGS:
        rest = names.pop(0)
        parameters.append(f"*{rest}")
        given.append(f"*{rest}")
    elif keyword:
        parameters.append("*")
    parameters += keyword
    named = [f"{name!r}: {name}" for name in keyword]
    if code.co_flags & inspect.CO_VARKEYWORDS:
        rest = names.pop(0)
        parameters.append(f"**{rest}")
        named.append(f"**{rest}")
    values = f"({', '.join(given)}{',' if given else ''})"
    return ", ".join(parameters), f"{values}, {{{', '.join(named)}}}"
