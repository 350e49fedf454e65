"""Runs that replace another run: `<id>~retry~<8 characters>`, made by `engine.retry_with_input`.

Such a run belongs to the parent of its origin. If a parent waits for the origin, a success of the retry counts as the
origin's own. A failure counts only if no other retry can still succeed.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any

from fastapi_durable.engine.runs.chain import may_have_gone_on
from fastapi_durable.engine.runs.completion import child_token, completion, tell_waiter
from fastapi_durable.model.records import Run, RunQuery, RunStatus
from fastapi_durable.model.run_ids import next_run_id, origin_of
from fastapi_durable.store.base import StateStore, StoreTransaction

_LIMIT = 200


async def retries_of(store: StateStore, run: Run) -> list[Run]:
    """Return the runs that retry a child with other input. A run without a parent has none."""
    if run.parent_run_id is None:
        return []
    siblings = await store.list_runs(RunQuery(parent_run_id=run.parent_run_id, workflow=run.workflow, limit=_LIMIT))
    retries = {sibling.id: sibling for sibling in siblings if origin_of(sibling.id) == run.id}
    # A retry that continued as a new run has no result yet. The list also has the new run, which stands for it.
    return [each for each in retries.values() if not (may_have_gone_on(each) and next_run_id(each.id) in retries)]


async def success_of_retry(store: StateStore, run: Run) -> Run | None:
    """Return a completed retry of this run. None if there is none."""
    return next((retry for retry in await retries_of(store, run) if retry.status is RunStatus.COMPLETED), None)


async def has_better_retry(store: StateStore, run: Run) -> bool:
    """Return whether a retry of this run has completed, or may still complete."""
    return any(
        retry.status is RunStatus.COMPLETED or not retry.status.is_terminal for retry in await retries_of(store, run)
    )


async def open_retries(store: StateStore, run: Run) -> list[Run]:
    """Return the runs for whose end a parent of this run waits: the run itself, or its retries. Empty if its ending is
    final.
    """
    if not run.status.is_terminal:
        return [run]
    if run.status is RunStatus.COMPLETED:
        return []
    retries = await retries_of(store, run)
    if any(retry.status is RunStatus.COMPLETED for retry in retries):
        return []
    return [retry for retry in retries if not retry.status.is_terminal]


async def tell_waiter_of_origin(
    transaction: StoreTransaction, run: Run, ended: dict[str, Any], *, now: datetime
) -> None:
    """Deliver the ending of a retry to the parent that waits for the origin, in the transaction that ends the retry."""
    origin_id = origin_of(run.id)
    if origin_id is None or await transaction.find_signal_waiter(child_token(origin_id)) is None:
        return
    if not ended.get("ok"):
        origin = await transaction.find_run(origin_id)
        # An operator may have deleted the origin. Its retries have the same parent and workflow as this one.
        retries = await retries_of(transaction, origin or replace(run, id=origin_id))
        rivals = [retry for retry in retries if retry.id != run.id]
        if any(not rival.status.is_terminal for rival in ([*rivals, origin] if origin else rivals)):
            return
        if origin is not None:
            ended = completion(origin.status, origin.output, origin.error)
    await tell_waiter(transaction, origin_id, ended, now=now)
