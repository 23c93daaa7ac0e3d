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
from .context import read, respond, scope_of, services_of, write
from .models import NewDeposit, NewUser, Nothing

router = APIRouter(prefix=PREFIX)

_INSERT_WALLET = text("""
INSERT INTO wallets (user_id, currency, account_id, account_token)
VALUES (:user_id, :currency, :account_id, :account_token)""")
_FIND_WALLET = text("""
SELECT w.user_id, w.currency, w.closed_at, a.balance_minor
FROM wallets w JOIN ledger_accounts a ON a.id = w.account_id
WHERE w.user_id = :user_id AND (:is_admin OR w.user_id = :caller_id)""")


@router.post("/users", status_code=201, response_model=CreatedUser, tags=["admin"])
def create_user(request: Request, body: NewUser) -> Response:
    """Create a user with a wallet, who has the given token; only the token's hash is kept."""
    token_hash = auth.hash_token(body.token).hex()
    scope = scope_of(request, body.fields() | {"token": token_hash})

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
        connection.execute(
            _INSERT_WALLET,
            {
                "user_id": user_id,
                "currency": body.currency,
                "account_id": wallet,
                "account_token": account_token,
            },
        )
        document = {
            "user_id": str(user_id),
            "wallet": {"currency": body.currency, "balance_minor": "0"},
        }
        return Answer.of(201, document, location=f"{PREFIX}/wallets/{user_id}")

    return respond(write(request, scope, work, action=Action.CREATE_USER))


@router.get("/wallets/{user_id}", response_model=Wallet, tags=["wallets"])
def get_wallet(request: Request, user_id: UUID) -> dict[str, str | None]:
    """The wallet's balance."""

    def query(connection: Connection, principal: Principal) -> dict[str, str | None]:
        where = {"user_id": user_id, "is_admin": principal.is_admin, "caller_id": principal.user_id}
        row = connection.execute(_FIND_WALLET, where).one_or_none()
        if row is None:
            raise Problem("not-found", "There is no such wallet, or it is not yours.")
        return {
            "user_id": str(row.user_id),
            "currency": row.currency,
            "balance_minor": str(row.balance_minor),
            "closed_at": None if row.closed_at is None else row.closed_at.isoformat(),
        }

    return read(request, query)


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

    scope = scope_of(request, body.fields())
    return respond(write(request, scope, work, action=Action.DEPOSIT, counted=user_id))


@router.post("/wallets/{user_id}/close", response_model=Wallet, tags=["admin"])
def close_wallet(request: Request, user_id: UUID, _body: Nothing | None = None) -> Response:
    """Close a wallet that is empty and for which nothing is under way."""

    def work(connection: Connection, principal: Principal) -> Answer:
        principal.require_admin()
        return wallets.close(connection, user_id)

    return respond(write(request, scope_of(request, {}), work, action=Action.CLOSE_WALLET))
