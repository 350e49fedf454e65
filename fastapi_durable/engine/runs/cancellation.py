"""Cancelling a run, from any process and at any moment.

A plain cancel is one transaction: the run and all its live descendants end as `cancelled`, their leases are taken away,
and whoever drives one of them is refused at its next write. A compensating cancel sets `cancelling`: the worker that
holds the run, or the next one that claims it, undoes the finished steps and then ends it.
"""

from collections.abc import Callable, Iterable

from fastapi_durable.engine.conflict import retry_conflicts
from fastapi_durable.engine.runs.chain import head_of
from fastapi_durable.engine.runs.completion import child_token, completion
from fastapi_durable.engine.runs.settlement import after_ending, ending, lock_waiting_runs, names_of_ending
from fastapi_durable.engine.services import Services
from fastapi_durable.errors import RunNotFoundError
from fastapi_durable.model import LIVE_STATUSES, ErrorRecord, Run, RunQuery, RunStatus
from fastapi_durable.store.base import StoreTransaction

_CANCELLED = ErrorRecord(message="cancelled", code="cancelled")
_PAGE = 500


async def cancel(
    services: Services,
    run_id: str,
    *,
    compensate: bool = False,
    error: ErrorRecord | None = None,
    only_if: Callable[[Run], bool] | None = None,
) -> Run:
    """Cancel a run and its live descendants; a run that has ended is left as it is.

    Args:
        compensate: Undo what the run's finished steps declared to be undone, before it ends.
        error: What is stored as the reason.
        only_if: Looks at the run under its lock; False leaves it as it is.

    Returns:
        The run as it is now: `cancelled`, `cancelling`, or however it had ended.

    Raises:
        RunNotFoundError: no run has this id.
    """
    return await retry_conflicts(
        services.clock, lambda: _cancel(services, run_id, compensate, error or _CANCELLED, only_if)
    )


async def cancel_chain(services: Services, run_id: str, *, compensate: bool = False) -> Run:
    """Cancel a run, or the one that it went on as, also if it goes on at this moment; see `cancel`.

    Raises:
        RunNotFoundError: no run has this id.
    """
    run = await head_of(services.store, run_id)
    while run is not None:
        asked = run.id
        cancelled = await cancel(services, asked, compensate=compensate)
        run = await head_of(services.store, asked)
        if run is None or run.id == asked:
            return cancelled
    raise RunNotFoundError(run_id)


async def cancel_all(services: Services, run_ids: Iterable[str]) -> None:
    """Cancel several runs; those that do not exist or have ended are passed over."""
    for run_id in run_ids:
        try:
            await cancel_chain(services, run_id)
        except RunNotFoundError:
            continue


async def _cancel(
    services: Services, run_id: str, compensate: bool, error: ErrorRecord, only_if: Callable[[Run], bool] | None
) -> Run:
    touched: list[str] = []
    known = await services.store.find_run(run_id)
    ended: list[Run] = []
    async with services.store.transaction(timeout=services.config.transaction_timeout) as transaction:
        for name in [child_token(run_id)] if known is None else names_of_ending(known):
            await transaction.lock_name(name)
        if known is not None:
            await lock_waiting_runs(transaction, known)
        run = await transaction.lock_run(run_id)
        if run is None:
            raise RunNotFoundError(run_id)
        if not run.status.is_terminal and (only_if is None or only_if(run)):
            await _cancel_tree(services, transaction, run, compensate, error, touched, ended)
        now = await transaction.find_run(run_id)
    for cancelled in touched:
        services.notifications.run_cancelled(cancelled)
    for each in ended:
        services.events.run("run.cancelled", each, error=error)
    services.notifications.work_available()
    return now or run


async def _cancel_tree(
    services: Services,
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
            now = services.clock.now()
            # The lease stays with a worker that holds one: its turn learns of the cancel at its next ending.
            await transaction.update_run(
                run.id, {"status": RunStatus.CANCELLING, "error": error, "wake_at": now, "updated_at": now}
            )
            await transaction.wake_run(run.id, now=now)
    else:
        await transaction.update_run(
            run.id, ending(services.clock, RunStatus.CANCELLED, error=error), statuses=LIVE_STATUSES
        )
        await after_ending(transaction, services.clock, run, completion(RunStatus.CANCELLED, None, error))
        ended.append(run)
    touched.append(run.id)
    query = RunQuery(parent_run_id=run.id, statuses=LIVE_STATUSES, limit=_PAGE)
    children = await transaction.list_runs(query)
    while children:
        for child in children:
            locked = await transaction.lock_run(child.id)
            if locked is not None and not locked.status.is_terminal and locked.id not in touched:
                await _cancel_tree(services, transaction, locked, compensate, error, touched, ended)
        if len(children) < _PAGE:
            break
        last = children[-1]
        children = await transaction.list_runs(
            RunQuery(
                parent_run_id=run.id,
                statuses=LIVE_STATUSES,
                limit=_PAGE,
                before=(last.created_at, last.id),
            )
        )
