"""Waits in a test until no run can continue without a message or a later time."""

import asyncio
from datetime import timedelta

from fastapi_durable.app.runtime import DurableRuntime
from fastapi_durable.model.duration import Duration, parse_duration
from fastapi_durable.model.records import Run, RunQuery, RunStatus

_LOOK = timedelta(milliseconds=1)
_ALIVE = frozenset(status for status in RunStatus if not status.is_terminal)
_PAGE = 100


async def settled(runtime: DurableRuntime, *, timeout: Duration = "10s") -> None:
    """Return when every run has ended, or waits for a message or for a later time.

    Args:
        runtime: Runtime of a module that runs with a worker, as `durable.running()` yields it.
        timeout: Maximum real time to wait.

    Raises:
        TimeoutError: some runs are still driven, or wait in a queue. The message names them.
    """
    limit = parse_duration(timeout)
    under_way: list[Run] = []
    try:
        async with asyncio.timeout(limit.total_seconds()):
            while under_way := await _under_way(runtime):
                # Moving the clock notifies no worker, which would find the due runs only at its next poll.
                runtime.kernel.notifications.work_available()
                await asyncio.sleep(_LOOK.total_seconds())
    except TimeoutError:
        named = ", ".join(f"{run.id!r} ({run.workflow}, {run.status})" for run in under_way)
        raise TimeoutError(f"these runs are still under way after {limit}: {named}") from None


async def _under_way(runtime: DurableRuntime) -> list[Run]:
    now, found = runtime.kernel.clock.now(), list[Run]()
    query = RunQuery(statuses=_ALIVE, limit=_PAGE)
    while page := await runtime.store.list_runs(query):
        found += [run for run in page if not _waits(run) or (run.wake_at is not None and run.wake_at <= now)]
        query = RunQuery(statuses=_ALIVE, limit=_PAGE, before=(page[-1].created_at, page[-1].id))
    return found


def _waits(run: Run) -> bool:
    return run.status in (RunStatus.SUSPENDED, RunStatus.BLOCKED)
