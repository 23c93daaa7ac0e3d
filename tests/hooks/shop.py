"""A module with every kind of function that a hook can be attached to."""

import contextlib
import functools


def through(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function(*args, **kwargs)

    return inner


def hidden(function):
    return lambda *args: function(*args)


def pay(amount, /, currency="EUR", *rest, note=None, **more):
    return amount, currency, rest, note, more


def refuse():
    raise ValueError("refused")


@through
def wrapped(value):
    return value


@hidden
def concealed(value):
    return value


class Base:
    def name(self):
        return "base"


class Account(Base):
    __balance = 1

    def name(self):
        return "account of " + super().name()

    @staticmethod
    def fee(value):
        return value

    @classmethod
    def kind(cls, value):
        return cls.__name__, value

    @property
    def balance(self):
        return self.__balance


def counter():
    count = 0

    def count_up(step=1):
        nonlocal count
        count += step
        return count

    return count_up


@functools.lru_cache
def cached(value):
    return value


@contextlib.contextmanager
def transaction(log):
    log.append("begin")
    yield log
    log.append("commit")


def use_transaction():
    log = []
    try:
        with transaction(log):
            log.append("work")
    except Exception as error:
        log.append(repr(error))
    return log


def numbers(count):
    yield from range(count)
    return "end"


async def fetch(value):
    return value


async def stream(count):
    for number in range(count):
        sent = yield number
        if sent:
            yield f"sent {sent}"


async def talk():
    opened = stream(2)
    return [await opened.asend(None), await opened.asend("hello"), await opened.asend(None)]


async def collect(count):
    return [number async for number in stream(count)]


async def on_a_loop():
    return pay(5)


def under(traceparent, call):
    return call()


def with_headers(headers, call):
    return call()
