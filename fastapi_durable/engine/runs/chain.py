"""Chains: runs that followed one another through `ctx.continue_as_new`: `order`, `order~1`, `order~2`, ...

Any run id of a chain addresses its live run. That run holds a waiter on the chain's token, so one read finds it, even
when earlier runs have been pruned. The waiter is removed with the run's other waiters when the chain ends. After that,
the runs are followed one by one.
"""

from fastapi_durable.model.records import Run, RunStatus, SignalWaiter
from fastapi_durable.model.reserved import CHAIN
from fastapi_durable.model.run_ids import hop_number, next_run_id, root_of
from fastapi_durable.store.base import StateStore, StoreTransaction

_SEQ = -1
"""Not a position of a body, because nothing is delivered to this waiter."""

_LOOKED_BACK = 100


async def successor_of(store: StateStore, run: Run) -> Run | None:
    """Return the run that `run` continued as. None if it did not."""
    if not may_have_gone_on(run):
        return None
    return await store.find_run(next_run_id(run.id))


def may_have_gone_on(run: Run) -> bool:
    """Return whether the run may have continued as another run, judging by its ending."""
    return run.status is RunStatus.COMPLETED and run.output is None


async def head_of(store: StateStore, run_id: str) -> Run | None:
    """Return the live run of the chain of `run_id`, or its last one. None if there is no such run."""
    run = await store.find_run(run_id)
    # Repeat, because the found run may have continued before it was read.
    while run is None or may_have_gone_on(run):
        further = await _further(store, run_id if run is None else run.id)
        if further is None:
            return run
        run = further
    return run


async def lock_head(transaction: StoreTransaction, run_id: str) -> Run | None:
    """Return the same run, locked, so that it cannot continue as another one. None if there is no such run."""
    run = await transaction.lock_run(run_id)
    # Follow the chain's token as well: runs between this one and the live one may have been deleted.
    while run is None or may_have_gone_on(run):
        further = await _further(transaction, run_id if run is None else run.id)
        if further is None:
            return run
        run = await transaction.lock_run(further.id)
    return run


async def lead_chain(transaction: StoreTransaction, successor: Run) -> None:
    """Make `successor` the live run of the chain, in the transaction that begins it."""
    waiter = SignalWaiter(token=_token(successor.id), run_id=successor.id, seq=_SEQ)
    other = await transaction.find_signal_waiter(waiter.token)
    if other is not None:
        await transaction.remove_signal_waiter(other)
    await transaction.put_signal_waiter(waiter)


async def _further(store: StateStore, run_id: str) -> Run | None:
    """Return the live run of the chain, if it comes after this one. If the chain has ended, return the next run."""
    leader = await store.find_signal_waiter(_token(run_id))
    if leader is not None and hop_number(leader.run_id) > hop_number(run_id):
        run = await store.find_run(leader.run_id)
        if run is not None:
            return run
    return await store.find_run(next_run_id(run_id))


def earlier_ids(run_id: str) -> list[str]:
    """Return the ids of the runs before this one, the latest first, a hundred at most."""
    root, number = root_of(run_id), hop_number(run_id)
    numbers = range(number - 1, max(-1, number - 1 - _LOOKED_BACK), -1)
    return [f"{root}~{each}" if each else root for each in numbers]


def _token(run_id: str) -> str:
    return f"{CHAIN}{root_of(run_id)}"
