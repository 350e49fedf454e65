"""A step that has ended is undone if its run fails, also if it is cancelled while its result is being stored."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from fastapi_durable import Undo, WorkflowContext, step, workflow
from fastapi_durable.model.errors import RunFailedError
from fastapi_durable.model.records import CheckpointStatus
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import FAST, running_engine, tuned
from tests.support.interposed_store import interposed
from tests.support.stores import on_every_store

PATIENT = tuned(FAST, lease=timedelta(minutes=5))


class Till:
    """Where steps pay and pay back, and the record of a payment is held up.

    Args:
        written: Whether the record is held when it is stored already, and not before.
    """

    def __init__(self, *, written: bool) -> None:
        self.recording = asyncio.Event()
        self.refused = asyncio.Event()
        self.go_on = asyncio.Event()
        self.paid_back: list[int] = []
        self._written = written

    async def between(self, name: str, call: "partial[Awaitable[Any]]") -> Any:
        if self.recording.is_set() or not _records_payment(name, call):
            return await call()
        if self._written:
            answer = await call()
        self.recording.set()
        await self.go_on.wait()
        return answer if self._written else await call()

    async def let_go(self) -> None:
        """Go on with the record, once everybody has come as far as without it."""
        await self.refused.wait()
        await asyncio.sleep(0.05)
        self.go_on.set()


def _records_payment(name: str, call: "partial[Awaitable[Any]]") -> bool:
    match name:
        case "record_checkpoint":
            rows = [call.args[0]]
        case "record_prepared":
            rows = [each.checkpoint for each in call.args[0]]
        case _:
            return False
    return any(row.name == "pay" and row.status is CheckpointStatus.COMPLETED for row in rows)


@step(name="pay")
async def pay_at_once() -> int:
    return 7


@step(name="pay")
def pay_in_thread() -> int:
    return 7


@pytest.fixture(params=[False, True], ids=["unwritten", "written"])
def till(request: pytest.FixtureRequest) -> Till:
    return Till(written=request.param)


@pytest.fixture(params=[False, True], ids=["recorded", "held"])
def store_may_hold(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, store: StateStore) -> None:
    """Whether the store can encode a result before it writes it."""
    if not request.param:
        monkeypatch.setattr(type(store), "prepare_checkpoint", lambda *_: None)


def flow_of(till: Till, pay: Any, *, waits_for_branch: bool) -> Any:
    @step
    async def pay_back(done: Undo[None, int]) -> None:
        till.paid_back.append(done.output)

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        async def refuse() -> None:
            await till.recording.wait()
            till.refused.set()
            raise ValueError("no")

        paying = ctx.step(pay, compensate=pay_back)
        if waits_for_branch:
            async with asyncio.TaskGroup() as group:
                group.create_task(paying)
                group.create_task(refuse())
        branch = asyncio.create_task(paying)
        await refuse()
        await branch

    return flow


@on_every_store
@pytest.mark.usefixtures("store_may_hold")
@pytest.mark.parametrize("pay", [pay_at_once, pay_in_thread], ids=["async", "def"])
@pytest.mark.parametrize("waits_for_branch", [True, False], ids=["group", "left"])
async def test_a_step_whose_result_is_being_stored_when_another_branch_fails_is_undone(
    store: StateStore, till: Till, pay: Any, waits_for_branch: bool
) -> None:
    flow = flow_of(till, pay, waits_for_branch=waits_for_branch)
    async with running_engine(interposed(store, till.between), flow, config=PATIENT) as engine:
        handle = await engine.start(flow)
        await till.let_go()
        with pytest.raises(RunFailedError):
            await handle.result("60s")
    assert till.paid_back == [7]
