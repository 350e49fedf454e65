"""Who waits for whom, and who descends from whom: a run that joins another one by its id must not make a ring of it."""

from fastapi_durable.engine.runs.completion import child_token
from fastapi_durable.model import Run
from fastapi_durable.store.base import StoreTransaction


async def awaits(transaction: StoreTransaction, one: Run, other: Run) -> bool:
    """Whether `one` waits, itself or through others, for the end of `other`; or is the same run."""
    if one.parent_run_id == other.id or one.status.is_terminal:
        return False
    # A run has one waiter, so the runs that wait for `other` are a line. If that is a ring already, it leads nowhere.
    waiting = [other.id]
    while one.id not in waiting:
        waiter = await transaction.find_signal_waiter(child_token(waiting[-1]))
        if waiter is None or waiter.run_id in waiting:
            return False
        waiting.append(waiter.run_id)
    return True


async def descends(transaction: StoreTransaction, one: Run, other: Run) -> bool:
    """Whether `one` is a child of `other`, or a child of one of its children, and so on; or is the same run."""
    line, run = [one.id], one
    while (parent := run.parent_run_id) is not None and parent not in line:
        line.append(parent)
        if (found := await transaction.find_run(parent)) is None:
            break
        run = found
    return other.id in line
