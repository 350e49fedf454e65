"""The module starts and ends with the application."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    DurableRuntime,
    DurableSettings,
    InProcessTransport,
    MemoryStateStore,
    Queue,
    RunStatus,
    StateStoreDep,
    WorkflowContext,
    app_scoped,
    step,
    workflow,
)
from fastapi_durable.errors import (
    NotStartedError,
    SchemaMismatchError,
    StoreConflictError,
    StoreError,
    StoreUnavailableError,
)
from tests.integration.order_desk import Order, calling, charge, checkout, order_desk, receipt_of, serving
from tests.support.engine_rig import until
from tests.support.interposed_store import interposed


def ready_module(**options: Any) -> DurableModule:
    return DurableModule.for_root(
        DurableOptions(**{"store": MemoryStateStore(), "shutdown_timeout": "2s", **options}), workflows=[checkout]
    )


async def test_an_order_placed_by_a_route_is_driven_by_the_worker_in_the_same_process() -> None:
    async with serving(order_desk(ready_module().lifespan)) as client:
        assert await receipt_of(client, "7") == "order 7 by card gateway"


async def test_the_lifespan_composes_inside_one_of_the_application_s_own() -> None:
    durable = ready_module()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with durable.lifespan(app):
            yield

    async with serving(order_desk(lifespan)) as client:
        assert await receipt_of(client, "7") == "order 7 by card gateway"


async def test_a_router_that_brings_the_lifespan_too_enters_it_twice_without_harm() -> None:
    durable = ready_module()
    app = order_desk(durable.lifespan)
    app.include_router(APIRouter(lifespan=durable.lifespan))
    async with serving(app) as client:
        assert await receipt_of(client, "7") == "order 7 by card gateway"
        worker = durable.runtime(app).worker
        assert worker is not None
    assert not worker.health().alive


async def test_the_module_runs_until_the_last_of_several_lifespans_is_left() -> None:
    durable = ready_module()
    app = order_desk(None)
    first, second = durable.lifespan(app), durable.lifespan(app)
    await first.__aenter__()
    await second.__aenter__()
    await first.__aexit__(None, None, None)
    async with calling(app) as client:
        assert await receipt_of(client, "7") == "order 7 by card gateway"
        await second.__aexit__(None, None, None)
        with pytest.raises(NotStartedError):
            await receipt_of(client, "8")


async def test_an_application_can_be_started_again() -> None:
    app = order_desk(ready_module().lifespan)
    for order_id in ("1", "2"):
        async with serving(app) as client:
            assert await receipt_of(client, order_id) == f"order {order_id} by card gateway"


async def test_a_forgotten_lifespan_is_explained() -> None:
    async with calling(order_desk(None)) as client:
        with pytest.raises(NotStartedError, match=r"FastAPI\(lifespan=durable.lifespan\)"):
            await client.post("/orders", json={"id": "7"})


async def test_a_mounted_sub_application_is_not_started_by_its_parent() -> None:
    parent = FastAPI(lifespan=ready_module().lifespan)
    parent.mount("/desk", order_desk(None))
    async with serving(parent) as client:
        with pytest.raises(NotStartedError, match="mounted sub-application"):
            await client.post("/desk/orders", json={"id": "7"})


async def test_two_applications_with_one_module_do_not_see_each_other() -> None:
    durable = DurableModule.for_root_async(
        use_factory=lambda: DurableOptions(store=MemoryStateStore()), workflows=[checkout]
    )
    one, other = order_desk(durable.lifespan), order_desk(durable.lifespan)
    async with serving(one) as client:
        await receipt_of(client, "7")
        async with calling(other) as stranger:
            with pytest.raises(NotStartedError):
                await receipt_of(stranger, "7")
        async with serving(other):
            assert durable.runtime(one).store is not durable.runtime(other).store
            assert await durable.runtime(other).service.list_runs() == []
            assert len(await durable.runtime(one).service.list_runs()) == 1
        assert await receipt_of(client, "8") == "order 8 by card gateway"


@pytest.mark.parametrize("settings", [None, DurableSettings()])
async def test_two_applications_with_the_same_ready_options_are_two_workers(settings: DurableSettings | None) -> None:
    """Each has a row of its own that says that it lives, which the other one's end does not take away."""
    options = DurableOptions(store=MemoryStateStore(), settings=settings)
    durable = DurableModule.for_root(options, workflows=[checkout])
    async with durable.running() as one:
        async with durable.running():
            await until(lambda: workers_are(one, 2))
        await until(lambda: workers_are(one, 1))
    named = DurableModule.for_root(DurableOptions(store=MemoryStateStore(), instance_id="pod-7"), workflows=[checkout])
    async with named.running() as named_one:
        await until(lambda: workers_are(named_one, 1))
        assert [worker.id for worker in await named_one.service.workers()] == ["pod-7"]


async def workers_are(runtime: DurableRuntime, number: int) -> bool:
    return len(await runtime.service.workers()) == number


async def test_two_modules_in_one_application_are_told_apart_by_their_own_dependencies() -> None:
    stores = {"shop": MemoryStateStore(), "bank": MemoryStateStore()}
    shop = DurableModule.for_root(DurableOptions(store=stores["shop"]), workflows=[checkout])
    asked: list[object] = []

    @step
    async def look(*, store: StateStoreDep) -> None:
        asked.append(store)

    @workflow
    async def audit(ctx: WorkflowContext) -> None:
        await ctx.step(look)

    bank = DurableModule.for_root(DurableOptions(store=stores["bank"]), workflows=[audit])
    app = FastAPI()

    @app.get("/named")
    async def named(store: Annotated[Any, Depends(shop.state_store)]) -> bool:
        return store is stores["shop"]

    @app.get("/unnamed")
    async def unnamed(store: StateStoreDep) -> bool:
        return store is not None

    async with shop.lifespan(app), bank.lifespan(app), calling(app) as client:
        assert (await client.get("/named")).json() is True
        with pytest.raises(Exception, match="several durable modules"):
            await client.get("/unnamed")
        await bank.runtime(app).service.execute(audit, timeout="60s")
        assert asked == [stores["bank"]]


async def test_app_scoped_instances_are_entered_at_the_start_and_left_at_the_end() -> None:
    events: list[str] = []

    @app_scoped
    async def client() -> AsyncIterator[str]:
        events.append("connect")
        yield "client"
        events.append("disconnect")

    @app_scoped
    async def for_step(client: Annotated[str, Depends(client)]) -> AsyncIterator[str]:
        events.append("enter what the step needs")
        yield client
        events.append("leave what the step needs")

    @step
    async def use(*, it: Annotated[str, Depends(for_step)]) -> str:
        return it

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        return await ctx.step(use)

    durable = DurableModule.for_root_async(
        inject=[client],
        use_factory=lambda client: DurableOptions(store=MemoryStateStore()),
        workflows=[flow],
        steps=[use],
    )
    app = FastAPI(lifespan=durable.lifespan)
    async with app.router.lifespan_context(app):
        assert events == ["connect", "enter what the step needs"]
        assert await durable.runtime(app).service.execute(flow, timeout="60s") == "client"
    assert events == [
        "connect",
        "enter what the step needs",
        "leave what the step needs",
        "disconnect",
    ]


class _FailingStore(MemoryStateStore):
    def __init__(self, error: Exception | None) -> None:
        super().__init__()
        self.error = error

    async def ensure_schema(self) -> None:
        if self.error is None:
            await asyncio.Event().wait()
        else:
            raise self.error


@pytest.mark.parametrize(
    "error", [SchemaMismatchError("run `prisma migrate deploy`"), StoreError("refused"), OSError("disk")]
)
async def test_a_failed_start_leaves_what_was_entered_and_can_be_repeated(error: Exception) -> None:
    events: list[str] = []
    store = _FailingStore(error)

    @app_scoped
    async def client() -> AsyncIterator[str]:
        events.append("connect")
        yield "client"
        events.append("disconnect")

    durable = DurableModule.for_root_async(
        inject=[client], use_factory=lambda client: DurableOptions(store=store), workflows=[checkout]
    )
    app = order_desk(durable.lifespan)
    with pytest.raises(type(error)) as caught:
        async with app.router.lifespan_context(app):
            pytest.fail("the application was started")
    assert caught.value is error
    assert events == ["connect", "disconnect"]
    with pytest.raises(NotStartedError):
        durable.runtime(app)
    store.ensure_schema = MemoryStateStore().ensure_schema  # type: ignore[method-assign]
    async with serving(app) as http:
        assert await receipt_of(http, "7") == "order 7 by card gateway"
    assert events == ["connect", "disconnect"] * 2


async def test_a_database_that_does_not_answer_fails_the_start_within_the_startup_timeout() -> None:
    durable = ready_module(store=_FailingStore(None), startup_timeout="20ms")
    app = FastAPI()
    with pytest.raises(StoreUnavailableError, match=r"did not answer within 0.02 s .* DURABLE_STARTUP_TIMEOUT"):
        async with durable.lifespan(app):
            pytest.fail("the application was started")


@pytest.mark.parametrize("error", [StoreUnavailableError("cut"), StoreConflictError("undone")], ids=repr)
@pytest.mark.parametrize("call", ["ensure_schema", "save_queue"])
async def test_a_database_that_fails_at_the_start_is_asked_again(
    error: Exception, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [error, error]

    async def fail(name: str, asked: "partial[Awaitable[object]]") -> object:
        if name == call and failures:
            raise failures.pop()
        return await asked()

    store = interposed(MemoryStateStore(), fail)
    durable = DurableModule.for_root(
        DurableOptions(store=store, queues=[Queue("orders", concurrency=1)]), workflows=[checkout]
    )
    app = order_desk(durable.lifespan)
    async with serving(app) as http:
        assert await receipt_of(http, "7") == "order 7 by card gateway"
    assert not failures
    assert f"does not answer yet; the start tries again: {error}" in caplog.text


async def test_a_database_that_fails_for_longer_than_the_startup_timeout_fails_the_start() -> None:
    durable = ready_module(store=_FailingStore(StoreUnavailableError("no route")), startup_timeout="20ms")
    app = FastAPI()
    with pytest.raises(StoreUnavailableError, match=r"did not answer within 0.02 s of the start: no route\. "):
        async with durable.lifespan(app):
            pytest.fail("the application was started")


async def test_a_transport_that_starts_slowly_is_not_taken_for_a_store_that_does_not_answer() -> None:
    class Slow(InProcessTransport):
        async def start(self) -> None:
            await asyncio.sleep(0.3)
            await super().start()

    durable = ready_module(transport=Slow(), startup_timeout="200ms")
    async with serving(order_desk(durable.lifespan)) as http:
        assert await receipt_of(http, "7") == "order 7 by card gateway"


async def test_a_start_that_is_cancelled_leaves_what_was_entered() -> None:
    events: list[str] = []
    checking = asyncio.Event()

    class Slow(MemoryStateStore):
        async def ensure_schema(self) -> None:
            checking.set()
            await asyncio.Event().wait()

    @app_scoped
    async def client() -> AsyncIterator[str]:
        try:
            yield "client"
        finally:
            events.append("disconnect")

    durable = DurableModule.for_root_async(inject=[client], use_factory=lambda client: DurableOptions(store=Slow()))

    async def start() -> None:
        async with durable.lifespan(FastAPI()):
            pytest.fail("the application was started")

    task = asyncio.create_task(start())
    await checking.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert events == ["disconnect"]


async def test_a_cancelled_lifespan_still_ends_in_order() -> None:
    """A server that is told twice to stop cancels its lifespan; the lease must be handed back all the same."""
    in_step, go_on = asyncio.Event(), asyncio.Event()
    opened = asyncio.Event()

    @step
    async def wait() -> str:
        in_step.set()
        await go_on.wait()
        return "done"

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        return await ctx.step(wait)

    store = MemoryStateStore()
    durable = DurableModule.for_root(DurableOptions(store=store, shutdown_timeout="5s"), workflows=[flow])
    app = FastAPI()

    async def serve() -> None:
        async with durable.lifespan(app):
            await durable.runtime(app).service.start(flow, run_id="run")
            opened.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(serve())
    await opened.wait()
    await in_step.wait()
    task.cancel()
    await asyncio.wait({task}, timeout=0.01)
    task.cancel()
    asyncio.get_running_loop().call_soon(go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    run = await store.find_run("run")
    assert run is not None
    assert run.locked_by is None
    checkpoint = await store.find_checkpoint("run", 0)
    assert checkpoint is not None
    assert checkpoint.output == "done"


async def test_a_step_that_does_not_end_holds_the_shutdown_for_its_timeout_only() -> None:
    in_step = asyncio.Event()

    @step
    async def hang() -> None:
        in_step.set()
        await asyncio.Event().wait()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(hang)

    store = MemoryStateStore()
    durable = DurableModule.for_root(DurableOptions(store=store, shutdown_timeout="50ms"), workflows=[flow])
    app = FastAPI()
    async with durable.lifespan(app):
        await durable.runtime(app).service.start(flow, run_id="run")
        await in_step.wait()
        loop = asyncio.get_running_loop()
        begun = loop.time()
    assert loop.time() - begun < 2
    run = await store.find_run("run")
    assert run is not None
    assert run.status is not RunStatus.FAILED
    assert run.locked_by is None


async def test_a_client_that_does_not_disconnect_holds_the_shutdown_for_its_limit_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @app_scoped
    async def client() -> AsyncIterator[str]:
        yield "client"
        await asyncio.Event().wait()

    durable = DurableModule.for_root_async(
        inject=[client], use_factory=lambda client: DurableOptions(store=MemoryStateStore(), shutdown_timeout="0s")
    )
    with caplog.at_level(logging.ERROR, "fastapi_durable"):
        async with asyncio.timeout(60), durable.lifespan(FastAPI()):
            pass
    assert "clean-up of" in caplog.text


async def test_an_error_inside_the_lifespan_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with ready_module().lifespan(FastAPI()):
            raise ZeroDivisionError


async def test_a_module_without_a_web_application_drives_runs_too() -> None:
    durable = DurableModule.for_root(DurableOptions(store=MemoryStateStore()), workflows=[checkout], steps=[charge])
    async with durable.running() as runtime:
        receipt = await runtime.service.execute(checkout, Order(id="7"), timeout="60s")
    assert receipt.text == "order 7 by card gateway"
