"""A service whose route, dependency and helpers are hooked from outside."""

import asyncio
import os
from contextvars import ContextVar
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from shop import pay

app = FastAPI()
current: ContextVar[str] = ContextVar("traceparent", default="")


def user_id() -> str:
    return "nobody"


@app.middleware("http")
async def carry_trace(request: Request, call_next):
    current.set(request.headers.get("traceparent", ""))
    return await call_next(request)


@app.get("/pay/{amount}")
async def pay_route(amount: int, user: Annotated[str, Depends(user_id)]):
    return {"pid": os.getpid(), "paid": pay(amount)[0], "user": user}


@app.get("/slow")
async def slow():
    await asyncio.sleep(0)
    return {"pid": os.getpid()}


@app.get("/blocking/{amount}")
def blocking(amount: int):
    return {"pid": os.getpid(), "paid": pay(amount)[0]}


@app.get("/alive")
async def alive():
    return {"pid": os.getpid()}
