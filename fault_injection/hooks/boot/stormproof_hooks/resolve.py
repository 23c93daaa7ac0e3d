"""Finds functions by the name they were defined under, without importing or calling anything."""

import ast
import difflib
import functools
import gc
import os
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from types import FunctionType, ModuleType


class NotFoundError(Exception):
    """There is no such module, function or exception; the message says what is near."""


def not_found(what: str, name: str, known: Iterable[str]) -> NotFoundError:
    """The error for a name that does not exist, with the nearest ones that do."""
    close = difflib.get_close_matches(name, sorted(set(known)), n=3, cutoff=0.5)
    hint = "; did you mean " + " or ".join(close) + "?" if close else ""
    return NotFoundError(f"no {what} “{name}”{hint}")


def loaded(name: str) -> ModuleType | None:
    """A module that this process has imported, also when it runs as `__main__`."""
    module = sys.modules.get(name)
    if module is not None:
        return module
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    return main if spec is not None and spec.name == name else None


def initializing(module: ModuleType) -> bool:
    """Whether the module's body has not been run to its end yet."""
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


# -- functions ------------------------------------------------------------------------------------


def functions(module: ModuleType, qualname: str) -> list[FunctionType]:
    """The functions that `module:qualname` means; raises `NotFoundError`.

    What a decorator wrapped is found behind it: the hook belongs to the code that is written under
    that name. Whoever hides it (a task object, a closure) is looked through by searching the heap.
    """
    if "<" in qualname:
        raise NotFoundError(f"“{qualname}” is made anew by each call; hook the one around it")
    held = _unwrapped(_attribute(module, qualname))
    names = {module.__name__, getattr(getattr(module, "__spec__", None), "name", None)}

    def is_meant(function: FunctionType) -> bool:
        return (
            function.__code__.co_qualname == qualname
            and function.__globals__.get("__name__") in names
        )

    if isinstance(held, FunctionType) and is_meant(held):
        return [held]
    found = [
        each for each in gc.get_objects() if type(each) is FunctionType and is_meant(each)
    ]  # fmt: skip
    if found:
        return found
    if isinstance(held, FunctionType):
        return [held]
    raise NotFoundError(
        f"{module.__name__}:{qualname} is a {type(held).__name__}, not a function of Python code"
    )


def _attribute(module: ModuleType, qualname: str) -> object:
    """What is bound there, as it is stored: no descriptor and no proxy is asked."""
    value: object = module
    for part in qualname.split("."):
        value = _unwrapped(value)
        spaces = [vars(each) for each in _holders(value)]
        for space in spaces:
            if part in space:
                value = space[part]
                break
        else:
            raise not_found("function", f"{module.__name__}:{qualname}", _known(module))
    return value


def _holders(value: object) -> list[type] | list[ModuleType]:
    if isinstance(value, type):
        return list(value.__mro__)
    return [value] if isinstance(value, ModuleType) else []


def _unwrapped(value: object) -> object:
    for _ in range(50):
        if isinstance(value, (staticmethod, classmethod)):
            value = value.__func__
        elif isinstance(value, property):
            value = value.fget
        elif isinstance(value, (functools.partial, functools.cached_property)):
            value = value.func
        else:
            try:
                inner = object.__getattribute__(value, "__dict__").get("__wrapped__")
            except AttributeError:
                return value
            if inner is None or isinstance(value, type):
                return value
            value = inner
    return value


def _known(module: ModuleType) -> Iterator[str]:
    for name, value in vars(module).copy().items():
        value = _unwrapped(value)
        if isinstance(value, type):
            for part, method in vars(value).copy().items():
                if isinstance(_unwrapped(method), FunctionType):
                    yield f"{module.__name__}:{name}.{part}"
        elif callable(value):
            yield f"{module.__name__}:{name}"


# -- modules that are not imported yet ------------------------------------------------------------


def locate(name: str) -> ModuleSpec:
    """Where a module would be imported from; raises `NotFoundError`. Nothing is imported."""
    path: list[str] | None = None
    spec, parts = None, name.split(".")
    for depth in range(1, len(parts) + 1):
        prefix = ".".join(parts[:depth])
        parent = sys.modules.get(prefix)
        spec = getattr(parent, "__spec__", None) or PathFinder.find_spec(prefix, path)
        if spec is None:
            raise not_found("module", name, [*sys.modules, *_beside(parts[: depth - 1], path)])
        path = list(spec.submodule_search_locations or [])
    assert spec is not None
    return spec


def _beside(package: list[str], path: list[str] | None) -> Iterator[str]:
    for folder in (sys.path if path is None else path):
        try:
            entries = os.listdir(folder or ".")
        except OSError:
            continue
        for entry in entries:
            stem = entry.removesuffix(".py")
            if stem.isidentifier():
                yield ".".join([*package, stem])


def check_source(spec: ModuleSpec, qualname: str) -> None:
    """Raise `NotFoundError` when a module's source binds no such name anywhere at its top."""
    if not spec.origin or not spec.origin.endswith(".py"):
        return
    try:
        with open(spec.origin, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            if node.name == "*":
                return
            names.add(node.asname or node.name.split(".")[0])
    if qualname.split(".")[0] not in names and "__getattr__" not in names:
        known = (f"{spec.name}:{name}" for name in names)
        raise not_found("name", f"{spec.name}:{qualname}", known)


# -- exceptions -----------------------------------------------------------------------------------


def exception_class(path: str, *, load: bool) -> type[BaseException] | None:
    """The exception class of a dotted path; None when its module is not imported and not to be.

    Raises `NotFoundError` when there is none.
    """
    name, _, attribute = path.rpartition(".")
    module = sys.modules.get(name)
    if module is None:
        spec = locate(name)
        if not load:
            check_source(spec, attribute)
            return None
        __import__(name)
        module = sys.modules[name]
    value = getattr(module, attribute, None)
    if not (isinstance(value, type) and issubclass(value, BaseException)):
        known = [
            f"{name}.{each}"
            for each, held in vars(module).copy().items()
            if isinstance(held, type) and issubclass(held, BaseException)
        ]
        raise not_found("exception", path, known)
    return value


def make_exception(path: str, text: str, *, load: bool) -> BaseException | None:
    """An exception of that class with that text; None when its module is not imported yet.

    Raises `NotFoundError` when there is no such class or its constructor wants something else.
    """
    found = exception_class(path, load=load)
    if found is None:
        return None
    try:
        return found(text) if text else found()
    except Exception as error:
        raise NotFoundError(f"{path} cannot be made of one text: {error!r}") from None
