"""What the console's API changes."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    MemoryStateStore,
    RunStatus,
    Singleton,
    WorkflowContext,
    workflow,
)
from fastapi_durable.model.clock import SystemClock
from tests.console.desk import Parcel, desk, send, stopping, updated
from tests.integration.order_desk import calling


async def test_a_workflow_is_started_by_its_name() -> None:
    """Once, however often it is asked for under one id."""
    async with desk() as found:
        body = {"input": {"id": "7", "weight": 2}, "run_id": "run", "tags": ["red"], "search_attributes": {"n": 1}}
        first = await found.client.post("workflows/send/runs", json=body)
        assert (first.status_code, first.json()) == (201, {"run_id": "run", "created": True})
        await found.until("run", RunStatus.COMPLETED)
        again = await found.client.post("workflows/send/runs", json=body)
        assert (again.status_code, again.json()) == (200, {"run_id": "run", "created": False})
        run = (await found.client.get("runs/run")).json()
        assert (run["output"], run["tags"], run["search_attributes"]) == (2, ["parcels", "red"], {"n": 1})


@pytest.mark.parametrize(
    ("workflow", "body", "status"),
    [
        ("send", {"input": {"id": "7", "weight": 0}}, 422),
        ("send", {}, 422),
        ("send", {"inputs": {}}, 422),
        ("updated", {"input": 1}, 422),
        ("unknown", {"input": 1}, 404),
        ("send", {"input": {"id": "7", "weight": 1}, "version": "9"}, 404),
        ("send", {"input": {"id": "7", "weight": 1}, "tags": ["x"] * 100}, 422),
        ("send", {"input": {"id": "7", "weight": 1}, "delay": "soon"}, 422),
        ("send", {"input": {"id": "7", "weight": 1}, "delay": 5}, 422),
        ("send", {"input": {"id": "7", "weight": 1}, "at": "2099-01-01T00:00:00"}, 422),
        ("send", {"input": {"id": "7", "weight": 1}, "at": "9999-01-01T00:00:00Z"}, 422),
        ("send", {"input": {"id": "7", "weight": 1}, "delay": "1h", "at": "2099-01-01T00:00:00Z"}, 422),
    ],
)
async def test_a_start_that_cannot_work_creates_no_run(workflow: str, body: dict[str, Any], status: int) -> None:
    """The workflow's own model judges the input."""
    async with desk() as found:
        response = await found.client.post(f"workflows/{workflow}/runs", json=body)
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
        assert await found.runtime.service.count_runs() == 0


@pytest.mark.parametrize("when", [{"delay": "1h"}, {"at": "2099-01-01T00:00:00+02:00"}])
async def test_a_run_is_started_for_later(when: dict[str, str]) -> None:
    async with desk() as found:
        body = {"input": {"id": "7", "weight": 2}, "run_id": "run", **when}
        assert (await found.client.post("workflows/send/runs", json=body)).status_code == 201
        run = (await found.client.get("runs/run")).json()
        assert (run["status"], run["timeline"]) == ("suspended", [])
        assert run["wake_at"] > run["created_at"]


async def test_a_start_too_many_for_later_is_told_to_come_again() -> None:
    async with desk(settings={"max_delayed_starts": 1}) as found:
        body = {"input": {"id": "7", "weight": 2}, "run_id": "first", "delay": "1h"}
        assert (await found.client.post("workflows/send/runs", json=body)).status_code == 201
        assert (await found.client.post("workflows/send/runs", json=body)).status_code == 200
        refused = await found.client.post("workflows/send/runs", json={**body, "run_id": "second"})
        assert (refused.status_code, refused.json()["type"]) == (429, "urn:fastapi-durable:too-many-delayed-starts")


async def test_a_start_may_insist_on_a_new_run() -> None:
    async with desk() as found:
        body = {"input": {"id": "7", "weight": 2}, "run_id": "run", "if_exists": "refuse"}
        assert (await found.client.post("workflows/send/runs", json=body)).status_code == 201
        refused = await found.client.post("workflows/send/runs", json=body)
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:fastapi-durable:run-exists")
        assert (await found.client.post("workflows/send/runs", json={**body, "if_exists": "return"})).status_code == 200


async def test_every_workflow_has_its_input_in_the_document() -> None:
    """The newest version's and the older ones', with nested and recursive models; what has none says so."""

    class Leaf(BaseModel):
        leaves: list["Leaf"] = []

    @workflow(name="grow")
    async def old(ctx: WorkflowContext, size: int) -> None: ...

    @workflow(name="grow", version="2")
    async def new(ctx: WorkflowContext, tree: Leaf) -> None: ...

    @workflow(name="with a blank/and more")
    async def odd(ctx: WorkflowContext, parcel: Parcel) -> None: ...

    @workflow
    async def indescribable(ctx: WorkflowContext, call: Callable[[], int]) -> None: ...

    module = DurableModule.for_root(
        DurableOptions(store=MemoryStateStore()), workflows=[old, new, odd, indescribable, updated]
    )
    app = FastAPI()
    app.include_router(module.router(allow_unauthenticated=True))
    document = app.openapi()
    paths = [path for path in document["paths"] if path.startswith("/api/workflows/")]
    assert paths == ["/api/workflows/grow/runs", "/api/workflows/updated/runs", "/api/workflows/{workflow}/runs"]
    operation = document["paths"][paths[0]]["post"]
    assert operation["operationId"] == "startGrow"
    body = document["components"]["schemas"]["StartGrow"]
    assert body["required"] == ["input"]
    number, tree = body["properties"]["input"]["anyOf"]
    assert number == {"type": "integer"}
    assert tree["$ref"].removeprefix("#/components/schemas/") in document["components"]["schemas"]
    assert document["components"]["schemas"]["StartUpdated"]["properties"]["input"]["type"] == "null"


async def test_a_change_is_refused_if_the_run_is_not_what_its_reader_saw() -> None:
    """With `If-Match`: the run's version or the answer's ETag. Without, nothing is compared."""
    async with desk() as found:
        await found.waits("t", "run")
        seen = await found.client.get("runs/run")
        assert await found.runtime.store.update_run("run", {"updated_at": SystemClock().now()})
        for header in (seen.headers["etag"], seen.json()["version"], f'"{seen.json()["version"]}"', "nonsense"):
            response = await found.client.post("runs/run/cancel", headers={"If-Match": header})
            assert (response.status_code, response.json()["type"]) == (412, "urn:fastapi-durable:precondition-failed")
            assert (await found.client.delete("runs/run", headers={"If-Match": header})).status_code == 412
        assert (await found.client.post("runs/nobody/cancel", headers={"If-Match": "x"})).status_code == 404
        now = (await found.client.get("runs/run")).headers["etag"]
        assert (await found.client.post("runs/run/cancel", headers={"If-Match": now})).status_code == 200
        assert (await found.client.delete("runs/run", headers={"If-Match": "*"})).status_code == 200


async def test_a_singletons_full_queue_says_to_come_later() -> None:
    @workflow(singleton=Singleton(key=str, max_queue_depth=0))
    async def alone(ctx: WorkflowContext, key: str) -> None:
        await ctx.wait_for_signal("never")

    module = DurableModule.for_root(DurableOptions(store=MemoryStateStore(), poll_interval="10ms"), workflows=[alone])
    app = FastAPI(lifespan=module.lifespan)
    app.include_router(module.router(allow_unauthenticated=True))
    async with app.router.lifespan_context(app), calling(app) as client:
        answers = [await client.post("/api/workflows/alone/runs", json={"input": "k"}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 429]
        assert answers[1].json()["type"] == "urn:fastapi-durable:singleton-queue-full"


async def test_an_entity_is_operated_and_read() -> None:
    """Only one that is known here: an operation for another would wait for ever."""
    async with desk() as found:
        (counter,) = (await found.client.get("entities")).json()["entities"]
        assert (counter["name"], counter["operations"][0]["input_schema"]) == ("Counter", {"type": "integer"})
        assert (await found.client.get("entities/Counter/keys/a/b")).status_code == 404
        for number in (1, 2):
            body = {"key": "a/b", "input": number, "operation_id": str(number)}
            for _ in range(2):
                sent = await found.client.post("entities/Counter/operations/add", json=body)
                assert (sent.status_code, sent.json()) == (202, {"run_id": "entity:Counter:a/b"})
        await found.until("entity:Counter:a/b", RunStatus.SUSPENDED)
        assert (await found.client.get("entities/Counter/keys/a/b")).json()["state"] == {"total": 3}
        for path in ("Counter/operations/fly", "Nobody/operations/add"):
            assert (await found.client.post(f"entities/{path}", json={"key": "a"})).status_code == 404
        wrong = await found.client.post("entities/Counter/operations/add", json={"key": "a", "input": "x"})
        assert wrong.status_code == 422


async def test_half_a_surrogate_pair_is_refused_and_not_an_error_of_the_server() -> None:
    """JSON can spell it, and UTF-8 cannot hold it: neither the answer nor the database."""
    async with desk() as found:
        for body in (b'{"\\ud800": 1}', b'{"token": "\\ud800"}', b'{"token": "t", "payload": "\\ud800"}'):
            headers = {"content-type": "application/json"}
            response = await found.client.post("signals", content=body, headers=headers)
            assert response.status_code == 422, response.text


async def test_a_body_without_end_is_not_read() -> None:
    """A megabyte is enough for an input."""
    async with desk() as found:
        response = await found.client.post("workflows/send/runs", json={"input": "x" * 1_100_000})
        assert (response.status_code, response.json()["type"]) == (413, "urn:fastapi-durable:body-too-large")


async def test_signals_events_updates_and_breakpoints_reach_runs() -> None:
    """The whole conversation with a living run."""
    async with desk() as found:
        await found.waits("t", "waiter")
        sent = await found.client.post("signals", json={"token": "t", "payload": "yes"})
        assert sent.json() == {"received": True}
        await found.until("waiter", RunStatus.COMPLETED)
        assert (await found.client.post("signals", json={"token": "later"})).json() == {"received": False}

        published = (await found.client.post("events", json={"name": "order.paid", "event_id": "1"})).json()
        assert (published["receivers"], published["buffered"]) == ([], True)

        await found.runtime.service.start(updated, run_id="u")
        await found.until("u", RunStatus.SUSPENDED)
        assert (await found.client.get("runs/u/values/stage")).json() == {"value": "open"}
        assert (await found.client.post("runs/u/updates/amount", json={"value": 5})).json()["accepted"]
        await found.until("u", RunStatus.COMPLETED)
        late = (await found.client.post("runs/u/updates/amount", json={"value": 5})).json()
        assert not late["accepted"]
        assert late["reason"]

        await found.runtime.service.start(stopping, run_id="b")
        await found.until("b", RunStatus.SUSPENDED)
        assert (await found.client.get("runs/b")).json()["waiting"]["kind"] == "breakpoint"
        assert (await found.client.post("runs/b/continue", json={"label": "elsewhere"})).status_code == 409
        assert (await found.client.post("runs/b/continue")).status_code == 200
        await found.until("b", RunStatus.COMPLETED)
        assert (await found.client.post("runs/b/continue")).status_code == 409


async def test_a_run_is_paused_and_resumed() -> None:
    async with desk() as found:
        await found.waits("t", "run")
        assert (await found.client.post("runs/run/pause")).json() == {"run_id": "run", "status": "suspended"}
        run = (await found.client.get("runs/run")).json()
        assert (run["paused"], run["waiting"]["kind"]) == (True, "pause")
        assert (await found.client.post("signals", json={"token": "t", "payload": "kept"})).json() == {"received": True}
        assert (await found.client.post("runs/run/resume")).status_code == 200
        await found.until("run", RunStatus.COMPLETED)
        assert (await found.client.get("runs/run")).json()["output"] == "kept"
        assert (await found.client.post("runs/run/pause")).status_code == 409
        assert (await found.client.post("runs/nobody/resume")).status_code == 404


async def test_a_run_is_cancelled_and_an_ended_one_stays() -> None:
    """Cancelling twice, or too late, does no harm."""
    async with desk() as found:
        await found.waits("t", "run")
        assert (await found.client.post("runs/run/cancel", json={"compensate": True})).status_code == 200
        await found.until("run", RunStatus.CANCELLED)
        assert (await found.client.post("runs/run/cancel")).json()["status"] == "cancelled"
        await found.ended(send, Parcel(id="1", weight=1), "done")
        assert (await found.client.post("runs/done/cancel")).json()["status"] == "completed"
        assert (await found.client.post("runs/nobody/cancel")).status_code == 404
