"""Cancels a run, from any process and at any moment.

A plain cancel is one transaction. It ends the run and all its live descendants as `cancelled`, and takes away their
leases, so their workers are refused at the next write. A compensating cancel sets `cancelling`: the worker that holds
the run, or the next one that claims it, undoes the finished steps and then ends it.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace

from fastapi_durable.engine.core.conflict import retry_conflicts
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.chain import head_of, lock_head
from fastapi_durable.engine.runs.completion import child_token, completion
from fastapi_durable.engine.runs.settlement import after_ending, ending, lock_waiting_runs, names_of_ending
from fastapi_durable.engine.runs.singleton import gate_of
from fastapi_durable.model.errors import RunNotFoundError
from fastapi_durable.model.records import LIVE_STATUSES, ErrorRecord, Run, RunQuery, RunStatus
from fastapi_durable.store.base import StateStore, StoreTransaction

_CANCELLED = ErrorRecord(message="cancelled", code="cancelled")
_PAGE = 500
_GATES_AT_MOST = 1000
"""PostgreSQL has room for some thousands of locks on names, in all transactions together."""


async def cancel(
    kernel: Kernel,
    run_id: str,
    *,
    compensate: bool = False,
    error: ErrorRecord | None = None,
    only_if: Callable[[Run], bool] | None = None,
) -> Run:
    """Cancel a run and its live descendants. A run that has ended stays as it is.

    Args:
        compensate: Whether to run the compensations of the finished steps before the run ends.
        error: The reason, which is stored with the run.
        only_if: Decides under the run's lock. False leaves the run as it is.

    Returns:
        The run as it is now: `cancelled`, `cancelling`, or ended before.

    Raises:
        RunNotFoundError: no run has this id.
    """
    return await retry_conflicts(
        kernel.clock, lambda: _cancel(kernel, run_id, compensate, error or _CANCELLED, only_if)
    )


async def cancel_chain(kernel: Kernel, run_id: str, *, compensate: bool = False) -> Run:
    """Cancel a run or the run that it continued as, even if it continues at this moment; see `cancel`.

    Raises:
        RunNotFoundError: no run has this id.
    """
    run = await head_of(kernel.store, run_id)
    while run is not None:
        asked = run.id
        cancelled = await cancel(kernel, asked, compensate=compensate)
        run = await head_of(kernel.store, asked)
        if run is None or run.id == asked:
            return cancelled
    raise RunNotFoundError(run_id)


async def cancel_all(kernel: Kernel, run_ids: Iterable[str]) -> None:
    """Cancel several runs. Runs that do not exist or have ended are skipped."""
    for run_id in run_ids:
        try:
            await cancel_chain(kernel, run_id)
        except RunNotFoundError:
            continue


async def _cancel(
    kernel: Kernel, run_id: str, compensate: bool, error: ErrorRecord, only_if: Callable[[Run], bool] | None
) -> Run:
    touched: list[str] = []
    known = await kernel.store.find_run(run_id)
    below = [] if known is None else await _singletons_below(kernel.store, known)
    ended: list[Run] = []
    async with kernel.store.transaction(timeout=kernel.config.transaction_timeout) as transaction:
        for name in [child_token(run_id)] if known is None else names_of_ending(known, below):
            await transaction.lock_name(name)
        await lock_waiting_runs(transaction, run_id)
        run = await transaction.lock_run(run_id)
        if run is None:
            raise RunNotFoundError(run_id)
        if not run.status.is_terminal and (only_if is None or only_if(run)):
            await _cancel_tree(kernel, transaction, run, compensate, error, touched, ended)
        now = await transaction.find_run(run_id)
    for cancelled in touched:
        kernel.notifications.run_cancelled(cancelled)
    for each in ended:
        kernel.events.run("run.cancelled", each, error=error)
    if run.parent_run_id is not None and run.parent_run_id not in touched:
        kernel.notifications.delivered(run.parent_run_id)
    kernel.notifications.work_available()
    return now or run


async def _cancel_tree(
    kernel: Kernel,
    transaction: StoreTransaction,
    run: Run,
    compensate: bool,
    error: ErrorRecord,
    touched: list[str],
    ended: list[Run],
) -> None:
    # A run that was never driven has nothing to undo.
    if compensate and run.status is not RunStatus.PENDING:
        if run.status is not RunStatus.CANCELLING:
            now = kernel.clock.now()
            # The lease stays with a worker that holds one: its turn learns of the cancel at its next ending.
            await transaction.update_run(
                run.id, {"status": RunStatus.CANCELLING, "error": error, "wake_at": now, "updated_at": now}
            )
            await transaction.wake_run(run.id, now=now)
    else:
        await transaction.update_run(
            run.id, ending(kernel.clock, RunStatus.CANCELLED, error=error), statuses=LIVE_STATUSES
        )
        await after_ending(transaction, kernel.clock, run, completion(RunStatus.CANCELLED, None, error))
        ended.append(run)
    touched.append(run.id)
    # By id, as a publisher locks the runs that wait for an event.
    for child_id in sorted([child.id async for child in _live_children(transaction, run.id)]):
        await lock_waiting_runs(transaction, child_id)
        # A descendant may continue as a new run at this moment, which is not in the list.
        child = await lock_head(transaction, child_id)
        if child is not None and not child.status.is_terminal and child.id not in touched:
            await _cancel_tree(kernel, transaction, child, compensate, error, touched, ended)


async def _singletons_below(store: StateStore, run: Run) -> list[Run]:
    """Return one live run of each singleton key below a run, so that the cancel can lock its gate before it locks a
    run.

    Otherwise the cancel would miss a run that reaches the gate meanwhile, and would conflict with an ending that wakes
    a run of the tree. Gates beyond the limit, and runs that begin after this query, are left to the next poll of the
    waiting run.
    """
    found: dict[str, Run] = {}
    level, seen = [run.id], {run.id}
    while level:
        following: list[str] = []
        for run_id in level:
            async for child in _live_children(store, run_id):
                if child.id in seen:
                    continue
                seen.add(child.id)
                following.append(child.id)
                if (gate := gate_of(child)) is not None and len(found) < _GATES_AT_MOST:
                    found.setdefault(gate, child)
        level = following
    return list(found.values())


async def _live_children(store: StateStore, run_id: str) -> AsyncIterator[Run]:
    query = RunQuery(parent_run_id=run_id, statuses=LIVE_STATUSES, limit=_PAGE)
    while page := await store.list_runs(query):
        for child in page:
            yield child
        if len(page) < _PAGE:
            break
        query = replace(query, before=(page[-1].created_at, page[-1].id))
