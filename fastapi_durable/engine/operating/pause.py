"""`service.pause` and `service.resume`: an operator holds one run, and lets it continue.

A paused run has the engine's tag `PAUSED_TAG` and no status of its own, so everything else can still happen to it. The
worker that drives it stops at its next call. A worker that claims it later, after a delivery or a crash, suspends it
again (`RunDriver`). One transaction writes the tag and a wake-up, so a crash leaves the run either paused or not. The
wake-up makes a turn in progress read the tag: its count refuses an ending that was about to be written. The run's lock
orders operators that act at the same time.
"""

from datetime import datetime
from typing import Final

from fastapi_durable.engine.core.conflict import retry_conflicts
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.chain import head_of, lock_head
from fastapi_durable.engine.runs.operator_log import PAUSE_TRACE, has_history, leave_trace
from fastapi_durable.engine.runs.singleton import gate_of, leave_gate
from fastapi_durable.model.clock import from_millis, to_millis
from fastapi_durable.model.errors import RunNotFoundError, RunStateError
from fastapi_durable.model.records import PAUSED_TAG, Run, RunChanges, RunStatus
from fastapi_durable.model.reserved import is_engine_workflow
from fastapi_durable.store.base import StoreTransaction

_BEGINS_AT: Final = "begins_at"


async def pause(kernel: Kernel, run_id: str) -> Run:
    """Pause a run, or the run that it continued as.

    Returns:
        The run as it is now.

    Raises:
        RunNotFoundError: no run has this id.
        RunStateError: it has ended, is being cancelled, or belongs to the engine.
    """
    run = await retry_conflicts(kernel.clock, lambda: _pause(kernel, run_id))
    if run.locked_by is not None:
        kernel.notifications.run_paused(run.id)
    kernel.notifications.work_available()
    return run


async def resume(kernel: Kernel, run_id: str) -> Run:
    """Resume a paused run, or the run that it continued as. A run that is not paused stays as it is.

    Returns:
        The run as it is now.

    Raises:
        RunNotFoundError: no run has this id.
        RunStateError: it has ended.
    """
    run = await retry_conflicts(kernel.clock, lambda: _resume(kernel, run_id))
    if run.wake_at is not None:
        kernel.notifications.wake_planned(run.wake_at)
    kernel.notifications.work_available()
    return run


async def _pause(kernel: Kernel, run_id: str) -> Run:
    # Names are locked before runs. A run that continued this one may have another workflow or other tags, and so
    # another gate. Then the poll of the run that waits there finds the free slot.
    known = await head_of(kernel.store, run_id)
    gate = None if known is None else gate_of(known)
    async with kernel.store.transaction(timeout=kernel.config.transaction_timeout) as transaction:
        if gate is not None:
            await transaction.lock_name(gate)
        run = await lock_head(transaction, run_id)
        if run is None:
            raise RunNotFoundError(run_id)
        if run.status.is_terminal or run.status is RunStatus.CANCELLING:
            raise RunStateError(run.id, run.status, "paused: only a run that can still continue can be paused")
        if is_engine_workflow(run.workflow):
            raise RunStateError(run.id, run.status, "paused: it belongs to the engine")
        if run.is_paused:
            return run
        now = kernel.clock.now()
        changes: RunChanges = {"tags": (*run.tags, PAUSED_TAG)}
        if run.status is RunStatus.SUSPENDED:
            changes["wake_at"] = None
        await transaction.update_run(run.id, changes)
        if run.status is RunStatus.RUNNING:
            await transaction.wake_run(run.id, now=now)
        await leave_trace(transaction, run.id, PAUSE_TRACE, await _details(transaction, run), now=now)
        if gate is not None and gate == gate_of(run):
            # If the run was woken for a free slot, the next run gets that slot.
            await leave_gate(transaction, kernel.clock, run)
        return await transaction.find_run(run.id) or run


async def _resume(kernel: Kernel, run_id: str) -> Run:
    async with kernel.store.transaction(timeout=kernel.config.transaction_timeout) as transaction:
        run = await lock_head(transaction, run_id)
        if run is None:
            raise RunNotFoundError(run_id)
        if run.status.is_terminal:
            raise RunStateError(run.id, run.status, "resumed: it has ended")
        if not run.is_paused:
            return run
        now = kernel.clock.now()
        changes: RunChanges = {"tags": tuple(tag for tag in run.tags if tag != PAUSED_TAG)}
        if run.status is RunStatus.SUSPENDED:
            # Wake the run, because its delivery may have come. A run that has not begun keeps the delay of its start.
            changes["wake_at"] = max(now, await _beginning(transaction, run) or now)
        await transaction.update_run(run.id, changes)
        if run.status is RunStatus.RUNNING:
            # Its turn may be about to suspend it.
            await transaction.wake_run(run.id, now=now)
        await leave_trace(transaction, run.id, "resume", {}, now=now)
        return await transaction.find_run(run.id) or run


async def _details(transaction: StoreTransaction, run: Run) -> dict[str, int]:
    """Return what the trace of a pause records: when a run that has not begun was to begin. Nothing else stores
    that.
    """
    if run.status is not RunStatus.SUSPENDED or run.wake_at is None:
        return {}
    has_begun = await has_history(transaction, run.id)
    has_begun = has_begun or bool(await transaction.list_signal_waiters(run_ids=[run.id], limit=1))
    return {} if has_begun else {_BEGINS_AT: to_millis(run.wake_at)}


async def _beginning(transaction: StoreTransaction, run: Run) -> datetime | None:
    """Return when the run begins, if it was paused during the delay of its start. Otherwise None."""
    traces = await transaction.list_checkpoints_by_name_prefix(run.id, [f"operator:{PAUSE_TRACE}"])
    latest = min(traces, key=lambda trace: trace.seq, default=None)
    details = None if latest is None else latest.output
    return from_millis(details[_BEGINS_AT]) if isinstance(details, dict) and _BEGINS_AT in details else None
