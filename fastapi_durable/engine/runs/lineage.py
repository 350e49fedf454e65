"""Who waits for whom, and who descends from whom: a run that joins another one by its id must not make a ring of it."""

from fastapi_durable.engine.runs.completion import child_token
from fastapi_durable.engine.runs.retries import hopes_of, origin_of
from fastapi_durable.model import Run
from fastapi_durable.store.base import StoreTransaction


async def awaits(transaction: StoreTransaction, one: Run, other: Run) -> bool:
    """Whether `one` waits, itself or through others, for the end of `other`; or is the same run.

    An ended run waits where retries of it could still bring a success and each of them waits.
    """
    waiting = [other.id]
    # Each run of the list adds those that wait for it. In a ring that is there already, nobody is added twice.
    for run_id in waiting:
        waiters = [await transaction.find_signal_waiter(child_token(run_id))]
        origin = await _hopeless_origin(transaction, run_id, waiting)
        if origin is not None:
            waiters.append(await transaction.find_signal_waiter(child_token(origin.id)))
        waiting += [waiter.run_id for waiter in waiters if waiter is not None and waiter.run_id not in waiting]
    return await _waits(transaction, one, waiting)


async def _hopeless_origin(transaction: StoreTransaction, run_id: str, waiting: list[str]) -> Run | None:
    """The run that this one retries, if nothing but runs that wait could bring it a success."""
    origin_id = origin_of(run_id)
    origin = None if origin_id is None else await transaction.find_run(origin_id)
    return origin if origin is not None and await _waits(transaction, origin, waiting) else None


async def _waits(transaction: StoreTransaction, run: Run, waiting: list[str]) -> bool:
    hopes = await hopes_of(transaction, run)
    return bool(hopes) and all(hope.id in waiting for hope in hopes)


async def descends(transaction: StoreTransaction, one: Run, other: Run) -> bool:
    """Whether `one` is a child of `other`, or a child of one of its children, and so on; or is the same run."""
    line, run = [one.id], one
    while (parent := run.parent_run_id) is not None and parent not in line:
        line.append(parent)
        if (found := await transaction.find_run(parent)) is None:
            break
        run = found
    return other.id in line
