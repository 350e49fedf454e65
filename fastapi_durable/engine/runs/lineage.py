"""Who waits for whom, and who descends from whom: a run that joins another one by its id must not make a ring of it."""

from fastapi_durable.engine.runs.completion import child_token
from fastapi_durable.engine.runs.retries import open_retries
from fastapi_durable.model.records import Run
from fastapi_durable.model.run_ids import origin_of
from fastapi_durable.store.base import StoreTransaction

_RINGS = "rings"


async def waits_for(transaction: StoreTransaction, one: Run, other: Run) -> Run | None:
    """The run that keeps `one` from ending before `other`: it waits, itself or through others, for the end of `other`.

    That is `one`, or the same run. If it has ended, retries of it could still bring a success: then it is one of them,
    if all of them wait. None if there is no such run.

    The caller holds both runs, and the names of the ending that `other` is about to wait for and of those that `other`
    brings to those who wait for it. So of two waits that meet in a run, one sees the other; a ring is closed by one
    that sees both of its neighbours. Several may do so at a time in a ring of four and more: these take turns, so that
    the last one sees the whole ring.
    """
    hopes = await open_retries(transaction, one)
    if not hopes:
        return None
    if [hope.id for hope in hopes] == [other.id]:
        return hopes[0]
    if not (await _is_awaited(transaction, other) and await _any_waits(transaction, hopes)):
        return None
    # The last lock of its transaction, which waits for nothing while it holds it: no deadlock, though runs come first.
    await transaction.lock_name(f"{_RINGS}:{other.namespace}")
    waiting = await _waiting_for(transaction, other)
    return hopes[0] if all(hope.id in waiting for hope in hopes) else None


def names_of_waiting(run: Run, awaited_id: str) -> list[str]:
    """What the transaction locks first, in order, in which `run` begins to wait for the end of another one."""
    origin = origin_of(run.id)
    # Who waits for the origin of a retry waits for the retry.
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
    """The run itself, and whatever waits for it."""
    waiting = [run.id]
    # Each run of the list adds those that wait for it. In a ring that is there already, nobody is added twice.
    for run_id in waiting:
        waiters = [await transaction.find_signal_waiter(child_token(run_id))]
        origin = await _hopeless_origin(transaction, run_id, waiting)
        if origin is not None:
            waiters.append(await transaction.find_signal_waiter(child_token(origin.id)))
        waiting += [waiter.run_id for waiter in waiters if waiter is not None and waiter.run_id not in waiting]
    return waiting


async def _hopeless_origin(transaction: StoreTransaction, run_id: str, waiting: list[str]) -> Run | None:
    """The run that this one retries, if nothing but runs that wait could bring it a success."""
    origin_id = origin_of(run_id)
    origin = None if origin_id is None else await transaction.find_run(origin_id)
    if origin is None:
        return None
    hopes = await open_retries(transaction, origin)
    return origin if hopes and all(hope.id in waiting for hope in hopes) else None


async def descends(transaction: StoreTransaction, one: Run, other: Run) -> bool:
    """Whether `one` is a child of `other`, or a child of one of its children, and so on; or is the same run."""
    line, run = [one.id], one
    while (parent := run.parent_run_id) is not None and parent not in line:
        line.append(parent)
        if (found := await transaction.find_run(parent)) is None:
            break
        run = found
    return other.id in line
