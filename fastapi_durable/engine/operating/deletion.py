"""`engine.delete_run`: remove a run and everything below it.

Children are deleted before their parents, and each run with all its rows in one transaction. So a crash leaves whole
runs, and the same call deletes the rest. A live run is refused before anything is removed.
"""

import logging

from fastapi_durable.engine.core.conflict import retry_conflicts
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.cancellation import cancel
from fastapi_durable.model.errors import RunNotFoundError, RunStateError
from fastapi_durable.model.records import Run, RunQuery
from fastapi_durable.store.base import StateStore

_log = logging.getLogger("fastapi_durable")
_PAGE = 500


async def delete_run(kernel: Kernel, run_id: str, *, force: bool = False) -> int:
    """Delete a run and its descendants, and return how many.

    Args:
        force: Whether to cancel live runs first. Callers that wait for them receive the cancellation.

    Raises:
        RunStateError: the run or a descendant is alive, and `force` is not set. Nothing was deleted.
    """
    root = await kernel.store.find_run(run_id)
    if root is None:
        return 0
    subtree = await _subtree(kernel.store, root)
    if force:
        for run in reversed(subtree):
            if not run.status.is_terminal:
                await _cancelled(kernel, run.id)
    elif (alive := next((run for run in reversed(subtree) if not run.status.is_terminal), None)) is not None:
        raise RunStateError(alive.id, alive.status, "deleted. Cancel it first, or delete it with force")
    removed = 0
    for run in subtree:
        removed += await retry_conflicts(kernel.clock, lambda run=run: _delete(kernel, run.id))  # type: ignore[misc]
    _log.warning("run %s: deleted by an operator, %s runs in all", run_id, removed)
    return removed


async def _subtree(store: StateStore, root: Run) -> list[Run]:
    """Return the run and its descendants, children before their parents."""
    found: dict[str, Run] = {}
    level = [root]
    while level:
        found.update((run.id, run) for run in level)
        level = [child for run in level for child in await _children(store, run.id) if child.id not in found]
    return list(reversed(found.values()))


async def _children(store: StateStore, run_id: str) -> list[Run]:
    children: list[Run] = []
    query = RunQuery(parent_run_id=run_id, limit=_PAGE)
    while page := await store.list_runs(query):
        children += page
        if len(page) < _PAGE:
            break
        last = page[-1]
        query = RunQuery(parent_run_id=run_id, limit=_PAGE, before=(last.created_at, last.id))
    return children


async def _cancelled(kernel: Kernel, run_id: str) -> None:
    try:
        await cancel(kernel, run_id)
    except RunNotFoundError:
        return


async def _delete(kernel: Kernel, run_id: str) -> int:
    async with kernel.store.transaction(timeout=kernel.config.transaction_timeout) as transaction:
        run = await transaction.lock_run(run_id)
        if run is None:
            return 0
        if not run.status.is_terminal:
            # Another operator has retried the run since it was read.
            raise RunStateError(run_id, run.status, "deleted: it was retried meanwhile. Cancel it first")
        return int(await transaction.delete_run(run_id))
