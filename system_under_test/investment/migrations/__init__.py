"""Alembic migrations of the service (run by `python -m investment migrate`)."""

HEAD = "043"
