"""The lock on a turn's own run, for transactions of the turn."""

from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import LeaseLostError
from fastapi_durable.model.records import Run
from fastapi_durable.store.base import StoreTransaction


async def own_run(turn: Turn, transaction: StoreTransaction) -> Run:
    """Lock the turn's own run, after the names that the transaction needs.

    Raises:
        LeaseLostError: another worker owns it now.
    """
    run = await transaction.lock_run(turn.run.id)
    if run is None or run.locked_by != turn.token:
        raise LeaseLostError(turn.run.id)
    return run
