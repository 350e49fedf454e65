"""Routes of the application answer the library's errors as the console's routes do: with problem documents."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel

from fastapi_durable import (
    DurableError,
    DurableModule,
    DurableOptions,
    FatalError,
    MemoryStateStore,
    RunStatus,
    Singleton,
    WorkflowContext,
    WorkflowServiceDep,
    workflow,
)
from fastapi_durable.errors import (
    ConfigurationError,
    DefinitionError,
    InjectionError,
    LeaseLostError,
    OutsideWorkflowError,
    RunFailedError,
    RunNotCommittedError,
    RunNotFoundError,
    SchemaMismatchError,
    SerializationError,
    StoreConflictError,
    StoreError,
    StoreUnavailableError,
    WorkflowNotRegisteredError,
)
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import run_has, until
from tests.support.new_stores import new_store, on_new_stores


class Order(BaseModel):
    id: str
    cents: int


@workflow
async def order(ctx: WorkflowContext, order: Order) -> int:
    return await ctx.wait_for_signal(f"paid:{order.id}", int)


@workflow
async def refund(ctx: WorkflowContext, order: Order) -> None: ...


@workflow(singleton=Singleton(key=lambda _: "only one", max_queue_depth=0))
async def inventory(ctx: WorkflowContext) -> None:
    await ctx.wait_for_signal("counted")


@workflow
async def declined(ctx: WorkflowContext) -> None:
    raise FatalError("card 4111 was declined")


def application(store: StateStore, raised: list[Exception] | None = None, **settings: Any) -> FastAPI:
    durable = DurableModule.for_root(
        DurableOptions(store=store, poll_interval="20ms", **settings), workflows=[order, refund, inventory, declined]
    )
    app = FastAPI(lifespan=durable.lifespan)
    durable.add_exception_handlers(app)
    app.include_router(durable.router(allow_unauthenticated=True), prefix="/durable")

    @app.post("/start/{name}/{run_id}")
    async def start(name: str, run_id: str, request: Request, workflows: WorkflowServiceDep) -> None:
        body = await request.body()
        await (
            workflows.start(name, await request.json(), run_id=run_id) if body else workflows.start(name, run_id=run_id)
        )

    @app.get("/runs/{run_id}")
    async def read(run_id: str, workflows: WorkflowServiceDep) -> str:
        return (await workflows.handle(run_id).run()).id

    @app.get("/runs/{run_id}/result")
    async def result(run_id: str, workflows: WorkflowServiceDep, timeout: str = "60s") -> Any:
        return await workflows.handle(run_id).result(timeout)

    @app.post("/runs/{run_id}/retry")
    async def retry(run_id: str, workflows: WorkflowServiceDep) -> None:
        await workflows.retry(run_id)

    @app.post("/signals/{token}")
    async def signal(token: str, request: Request, workflows: WorkflowServiceDep) -> bool:
        return await workflows.signal(token, await request.json())

    @app.get("/raise")
    async def fail() -> None:
        raise (raised or [])[0]

    return app


@asynccontextmanager
async def served(app: FastAPI, *, started: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    """A client that gets the 500 that a server makes of an exception."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        if not started:
            yield client
            return
        async with app.router.lifespan_context(app):
            yield client


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body["status"] == answer.status_code
    return answer.status_code, body["type"].removeprefix("urn:fastapi-durable:")


@on_new_stores
async def test_each_kind_of_error_has_its_status() -> None:
    async with new_store() as store, served(application(store)) as http:
        assert problem(await http.get("/runs/none")) == (404, "run-not-found")
        given = {"id": "7", "cents": 5}
        assert (await http.post("/start/order/a", json=given)).status_code == 200
        assert problem(await http.post("/start/refund/a", json=given)) == (409, "run-id-taken")
        assert problem(await http.post("/runs/a/retry")) == (409, "run-state")
        assert problem(await http.get("/runs/a/result", params={"timeout": "10ms"})) == (504, "result-timeout")
        assert (await http.post("/start/inventory/b")).status_code == 200
        assert problem(await http.post("/start/inventory/c")) == (429, "singleton-queue-full")
        unfit = await http.post("/start/order/d", json={"id": "8", "cents": "s3cret"})
        assert problem(unfit) == (422, "input-validation")
        assert "cents" in unfit.json()["detail"]
        assert "s3cret" not in unfit.text
        assert problem(await http.get("/runs/d")) == (404, "run-not-found")


@on_new_stores
async def test_a_payload_that_the_waiting_run_refuses_is_bad_input() -> None:
    async with new_store() as store, served(application(store)) as http:
        await http.post("/start/order/a", json={"id": "7", "cents": 5})
        await until(run_has(store, "a", RunStatus.SUSPENDED))
        unfit = await http.post("/signals/paid:7", json="s3cret")
        assert problem(unfit) == (422, "input-validation")
        assert "s3cret" not in unfit.text
        assert problem(await http.post("/signals/paid:9", json="\0")) == (422, "input-validation")


async def test_the_console_and_the_application_answer_alike() -> None:
    async with served(application(MemoryStateStore())) as http:
        ours, own = await http.get("/durable/api/runs/none"), await http.get("/runs/none")
        assert (ours.status_code, ours.json()) == (own.status_code, own.json())


async def test_a_module_that_has_not_started_is_unavailable() -> None:
    async with served(application(MemoryStateStore()), started=False) as http:
        answer = await http.get("/runs/none")
    assert problem(answer) == (503, "not-started")
    assert answer.headers["retry-after"] == "5"
    assert "lifespan" not in answer.text


async def test_a_run_that_no_worker_can_drive_is_unavailable_and_only_the_log_has_the_advice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served(application(MemoryStateStore(), role="api", no_worker_after="20ms")) as http:
        await http.post("/start/refund/a", json={"id": "7", "cents": 5})
        answer = await http.get("/runs/a/result")
    assert problem(answer) == (503, "no-worker")
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["detail"] == "run 'a' waits for a worker, and continues when one has started"
    assert "Start a worker that has this version" in caplog.text


@pytest.mark.parametrize("kind", [StoreUnavailableError, StoreConflictError])
async def test_a_store_that_is_away_is_unavailable_and_only_the_log_says_why(
    kind: type[StoreError], caplog: pytest.LogCaptureFixture
) -> None:
    async with served(application(MemoryStateStore(), [kind("db.internal:5432 refused")])) as http:
        answer = await http.get("/raise")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert "db.internal" not in answer.text
    assert "db.internal:5432 refused" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError("s3cret"),
        DefinitionError("s3cret"),
        InjectionError("s3cret"),
        SchemaMismatchError("s3cret"),
        SerializationError("s3cret"),
        StoreError("s3cret"),
        LeaseLostError("s3cret"),
        OutsideWorkflowError("s3cret"),
        RunNotCommittedError("s3cret"),
        WorkflowNotRegisteredError("s3cret", None, []),
        RunFailedError("s3cret", "order", None),
        DurableError("s3cret"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_mistake_in_the_code_is_a_500_without_details(error: DurableError) -> None:
    async with served(application(MemoryStateStore(), [error])) as http:
        answer = await http.get("/raise")
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")


async def test_a_run_that_failed_tells_the_caller_nothing() -> None:
    async with served(application(MemoryStateStore())) as http:
        await http.post("/start/declined/a")
        answer = await http.get("/runs/a/result")
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")


async def test_a_handler_of_the_application_goes_before() -> None:
    app = application(MemoryStateStore())

    @app.exception_handler(RunNotFoundError)
    async def gone(request: Request, error: Exception) -> Response:
        return PlainTextResponse("gone", 410)

    async with served(app) as http:
        assert (await http.get("/runs/none")).status_code == 410


async def test_an_error_in_a_websocket_stays_an_exception() -> None:
    app = application(MemoryStateStore())

    @app.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        raise RunNotFoundError("a")

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    scope = {"type": "websocket", "path": "/live", "headers": [], "query_string": b"", "subprotocols": []}
    with pytest.raises(RunNotFoundError):
        await app(scope, receive, send)
    assert sent == ["websocket.accept"]
