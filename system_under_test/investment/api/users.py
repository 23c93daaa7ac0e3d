"""Users and their wallets."""

from uuid import UUID, uuid4

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection, text

from .. import auth, deposits, ledger, wallets
from ..auth import Principal
from ..errors import Problem
from ..idempotency import Answer
from ..limits import Action
from ..money import parse_amount_minor
from ..paths import PREFIX
from ..vault import ACCOUNT_NUMBER
from .answers import Accepted, CreatedUser, Wallet
from .context import find_own, services_of, write
from .models import NewDeposit, NewUser, Nothing

router = APIRouter(prefix=PREFIX)

_INSERT_WALLET = text("""
INSERT INTO wallets (user_id, currency, account_id, account_token)
VALUES (:user_id, :currency, :account_id, :account_token)""")
_FIND_WALLET = text("""
SELECT w.user_id, w.currency, w.closed_at, CAST(a.balance_minor AS text) AS balance_minor
FROM wallets w JOIN ledger_accounts a ON a.id = w.account_id
WHERE w.user_id = :id AND (:is_admin OR w.user_id = :caller_id)""")


@router.post("/users", status_code=201, response_model=CreatedUser, tags=["admin"])
def create_user(request: Request, body: NewUser) -> Response:
    """Create a user with a wallet, who has the given token; only the token's hash is kept."""
    payload = body.fields() | {"token": auth.hash_token(body.token).hex()}

    def work(connection: Connection, principal: Principal) -> Answer:
        principal.require_admin()
        user_id = body.user_id or uuid4()
        if not auth.add_user(connection, user_id, role="user"):
            return Answer.refusal("user-exists", "A user with this id exists already.")
        if not auth.add_token(connection, user_id, token=body.token):
            raise Problem("validation-failed", "The token is in use: choose another one.")
        wallet = ledger.wallet(user_id)
        system = [ledger.cash(body.currency), ledger.fee(body.currency)]
        ledger.ensure_accounts(connection, [wallet, *system], currency=body.currency)
        account_token = services_of(request).vault.tokenise(
            connection, purpose=ACCOUNT_NUMBER, subject_id=user_id, value=body.account_number
        )
        values = {"user_id": user_id, "currency": body.currency, "account_id": wallet}
        connection.execute(_INSERT_WALLET, values | {"account_token": account_token})
        empty = {"currency": body.currency, "balance_minor": "0"}
        document = {"user_id": str(user_id), "wallet": empty}
        return Answer.of(201, document, location=f"{PREFIX}/wallets/{user_id}")

    return write(request, payload, work, action=Action.CREATE_USER)


@router.get("/wallets/{user_id}", response_model=Wallet, tags=["wallets"])
def get_wallet(request: Request, user_id: UUID) -> dict[str, object]:
    """The wallet's balance."""
    return find_own(request, _FIND_WALLET, user_id, what="wallet")._asdict()


@router.post(
    "/wallets/{user_id}/deposits", status_code=202, response_model=Accepted, tags=["admin"]
)
def create_deposit(request: Request, user_id: UUID, body: NewDeposit) -> Response:
    """Accept a deposit; a worker posts it once for its reference."""

    def work(connection: Connection, principal: Principal) -> Answer:
        principal.require_admin()
        return deposits.request(
            connection,
            services_of(request).vault,
            user_id=user_id,
            amount_minor=parse_amount_minor(body.amount_minor),
            currency=body.currency,
            reference=body.reference,
        )

    return write(request, body.fields(), work, action=Action.DEPOSIT, counted=user_id)


@router.post("/wallets/{user_id}/close", response_model=Wallet, tags=["admin"])
def close_wallet(request: Request, user_id: UUID, _body: Nothing | None = None) -> Response:
    """Close a wallet without money or positions, for which nothing is under way."""

    def work(connection: Connection, principal: Principal) -> Answer:
        principal.require_admin()
        return wallets.close(connection, user_id)

    return write(request, {}, work, action=Action.CLOSE_WALLET)
