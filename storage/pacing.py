"""Turns towards a provider's account limits, shared by all processes (`Database.as_service`)."""

from __future__ import annotations

from schema.queries import Query, load
from storage.database import Transaction

_TAKE_TURN: Query[float] = load("pacing.take_turn", float)


async def take_turn(
    tx: Transaction, lane: str, *, per_second: int, per_minute: int, longest_wait: float
) -> float | None:
    """Seconds until this caller may start a session; None, and no turn taken, when that is over `longest_wait`.

    Turns are given in the order they are asked for. `lane` names the account whose limits these are.
    """
    return await tx.fetch_one(
        _TAKE_TURN, lane=lane, per_second=per_second, per_minute=per_minute, longest_wait=longest_wait
    )
