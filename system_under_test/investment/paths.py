"""Addresses of the API's resources."""

from uuid import UUID

PREFIX = "/api/v1/investment"


def status_url(job_id: UUID) -> str:
    return f"{PREFIX}/jobs/{job_id}"
