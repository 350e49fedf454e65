"""Ends a run: one transition from a live to a terminal status, with everything that belongs to it.

The status changes only under the caller's guards, so only one of two endings takes effect. The same transaction removes
the run's own waiters, because a finished run would swallow a later signal, and wakes the runs that wait for this one.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Any

from fastapi_durable.engine.runs.completion import child_token, completion, tell_waiter
from fastapi_durable.engine.runs.retries import tell_waiter_of_origin
from fastapi_durable.engine.runs.singleton import gate_of, leave_gate
from fastapi_durable.model.clock import Clock
from fastapi_durable.model.records import ErrorRecord, Json, Run, RunChanges, RunStatus
from fastapi_durable.model.run_ids import is_hop, origin_of
from fastapi_durable.store.base import StateStore, StoreTransaction
from fastapi_durable.store.port.checkpoints import PreparedCheckpoint


async def settle_run(
    store: StateStore,
    clock: Clock,
    run: Run,
    status: RunStatus,
    *,
    output: Json = None,
    error: ErrorRecord | None = None,
    statuses: Collection[RunStatus],
    token: str | None = None,
    put_waiters: bool = True,
    also: Callable[[StoreTransaction], Awaitable[object]] | None = None,
    locks: Collection[str] = (),
    checkpoints: Sequence[PreparedCheckpoint] = (),
) -> bool:
    """Give a run its terminal status, and release its lease.

    Args:
        run: The run as the caller read it. Its `wake_count` is a guard: a delivery, a request to cancel, or a new
            waiter since then must be handled first.
        statuses: Further guard; see `StateStore.update_run`.
        token: Further guard; see `StateStore.update_run`.
        put_waiters: Whether the run may have left signal waiters. If not, and if no run waits for it, the ending is
            one statement.
        also: What else the transaction does if it ends the run.
        locks: Names that `also` needs locked.
        checkpoints: The last checkpoints of the run, stored by the same commit.

    Returns:
        False if a guard does not hold. Nothing was written then.
    """
    guards: dict[str, Any] = {"statuses": statuses, "token": token, "wake_count": run.wake_count}
    changes = ending(clock, status, output=output, error=error)
    has_waiters = put_waiters or is_hop(run.id) or gate_of(run) is not None
    if also is None and not has_waiters and not await _may_be_awaited(store, run):
        return await store.update_run(run.id, changes, **guards, checkpoints=checkpoints)
    async with store.transaction() as transaction:
        for name in sorted([*names_of_ending(run), *locks]):
            await transaction.lock_name(name)
        await lock_waiting_runs(transaction, run.id)
        if not await transaction.update_run(run.id, changes, **guards, checkpoints=checkpoints):
            return False
        await after_ending(transaction, clock, run, completion(status, output, error), has_waiters=has_waiters)
        if also is not None:
            await also(transaction)
        return True


def ending(clock: Clock, status: RunStatus, *, output: Json = None, error: ErrorRecord | None = None) -> RunChanges:
    """Return the changed columns of a run that ends."""
    return {
        "status": status,
        "output": output,
        "error": error,
        "locked_by": None,
        "locked_until": None,
        "wake_at": None,
        "updated_at": clock.now(),
    }


def names_of_ending(run: Run, below: Iterable[Run] = ()) -> list[str]:
    """Return the names that the transaction that ends a run locks first, in order. `below` are other runs whose gates
    it opens as well.
    """
    # A run that begins to wait for it takes the same locks in the same order.
    gates = {gate for each in (run, *below) if (gate := gate_of(each)) is not None}
    return [*_awaited_by(run.id), *sorted(gates)]


async def _may_be_awaited(store: StateStore, run: Run) -> bool:
    if run.parent_run_id is not None:
        return True
    # A run other than the parent may wait for it. Beginning to wait wakes the run, and the wake count guards the
    # ending. So a run that was never woken has no such waiter, and if the check finds none, that still holds when the
    # run ends.
    return run.wake_count > 0 and await store.find_signal_waiter(child_token(run.id)) is not None


async def lock_waiting_runs(transaction: StoreTransaction, run_id: str) -> None:
    """Lock the runs that wait for the end of a run, before the run itself, in the transaction that ends it.

    A waiting run is always locked before the run that it waits for. A run that joins another one, and a run that is
    cancelled or retried with its children, follow the same order.
    """
    waiters = [await transaction.find_signal_waiter(token) for token in _awaited_by(run_id)]
    for waiting in sorted({waiter.run_id for waiter in waiters if waiter is not None}):
        await transaction.lock_run(waiting)


def _awaited_by(run_id: str) -> list[str]:
    """Return the tokens on which the end of the run is awaited: that of the run that it retries, then its own."""
    origin = origin_of(run_id)
    return [child_token(run_id)] if origin is None else [child_token(origin), child_token(run_id)]


async def after_ending(
    transaction: StoreTransaction, clock: Clock, run: Run, ended: dict[str, Any], *, has_waiters: bool = True
) -> None:
    """Remove the waiters of a run that ends, free its slot, and wake its parent, in the same transaction."""
    if has_waiters:
        await transaction.remove_signal_waiters_of_run(run.id)
    await leave_gate(transaction, clock, run)
    await tell_waiter(transaction, run.id, ended, now=clock.now())
    await tell_waiter_of_origin(transaction, run, ended, now=clock.now())
