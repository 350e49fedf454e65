"""Search attributes: typed, merged, removable, the same on every replay."""

import pytest
from pydantic import BaseModel

from fastapi_durable.declare.definition import workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import InputValidationError
from fastapi_durable.model.records import AttributeFilter, RunQuery
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import build_engine, running_engine
from tests.support.stores import on_every_store


class OrderAttributes(BaseModel):
    customer: str
    cents: int = 0
    vip: bool | None = None


@workflow(search_attributes=OrderAttributes)
async def order(ctx: WorkflowContext) -> list[object]:
    seen: list[object] = [dict(await ctx.upsert_search_attributes({"cents": 5, "vip": True}))]
    seen.append(dict(await ctx.upsert_search_attributes({"vip": None})))
    try:
        await ctx.upsert_search_attributes({"cents": "many"})
    except InputValidationError:
        seen.append("refused")
    await ctx.sleep("1ms")
    seen.append(dict(await ctx.upsert_search_attributes(OrderAttributes(customer="b"))))
    return seen


@on_every_store
async def test_attributes_are_merged_removed_and_checked(store: StateStore) -> None:
    """A key that is None goes, a value that does not fit changes nothing, and the body sees the same on a replay."""
    async with running_engine(store, order) as engine:
        handle = await engine.start(order, search_attributes={"customer": "a"})
        first = {"customer": "a", "cents": 5}
        assert await handle.result("60s") == [{**first, "vip": True}, first, "refused", {**first, "customer": "b"}]
    assert (await handle.run()).search_attributes == {"customer": "b", "cents": 5}
    found = await store.list_runs(RunQuery(attributes=(AttributeFilter("cents", "eq", 5),)))
    assert [run.id for run in found] == [handle.run_id]


@on_every_store
async def test_branches_that_change_attributes_at_once_lose_none(store: StateStore) -> None:
    """Each change is made of what is there, and not of what its turn had read."""

    async def mark(ctx: WorkflowContext, number: int) -> None:
        await ctx.upsert_search_attributes({f"branch {number}": number, "given": None})

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.gather(*(mark(ctx, number) for number in range(8)))

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow, search_attributes={"given": 1, "kept": True})
        await handle.result("60s")
    expected = {"kept": True, **{f"branch {number}": number for number in range(8)}}
    assert (await handle.run()).search_attributes == expected


@pytest.mark.parametrize("attributes", [{"customer": 5}, {"customer": "a", "cents": "x"}, {"cents": 1}])
async def test_attributes_that_do_not_fit_the_schema_start_nothing(attributes: dict[str, str | int]) -> None:
    store = MemoryStateStore()
    with pytest.raises(InputValidationError):
        await build_engine(store, order).start(order, search_attributes=attributes)
    assert await store.count_runs(RunQuery()) == 0


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 2**53 + 1, ["list"], {"a": 1}])
async def test_a_value_that_cannot_be_searched_is_refused(value: object) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        try:
            await ctx.upsert_search_attributes({"key": value})
        except InputValidationError:
            return "refused"
        return "taken"

    async with running_engine(MemoryStateStore(), flow) as engine:
        assert await (await engine.start(flow)).result("60s") == "refused"
