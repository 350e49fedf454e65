"""Finds which runs wait for each other, and which descend from each other. A run that joins another one by its id must
not close a ring."""

from fastapi_durable.engine.runs.completion import child_token
from fastapi_durable.engine.runs.retries import open_retries
from fastapi_durable.model.records import Run
from fastapi_durable.model.run_ids import origin_of
from fastapi_durable.store.base import StoreTransaction

_RINGS = "rings"


async def waits_for(transaction: StoreTransaction, one: Run, other: Run) -> Run | None:
    """Return the run that waits, directly or through others, for the end of `other`, so that `one` cannot end before
    `other`.

    It is `one` itself, if `one` is live and waits for the end of `other` or is `other`. If `one` has ended, a retry of
    it could still succeed: then it is one of these retries, if all of them wait. None if there is no such run.

    The caller locks both runs, the names of the ending that `other` is about to wait for, and the names of the endings
    that `other` brings to its own waiters. So of two waits that meet in a run, one sees the other. The wait that closes
    a ring sees both of its neighbours. In a ring of four or more, several waits may do so at the same time. They take
    turns, so that the last one sees the whole ring.
    """
    hopes = await open_retries(transaction, one)
    if not hopes:
        return None
    if [hope.id for hope in hopes] == [other.id]:
        return hopes[0]
    if not (await _is_awaited(transaction, other) and await _any_waits(transaction, hopes)):
        return None
    # This is the last lock of the transaction, which waits for nothing while holding it. So there is no deadlock,
    # although runs were locked before.
    await transaction.lock_name(f"{_RINGS}:{other.namespace}")
    waiting = await _waiting_for(transaction, other)
    return hopes[0] if all(hope.id in waiting for hope in hopes) else None


def names_of_waiting(run: Run, awaited_id: str) -> list[str]:
    """Return the names that a transaction locks first, in order, if `run` begins to wait for the end of another run in
    it.
    """
    origin = origin_of(run.id)
    # A run that waits for the origin of a retry also waits for the retry.
    return sorted({child_token(awaited_id)} if origin is None else {child_token(awaited_id), child_token(origin)})


async def _is_awaited(transaction: StoreTransaction, run: Run) -> bool:
    if await transaction.find_signal_waiter(child_token(run.id)) is not None:
        return True
    origin = origin_of(run.id)
    return origin is not None and await transaction.find_signal_waiter(child_token(origin)) is not None


async def _any_waits(transaction: StoreTransaction, runs: list[Run]) -> bool:
    waiters = await transaction.list_signal_waiters(prefix=child_token(""), run_ids=[run.id for run in runs], limit=1)
    return bool(waiters)


async def _waiting_for(transaction: StoreTransaction, run: Run) -> list[str]:
    """Yield the run itself, and all runs that wait for it."""
    waiting = [run.id]
    # Each run of the list adds the runs that wait for it. No run is added twice, even in an existing ring.
    for run_id in waiting:
        waiters = [await transaction.find_signal_waiter(child_token(run_id))]
        origin = await _hopeless_origin(transaction, run_id, waiting)
        if origin is not None:
            waiters.append(await transaction.find_signal_waiter(child_token(origin.id)))
        waiting += [waiter.run_id for waiter in waiters if waiter is not None and waiter.run_id not in waiting]
    return waiting


async def _hopeless_origin(transaction: StoreTransaction, run_id: str, waiting: list[str]) -> Run | None:
    """Return the run that this one retries, if only waiting runs could bring it a success."""
    origin_id = origin_of(run_id)
    origin = None if origin_id is None else await transaction.find_run(origin_id)
    if origin is None:
        return None
    hopes = await open_retries(transaction, origin)
    return origin if hopes and all(hope.id in waiting for hope in hopes) else None


async def descends(transaction: StoreTransaction, one: Run, other: Run) -> bool:
    """Return whether `one` is `other`, or a descendant of it."""
    line, run = [one.id], one
    while (parent := run.parent_run_id) is not None and parent not in line:
        line.append(parent)
        if (found := await transaction.find_run(parent)) is None:
            break
        run = found
    return other.id in line
