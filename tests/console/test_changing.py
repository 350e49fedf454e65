"""What the console's API changes."""

from typing import Any

import pytest

from fastapi_durable import RunStatus
from tests.console.desk import Parcel, desk, send, stopping, updated


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
    ],
)
async def test_a_start_that_cannot_work_creates_no_run(workflow: str, body: dict[str, Any], status: int) -> None:
    """The workflow's own model judges the input."""
    async with desk() as found:
        response = await found.client.post(f"workflows/{workflow}/runs", json=body)
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
        assert await found.runtime.gateway.count_runs() == 0


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
