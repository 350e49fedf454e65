"""What comes to a run that somebody has locked waits, and then meets what that has left."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from example_app.clients.postgresql import Prisma
from fastapi_durable.declare.definition import workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.core.notifications import Notifications
from fastapi_durable.engine.core.run_streams import Draft
from fastapi_durable.engine.core.stream_writer import StreamWriter
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.errors import RunStateError, StoreUnavailableError
from fastapi_durable.model.records import Run, RunStatus, StreamRow, StreamRowKind
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.prisma import PrismaStateStore
from tests.support.crossing import Held, crossing, ends, locks, looks_at
from tests.support.engine_rig import FAST, build_engine, run_has, running_engine, tuned, until
from tests.support.interposed_store import interposed

pytestmark = pytest.mark.postgres

PATIENT = tuned(FAST, lease=timedelta(minutes=5))


@workflow
async def patient(ctx: WorkflowContext) -> str:
    return await ctx.wait_for_signal("go", str)


@pytest.mark.parametrize("compensate", [False, True], ids=["at once", "with undo"])
async def test_a_signal_for_a_run_that_an_operator_has_found_alive_comes_behind_the_cancel(
    compensate: bool, postgres_url: str
) -> None:
    """Else the run ends by itself, and is reported as cancelled, or lives again in order to be undone."""
    async with Prisma(datasource={"url": postgres_url}) as client, crossing(postgres_url, 2) as meeting:
        store, held = PrismaStateStore(client), Held(meeting)
        operator = build_engine(held.behind(store, looks_at("r")), patient)
        async with running_engine(held.behind(store, ends("r")), patient, config=PATIENT) as engine:
            await engine.start(patient, run_id="r")
            await until(run_has(store, "r", RunStatus.SUSPENDED))
            held.armed = True
            cancelling = asyncio.create_task(operator.cancel("r", compensate=compensate))
            await until(meeting.has_begun)
            await engine.signal("go", "on")
            cancelled = await cancelling
            await until(run_has(store, "r", RunStatus.CANCELLED, RunStatus.COMPLETED))
            assert cancelled.status in (RunStatus.CANCELLED, RunStatus.CANCELLING)
            ended = await store.find_run("r")
            assert ended is not None
            assert ended.status is RunStatus.CANCELLED
    assert held.conflicts == []
    assert meeting.waited == 1, "they did not meet"


@workflow
async def joining(ctx: WorkflowContext) -> str:
    return await ctx.child(patient, run_id="r")


async def test_a_run_that_ends_while_another_one_begins_to_wait_for_it_is_not_waited_for_in_vain(
    postgres_url: str,
) -> None:
    async with Prisma(datasource={"url": postgres_url}) as client, crossing(postgres_url, 2) as meeting:
        store, held = PrismaStateStore(client), Held(meeting)
        both = held.behind(held.behind(store, looks_at("r")), ends("r"))
        async with running_engine(both, joining, patient, config=PATIENT) as engine:
            await engine.start(patient, run_id="r")
            await until(run_has(store, "r", RunStatus.SUSPENDED))
            held.armed = True
            parent_handle = await engine.start(joining)
            await until(meeting.has_begun)
            await engine.signal("go", "on")
            assert await parent_handle.result("60s") == "on"
    assert held.conflicts == []
    assert meeting.waited == 1, "they did not meet"


async def ends_task(engine: WorkflowService) -> bool:
    try:
        return await engine.complete_task("r", "count")
    except RunStateError:
        return False


async def offers_update(engine: WorkflowService) -> bool:
    return (await engine.update("r", "address", "7 Low Road")).accepted


@pytest.mark.parametrize("report", [ends_task, offers_update])
async def test_what_comes_for_a_run_while_it_is_cancelled_is_refused(
    report: Callable[[WorkflowService], Awaitable[bool]], postgres_url: str
) -> None:
    """Not accepted, and kept for nobody."""
    async with Prisma(datasource={"url": postgres_url}) as client, crossing(postgres_url, 2) as meeting:
        store, held = PrismaStateStore(client), Held(meeting)
        operator = build_engine(held.behind(store, locks("r")), patient)
        outside = build_engine(held.behind(store, lambda name, _: name == "commit"), patient)
        await build_engine(store, patient).start(patient, run_id="r")
        held.armed = True
        cancelling = asyncio.create_task(operator.cancel("r"))
        await until(meeting.has_begun)
        assert not await report(outside)
        await cancelling
    assert meeting.waited == 1, "they did not meet"


@workflow(on_event="changed", debounce="1h")
async def index(ctx: WorkflowContext, changed: int) -> int:
    return changed


ACCUMULATOR = "__evtacc__:index"


async def collected(store: StateStore) -> list[int]:
    rows = await store.list_checkpoints(ACCUMULATOR)
    return [row.output["payload"] for row in rows if row.name == f"signal:{ACCUMULATOR}" and row.output is not None]


async def failed_accumulator(store: StateStore) -> None:
    """It has one event."""
    async with running_engine(store, index, config=PATIENT) as engine:
        await engine.publish_event("changed", 1)
        await until(lambda: collected(store))
        await until(run_has(store, ACCUMULATOR, RunStatus.SUSPENDED))
    await store.update_run(ACCUMULATOR, {"status": RunStatus.FAILED})


async def test_an_accumulator_that_is_retried_while_an_event_finds_it_failed_keeps_what_it_collected(
    postgres_url: str,
) -> None:
    found, go_on = asyncio.Event(), asyncio.Event()

    async def between(name: str, call: "partial[Awaitable[Any]]") -> Any:
        answer = await call()
        if name == "create_run":
            found.set()
            await go_on.wait()
        return answer

    async with Prisma(datasource={"url": postgres_url}) as client:
        store = PrismaStateStore(client)
        await failed_accumulator(store)
        publisher, operator = build_engine(interposed(store, between), index), build_engine(store, index)
        publishing = asyncio.create_task(publisher.publish_event("changed", 2))
        await found.wait()
        await operator.retry(ACCUMULATOR)
        go_on.set()
        await publishing
        assert await collected(store) == [1, 2]


async def test_an_accumulator_that_an_event_begins_anew_is_not_retried_meanwhile(postgres_url: str) -> None:
    """The retry would promise what the event takes away."""
    async with Prisma(datasource={"url": postgres_url}) as client, crossing(postgres_url, 2) as meeting:
        store, held = PrismaStateStore(client), Held(meeting)
        await failed_accumulator(store)
        publisher = build_engine(held.behind(store, looks_at(ACCUMULATOR)), index)
        operator = build_engine(held.behind(store, lambda name, _: name == "commit"), index)
        held.armed = True
        publishing = asyncio.create_task(publisher.publish_event("changed", 2))
        await until(meeting.has_begun)
        with pytest.raises(RunStateError, match="pending"):
            await operator.retry(ACCUMULATOR)
        await publishing
        assert await collected(store) == [2]
    assert held.conflicts == []
    assert meeting.waited == 1, "they did not meet"


async def test_an_item_behind_an_append_that_gave_no_answer_waits_for_its_end(postgres_url: str) -> None:
    """That may still commit: its offset must not be given to another item."""
    now, began = SystemClock().now(), asyncio.Event()
    owned = Run(
        id="r",
        workflow="driven",
        workflow_version="1",
        status=RunStatus.RUNNING,
        locked_by="token",
        locked_until=now + timedelta(minutes=5),
        created_at=now,
        updated_at=now,
    )
    async with Prisma(datasource={"url": postgres_url}) as client, crossing(postgres_url, 2) as meeting:
        store = PrismaStateStore(client)
        await store.create_run(owned)
        streams = StreamWriter(store, SystemClock(), PATIENT, Notifications()).of("r", "token")

        async def commit_late(rows: Sequence[StreamRow]) -> None:
            async with store.transaction() as transaction:
                await transaction.append_stream_rows(rows, tokens={"r": "token"})
                began.set()
                await meeting.come()

        async def give_up(rows: Sequence[StreamRow]) -> tuple[None, bool]:
            late.append(asyncio.create_task(commit_late(rows)))
            await began.wait()
            raise StoreUnavailableError("no answer")

        late: list[asyncio.Task[None]] = []
        with pytest.raises(StoreUnavailableError):
            await streams.commit("words", [Draft(StreamRowKind.ITEM, "one")], give_up)
        await streams.add("words", Draft(StreamRowKind.ITEM, "two"))
        await streams.flush()
        await late[0]
        assert [row.data for row in await store.read_stream_rows("r", "words", limit=9)] == ["one", "two"]
    assert meeting.waited == 1, "they did not meet"
