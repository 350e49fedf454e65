"""Marks runs as blocked that no worker can drive, because none has their workflow in their version.

They stay claimable: a worker that knows the workflow takes them at its next poll. The status tells people why nothing
happens, and that the runs do not just wait in a long queue. A run that is being cancelled keeps its status, or its
cancel would be forgotten.
"""

import logging
from datetime import timedelta
from typing import Final

from fastapi_durable.engine.core.conflict import retry_conflicts
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.model.records import ErrorRecord, Run, RunChanges, RunStatus

_log = logging.getLogger("fastapi_durable")

CAPABILITY_UNAVAILABLE: Final = "capability.unavailable"
_BATCH: Final = 100


async def show_blocked(kernel: Kernel, *, alive_within: timedelta) -> int:
    """Mark one batch of runs that have waited for longer than `alive_within` and whose workflow no live worker
    knows.
    """
    store, namespace = kernel.store, kernel.config.namespace
    overdue = kernel.clock.now() - alive_within
    served = {f"{name}@{version}" for name, version in kernel.registry.keys}
    for worker in await store.list_workers(since=overdue):
        if namespace is None or worker.namespace in (None, namespace):
            served.update(worker.workflows)
    shown = 0
    for run in await store.list_stranded_runs(overdue, served=served, limit=_BATCH, namespace=namespace):
        shown += await retry_conflicts(kernel.clock, lambda: _show(kernel, run))  # noqa: B023 (awaited here)
    return shown


async def _show(kernel: Kernel, run: Run) -> bool:
    now = kernel.clock.now()
    error = ErrorRecord(
        message=f"no worker knows workflow {run.workflow!r} in version {run.workflow_version!r}",
        code=CAPABILITY_UNAVAILABLE,
        retryable=True,
    )
    # Due at once, so that a worker that knows the workflow can claim it.
    changes: RunChanges = {
        "status": RunStatus.BLOCKED,
        "wake_at": now,
        "error": error,
        "locked_by": None,
        "locked_until": None,
        "updated_at": now,
    }
    if run.status is RunStatus.RUNNING and run.locked_by is not None:
        # Its process died. Count that here, because the claim of a blocked run does not.
        changes["recovery_attempts"] = (run.recovery_attempts or 0) + 1
    async with kernel.store.transaction() as transaction:
        # The run was claimed, renewed, woken or ended since it was listed, so a worker knows it.
        if await transaction.lock_run(run.id) != run:
            return False
        await transaction.update_run(run.id, changes)
    _log.warning("run %s is blocked: %s", run.id, error.message)
    return True
