"""`engine.retry`: take a run out of its failure and let it continue.

One transaction removes the failed and the undone rows from the history, requeues the children that failed the run, and
makes the run pending. A crash before the commit changes nothing. A second operator finds the run pending and is
refused.
"""

from typing import Any

from fastapi_durable.engine.core.conflict import retry_conflicts
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.operating.failed_rows import given_up
from fastapi_durable.engine.runs.chain import lead_chain, lock_head
from fastapi_durable.engine.runs.completion import child_token
from fastapi_durable.engine.runs.operator_log import leave_trace
from fastapi_durable.engine.runs.retries import has_better_retry
from fastapi_durable.model.errors import RunNotFoundError, RunStateError
from fastapi_durable.model.records import Run, RunChanges, RunStatus
from fastapi_durable.model.run_ids import is_hop
from fastapi_durable.store.base import StoreTransaction

_FAILED = frozenset({RunStatus.FAILED, RunStatus.DEAD})
RETRYABLE = _FAILED | {RunStatus.BLOCKED}


async def requeue(kernel: Kernel, run_id: str) -> Run:
    """Make a failed, dead or blocked run pending again.

    Returns:
        The run as it is now.

    Raises:
        RunNotFoundError: no run has this id.
        RunStateError: it has another status; nothing was changed.
    """
    run = await retry_conflicts(kernel.clock, lambda: _requeue(kernel, run_id))
    kernel.notifications.work_available()
    return run


async def _requeue(kernel: Kernel, run_id: str) -> Run:
    async with kernel.store.transaction(timeout=kernel.config.transaction_timeout) as transaction:
        await transaction.lock_name(child_token(run_id))
        run = await transaction.lock_run(run_id)
        if run is None:
            raise RunNotFoundError(run_id)
        if run.status not in RETRYABLE:
            raise RunStateError(run_id, run.status, "retried. Only failed, dead and blocked runs can be retried")
        await _requeue_tree(kernel, transaction, run, set())
        return await transaction.find_run(run_id) or run


async def _requeue_tree(kernel: Kernel, transaction: StoreTransaction, run: Run, seen: set[str]) -> None:
    seen.add(run.id)
    now = kernel.clock.now()
    details: dict[str, Any] = {"status": str(run.status), "error": None if run.error is None else run.error.to_json()}
    if run.status is not RunStatus.BLOCKED:
        history = await transaction.list_checkpoints(run.id)
        lost = given_up(history, run.error)
        await transaction.remove_checkpoints(run.id, list(lost.rows))
        details["given_up"] = [
            {
                "seq": row.seq,
                "name": row.name,
                "status": str(row.status),
                "error": None if row.error is None else row.error.to_json(),
            }
            for row in sorted(lost.rows.values(), key=lambda row: row.seq)
        ]
        for child_id, with_cancelled in lost.children.items():
            await _requeue_child(kernel, transaction, child_id, with_cancelled, seen)
    changes: RunChanges = {
        "status": RunStatus.PENDING,
        "error": None,
        "output": None,
        "wake_at": None,
        "locked_by": None,
        "locked_until": None,
        "recovery_attempts": 0,
        "updated_at": now,
    }
    if run.expires_at is not None:
        # Its timeout continued while it was failed, so it gets the same span again.
        changes["expires_at"] = now + (run.expires_at - run.created_at)
    await transaction.update_run(run.id, changes, statuses=(run.status,))
    if is_hop(run.id):
        # The run is live again, so the other ids of its chain must address it. Its ending had removed the chain's
        # waiter.
        await lead_chain(transaction, run)
    await transaction.wake_run(run.id, now=now)
    await leave_trace(transaction, run.id, "retry", details, now=now)


async def _requeue_child(
    kernel: Kernel, transaction: StoreTransaction, child_id: str, with_cancelled: bool, seen: set[str]
) -> None:
    """Requeue the last run of the child's chain, unless a retry of the child has completed or is still open."""
    child = await lock_head(transaction, child_id)
    if child is None or child.id in seen:
        return
    wanted = _FAILED | {RunStatus.CANCELLED} if with_cancelled else _FAILED
    if child.status in wanted and not await has_better_retry(transaction, child):
        await _requeue_tree(kernel, transaction, child, seen)
