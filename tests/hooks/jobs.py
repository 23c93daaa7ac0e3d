"""Celery tasks whose functions are hooked from outside."""

import os

from celery import Celery, shared_task
from shop import pay

app = Celery("jobs", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.update(worker_prefetch_multiplier=1, worker_hijack_root_logger=False)


@app.task(bind=True)
def charge(self, amount):
    return os.getpid(), pay(amount)[0]


@shared_task
def refund(amount):
    return os.getpid(), amount
