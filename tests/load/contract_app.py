"""A tiny API that keeps its contract but for one planted 500 and one undeclared status."""

from fastapi import FastAPI, Header, HTTPException, Response
from pydantic import BaseModel, Field

app = FastAPI()


class Payment(BaseModel):
    amount_minor: int = Field(ge=1, le=10**12)
    note: str = Field(default="", max_length=40)


@app.post("/payments", status_code=201)
def pay(payment: Payment, idempotency_key: str = Header(min_length=1)) -> Payment:
    """Keeps its contract."""
    return payment


@app.get("/payments/{number}")
def read(number: int) -> Payment:
    """Divides by zero for one number."""
    return Payment(amount_minor=1 + 100 // (number if number == 0 else 1))


@app.delete("/payments/{number}", status_code=204)
def cancel(number: int) -> Response:
    """Answers with a status that its document does not name."""
    if number != 0:
        raise HTTPException(418)
    return Response(status_code=204)
