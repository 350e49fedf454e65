"""What goes wrong in a step comes out whole at the other end: of a route of one's own, and of the console."""

from typing import Any

from fastapi import FastAPI, HTTPException

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    FatalError,
    MemoryStateStore,
    RunFailedError,
    WorkflowContext,
    WorkflowServiceDep,
    step,
    workflow,
)
from tests.integration.order_desk import serving


@step
async def charge() -> None:
    try:
        raise ConnectionError("the bank hung up")
    except ConnectionError as error:
        raise FatalError("the card was declined", code="declined") from error


@workflow
async def pay(ctx: WorkflowContext) -> None:
    await ctx.step(charge)


@workflow
async def order(ctx: WorkflowContext) -> None:
    await ctx.child(pay)


def application() -> FastAPI:
    durable = DurableModule.for_root(
        DurableOptions(store=MemoryStateStore(), poll_interval="10ms"), workflows=[pay, order]
    )
    app = FastAPI(lifespan=durable.lifespan)
    app.include_router(durable.router(allow_unauthenticated=True), prefix="/durable")

    @app.post("/orders")
    async def place(workflows: WorkflowServiceDep) -> None:
        try:
            await workflows.execute(order, timeout="60s", run_id="order")
        except RunFailedError as error:
            record = error.error.to_json() if error.error is not None else None
            raise HTTPException(402, {"code": error.code, "error": record}) from error

    return app


def chain(error: dict[str, Any]) -> list[dict[str, Any]]:
    """The error and its causes, the outermost first."""
    return [error, *(chain(error["cause"]) if error.get("cause") else [])]


async def test_an_error_keeps_code_stack_and_cause_from_step_to_run_to_parent_to_http() -> None:
    async with serving(application()) as client:
        answer = await client.post("/orders")
        shown = [(await client.get(f"/durable/api/runs/{run}")).json() for run in ("order", "order.child.0")]
    assert answer.status_code == 402
    assert answer.json()["detail"]["code"] == "declined"
    expected = ["ChildFailedError", "StepFailedError", "FatalError", "ConnectionError"]
    for error, types in (
        (answer.json()["detail"]["error"], expected),
        (shown[0]["error"], expected),
        (shown[1]["error"], expected[1:]),
        (shown[1]["timeline"][0]["error"], expected[2:]),
    ):
        links = chain(error)
        assert [link["type"] for link in links] == types
        assert [link["code"] for link in links[:-1]] == ["declined"] * (len(links) - 1)
        assert (links[-2]["message"], links[-2]["retryable"]) == ("the card was declined", False)
        assert links[-1]["message"] == "the bank hung up"
        assert all("Traceback" in link["stack"] for link in links)
