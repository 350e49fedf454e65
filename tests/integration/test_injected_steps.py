"""Dependencies in steps and workflows, from the decorator to the recorded result."""

import asyncio
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Request, WebSocket

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    DurableRuntime,
    MemoryStateStore,
    RunFailedError,
    RunGatewayDep,
    StateStoreDep,
    StepFailedError,
    WorkflowContext,
    WorkflowEngineDep,
    WorkflowServiceDep,
    app_scoped,
    fixed,
    step,
    workflow,
)
from tests.integration.order_desk import checkout, get_gateway, order_desk, receipt_of, serving


@asynccontextmanager
async def running(
    *workflows: Callable[..., Any], overrides: dict[Callable[..., Any], Callable[..., Any]] | None = None
) -> AsyncIterator[DurableRuntime]:
    durable = DurableModule.for_root(DurableOptions(store=MemoryStateStore()), workflows=workflows)
    async with durable.running(dependency_overrides=overrides) as runtime:
        yield runtime


async def test_an_override_of_the_application_reaches_its_steps() -> None:
    durable = DurableModule.for_root(DurableOptions(store=MemoryStateStore()), workflows=[checkout])
    app = order_desk(durable.lifespan)
    async with serving(app) as client:
        app.dependency_overrides[get_gateway] = lambda: "fake gateway"
        assert await receipt_of(client, "1") == "order 1 by fake gateway"
        app.dependency_overrides.clear()
        assert await receipt_of(client, "2") == "order 2 by card gateway"


async def test_each_attempt_has_dependencies_of_its_own_and_each_sees_its_own_error() -> None:
    events: list[str] = []

    async def session() -> AsyncIterator[int]:
        number = len([event for event in events if event.startswith("open")])
        events.append(f"open {number}")
        try:
            yield number
        except ValueError as error:
            events.append(f"roll back {number}: {error}")
            raise
        else:
            events.append(f"commit {number}")

    @step(max_attempts=3, backoff=fixed("1ms"))
    async def write(*, session: Annotated[int, Depends(session)]) -> int:
        if session < 2:
            raise ValueError("conflict")
        return session

    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        return await ctx.step(write)

    async with running(flow) as runtime:
        assert await runtime.service.execute(flow, timeout="60s") == 2
    assert events == [
        "open 0",
        "roll back 0: conflict",
        "open 1",
        "roll back 1: conflict",
        "open 2",
        "commit 2",
    ]


async def test_dependencies_are_cleaned_up_when_an_attempt_times_out() -> None:
    events: list[str] = []

    async def client() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.sleep(0)
            events.append("closed")

    @step(timeout=timedelta(milliseconds=20))
    async def hang(*, _: Annotated[None, Depends(client)]) -> None:
        await asyncio.Event().wait()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(hang)

    async with running(flow) as runtime:
        with pytest.raises(RunFailedError):
            await runtime.service.execute(flow, timeout="60s")
    assert events == ["closed"]


async def test_a_dependency_that_fails_fails_the_attempt() -> None:
    attempts: list[int] = []

    async def connection() -> str:
        attempts.append(1)
        if len(attempts) == 1:
            raise ConnectionError("not yet")
        return "connection"

    @step(max_attempts=2, backoff=fixed("1ms"))
    async def use(*, connection: Annotated[str, Depends(connection)]) -> str:
        return connection

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        return await ctx.step(use)

    async with running(flow) as runtime:
        assert await runtime.service.execute(flow, timeout="60s") == "connection"


async def test_a_step_that_needs_a_request_fails_without_being_tried_again() -> None:
    @step(max_attempts=5)
    async def charge(*, request: Request) -> None:
        pytest.fail("the step was executed")

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        try:
            await ctx.step(charge)
        except StepFailedError as error:
            return f"{error.attempts}: {error.error.message}"
        return "executed"

    async with running(flow) as runtime:
        said = await runtime.service.execute(flow, timeout="60s")
    assert said.startswith("1: parameter 'request' of step 'charge' is bound to a request (Request)")


async def test_steps_get_the_parts_of_the_library_that_routes_get() -> None:
    given: list[Any] = []

    @step
    async def look(
        *,
        store: StateStoreDep,
        service: WorkflowServiceDep,
        engine: WorkflowEngineDep,
        gateway: RunGatewayDep,
    ) -> None:
        given.extend([store, service, engine, gateway])

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(look)

    async with running(flow) as runtime:
        await runtime.service.execute(flow, timeout="60s")
        assert given == [runtime.store, runtime.service, runtime.service, runtime.service]


class Desk:
    """Steps as methods of an object, which is injected into the workflow."""

    def __init__(self, gateway: Annotated[str, Depends(get_gateway)]) -> None:
        self.gateway = gateway

    @step
    async def charge(self, cents: int, *, service: WorkflowServiceDep) -> str:
        assert service is not None
        return f"{cents} by {self.gateway}"

    @step(name="refund it")
    def refund(self, cents: int) -> str:
        return f"refunded {cents}"


@workflow
async def with_desk(ctx: WorkflowContext, cents: int, *, desk: Annotated[Desk, Depends()]) -> list[str]:
    return [await ctx.step(desk.charge, cents), await ctx.step(desk.refund, cents)]


async def test_methods_of_an_injected_object_are_steps() -> None:
    async with running(with_desk) as runtime:
        assert await runtime.service.execute(with_desk, 7, run_id="run", timeout="60s") == [
            "7 by card gateway",
            "refunded 7",
        ]
        detail = await runtime.service.get_run_detail("run")
        assert detail is not None
        assert [checkpoint.name for checkpoint in detail.timeline] == ["Desk.charge", "refund it"]


async def test_a_workflow_s_own_dependencies_are_made_for_each_turn_and_cleaned_up() -> None:
    events: list[str] = []

    async def resource() -> AsyncIterator[str]:
        events.append("open")
        try:
            yield "resource"
        finally:
            events.append("close")

    @workflow
    async def flow(ctx: WorkflowContext, *, resource: Annotated[str, Depends(resource)]) -> str:
        await ctx.wait_for_signal("go")
        return resource

    async with running(flow) as runtime:
        handle = await runtime.service.start(flow, run_id="run")
        async with asyncio.timeout(60):
            while not await runtime.service.waiting_for(["run"]):  # noqa: ASYNC110 (the store has no event for it)
                await asyncio.sleep(0.002)
        assert await runtime.service.signal("go")
        assert await handle.result("60s") == "resource"
    assert events in (["open", "close"] * 2, ["open", "close"])


async def test_a_websocket_gets_what_routes_and_steps_get() -> None:
    durable = DurableModule.for_root(DurableOptions(store=MemoryStateStore()), workflows=[checkout])
    get_client = app_scoped(object)
    app = FastAPI(lifespan=durable.lifespan)
    given: list[object] = []

    @app.get("/")
    async def read(client: Annotated[object, Depends(get_client)], workflows: WorkflowServiceDep) -> None:
        given.append((client, workflows))

    @app.websocket("/socket")
    async def talk(
        socket: WebSocket, client: Annotated[object, Depends(get_client)], workflows: WorkflowServiceDep
    ) -> None:
        await socket.accept()
        given.append((client, workflows))
        await socket.close()

    async with serving(app) as client:
        assert (await client.get("/")).status_code == 200
        assert await frames_of(app, "/socket") == ["websocket.accept", "websocket.close"]
    assert given[0] == given[1]


async def frames_of(app: FastAPI, path: str) -> list[str]:
    """What the server of a WebSocket at this path sends."""
    received = [{"type": "websocket.connect"}, {"type": "websocket.disconnect"}]
    sent: list[str] = []

    async def receive() -> dict[str, Any]:
        return received.pop(0)

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message["type"])

    scope = {"type": "websocket", "path": path, "raw_path": path.encode(), "headers": [], "query_string": b""}
    await app({**scope, "root_path": "", "scheme": "ws", "subprotocols": []}, receive, send)
    return sent
