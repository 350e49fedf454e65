"""Which runs an operator may retry, and what of them a retry takes over."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fastapi_durable.declare.definition import workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.errors import RunFailedError, RunStateError
from fastapi_durable.model.records import ErrorRecord, Run, RunStatus
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import build_engine, running_engine
from tests.support.stores import on_every_store

RETRIED = {RunStatus.FAILED, RunStatus.DEAD, RunStatus.BLOCKED}


@workflow(name="order")
async def first(ctx: WorkflowContext, good: bool) -> str:
    if not good:
        raise ValueError("no good")
    return "by version 1"


@workflow(name="order", version="2")
async def second(ctx: WorkflowContext, good: bool) -> str:
    return "by version 2"


@on_every_store
@pytest.mark.parametrize("status", [status for status in RunStatus if status not in RETRIED])
async def test_a_run_that_lives_completed_or_was_cancelled_is_left_as_it_is_with_its_lease(
    store: StateStore, status: RunStatus
) -> None:
    """Else a second worker would take it, beside the one that drives it, or it would be revived."""
    now = SystemClock().now()
    until_when = None if status.is_terminal else now + timedelta(hours=1)
    run = Run(
        id="r",
        workflow="order",
        workflow_version="1",
        status=status,
        error=ErrorRecord(message="why") if status is RunStatus.CANCELLED else None,
        locked_by=None if status.is_terminal else "the worker that drives it",
        locked_until=until_when,
        recovery_attempts=1,
        created_at=now,
        updated_at=now,
    )
    await store.create_run(run)
    with pytest.raises(RunStateError, match=str(status)):
        await build_engine(store, first).retry("r")
    assert await store.find_run("r") == run
    assert await store.list_checkpoints("r") == []


@on_every_store
async def test_a_retry_with_input_is_of_the_version_that_failed(store: StateStore) -> None:
    """A newer one may take another input, or mean something else by it."""
    async with running_engine(store, first, second) as engine:
        handle = await engine.start(first, False)
        with pytest.raises(RunFailedError):
            await handle.result("60s")
        retried: Any = await engine.retry_with_input(handle.run_id, True)
        assert await engine.handle(retried.id).result("60s") == "by version 1"


@on_every_store
async def test_a_retried_run_has_no_trace_of_its_failure_left_but_in_its_history(store: StateStore) -> None:
    """Its error and its crashes are no longer its own; what its row says is what is so now."""
    engine, now = build_engine(store, first), SystemClock().now()
    failed = Run(
        id="r",
        workflow="order",
        workflow_version="1",
        status=RunStatus.DEAD,
        input=True,
        error=ErrorRecord(message="it died", code="max_recovery_attempts"),
        recovery_attempts=7,
        created_at=now,
        updated_at=now,
    )
    await store.create_run(failed)
    retried = await engine.retry("r")
    assert replace(retried, updated_at=now) == replace(
        failed, status=RunStatus.PENDING, error=None, recovery_attempts=0, wake_count=retried.wake_count
    )
    (trace,) = await store.list_checkpoints("r")
    assert (trace.output["status"], trace.output["error"]["code"]) == ("dead", "max_recovery_attempts")
