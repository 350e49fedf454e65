"""Runs that join one another at the same moment: whatever the order of their commits, a ring of waits is refused."""

from collections.abc import Awaitable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from example_app.clients.postgresql import Prisma
from fastapi_durable.declare.definition import workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.runs.handle import RunHandle
from fastapi_durable.model.errors import ChildFailedError, FatalError
from fastapi_durable.model.records import RunStatus
from fastapi_durable.store.prisma import PrismaStateStore
from tests.support.crossing import Crossing, crossing
from tests.support.engine_rig import FAST, run_has, running_engine, tuned, until
from tests.support.interposed_store import interposed

pytestmark = pytest.mark.postgres

# Nobody waits for a row that a held transaction has locked in order to renew its lease.
PATIENT = tuned(FAST, lease=timedelta(minutes=5))


class Joins:
    """Holds transactions in which a run begins to wait for another one, right before they commit."""

    def __init__(self) -> None:
        self.crossing: Crossing | None = None

    async def between(self, name: str, call: "partial[Awaitable[Any]]") -> Any:
        answer = await call()
        if self.crossing is not None and name == "put_signal_waiter" and call.args[0].token.startswith("child:"):
            await self.crossing.come()
        return answer


async def _awaited(store: PrismaStateStore, run_id: str) -> None:
    await until(lambda: store.find_signal_waiter(f"child:{run_id}"))


@workflow
async def joining(ctx: WorkflowContext, following: str) -> str | None:
    """The code of the refusal, wherever in the ring it was."""
    await ctx.wait_for_signal(f"{ctx.run_id} may join")
    try:
        return await ctx.child(joining, "", run_id=following)
    except ChildFailedError as error:
        return f"{ctx.run_id}: {error.code}"


async def test_a_ring_of_four_is_refused_though_the_joins_that_close_it_see_different_halves(postgres_url: str) -> None:
    joins = Joins()
    async with Prisma(datasource={"url": postgres_url}) as client, crossing(postgres_url, 2) as meeting:
        store = PrismaStateStore(client)
        async with running_engine(interposed(store, joins.between), joining, config=PATIENT) as engine:
            names = ["north", "east", "south", "west"]
            handles: list[RunHandle[Any]] = []
            for number, name in enumerate(names):
                handles.append(await engine.start(joining, names[(number + 1) % 4], run_id=name))
                await until(run_has(store, name, RunStatus.SUSPENDED))
            for name, following in (("north", "east"), ("south", "west")):
                await engine.signal(f"{name} may join")
                await _awaited(store, following)
            joins.crossing = meeting
            await engine.signal("east may join")
            await engine.signal("west may join")
            results = {str(await handle.result("60s")) for handle in handles}
            assert results in ({"east: child_cycle"}, {"west: child_cycle"})


@workflow
async def parent(ctx: WorkflowContext) -> str | None:
    """Goes on from a child's failure, and joins it again, since a retry of it may yet succeed."""
    with pytest.raises(ChildFailedError):
        await ctx.child(tried, "fail", run_id="tried")
    await ctx.wait_for_signal("parent may join")
    try:
        return await ctx.child(tried, "fail", run_id="tried")
    except ChildFailedError as error:
        return f"parent: {error.error.message}"


@workflow
async def tried(ctx: WorkflowContext, what: str) -> str | None:
    if what == "fail":
        raise FatalError("as it was told")
    await ctx.wait_for_signal("retry may join")
    try:
        return await ctx.child(third, run_id="third")
    except ChildFailedError as error:
        return f"retry: {error.error.message}"


@workflow
async def third(ctx: WorkflowContext) -> str | None:
    return await ctx.child(parent, run_id="parent")


async def test_a_ring_through_a_retry_is_refused_though_its_joins_have_no_run_in_common(postgres_url: str) -> None:
    """The parent begins to wait for the child that has failed, while the retry of it begins to wait for a third run.

    Whichever comes second is refused, and told which run waits.
    """
    joins = Joins()
    async with Prisma(datasource={"url": postgres_url}) as client, crossing(postgres_url, 2) as meeting:
        store = PrismaStateStore(client)
        refusal = "itself waits for the end of {}, so neither would end"
        async with running_engine(interposed(store, joins.between), parent, tried, third, config=PATIENT) as engine:
            handle = await engine.start(parent, run_id="parent")
            await until(run_has(store, "tried", RunStatus.FAILED))
            retry = await engine.retry_with_input("tried", "join")
            await engine.start(third, run_id="third")
            await _awaited(store, "parent")
            await until(run_has(store, retry.id, RunStatus.SUSPENDED))
            joins.crossing = meeting
            await engine.signal("parent may join")
            await engine.signal("retry may join")
            assert await handle.result("60s") in (
                f"parent: run '{retry.id}', a retry of 'tried', {refusal.format(repr('parent'))}",
                f"retry: run 'third' {refusal.format(repr(retry.id))}",
            )
