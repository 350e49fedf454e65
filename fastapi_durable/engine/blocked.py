"""Runs that no worker can drive, because none has their workflow in their version: shown as blocked.

They stay claimable the whole time: a worker that knows the workflow takes them at its next look. Blocked says to a
reader why nothing happens, and sets the runs apart from a queue that is merely long.
"""

import logging
from datetime import timedelta
from typing import Final

from fastapi_durable.engine.services import Services
from fastapi_durable.model import ErrorRecord, Run, RunStatus

_log = logging.getLogger("fastapi_durable")

CAPABILITY_UNAVAILABLE: Final = "capability.unavailable"
_BATCH: Final = 100


async def show_blocked(services: Services, *, alive_within: timedelta) -> int:
    """Mark one batch of runs that waited for longer than `alive_within`, and that no live worker knows."""
    store, now, namespace = services.store, services.clock.now(), services.config.namespace
    overdue = now - alive_within
    waiting = [
        *(
            each
            for each in await store.list_pending_runs(limit=_BATCH, namespace=namespace)
            if each.created_at < overdue
        ),
        *await store.list_due_timers(overdue, limit=_BATCH, namespace=namespace),
    ]
    if all(services.registry.find(run.workflow, run.workflow_version) is not None for run in waiting):
        return 0
    workers = await store.list_workers(since=overdue)
    known = {
        workflow
        for worker in workers
        if worker.namespace is None or worker.namespace == namespace or namespace is None
        for workflow in worker.workflows
    }
    shown = 0
    for run in waiting:
        if f"{run.workflow}@{run.workflow_version}" not in known:
            shown += await _show(services, run)
    return shown


async def _show(services: Services, run: Run) -> bool:
    now = services.clock.now()
    error = ErrorRecord(
        message=f"no worker knows workflow {run.workflow!r} in version {run.workflow_version!r}",
        code=CAPABILITY_UNAVAILABLE,
        retryable=True,
    )
    # Due at once: whoever knows it may take it at once. The wake count holds off a wake that came meanwhile.
    shown = await services.store.update_run(
        run.id,
        {"status": RunStatus.BLOCKED, "wake_at": now, "error": error, "updated_at": now},
        statuses=(run.status,),
        wake_count=run.wake_count,
    )
    if shown:
        _log.warning("run %s is blocked: %s", run.id, error.message)
    return shown
