"""Queues over HTTP."""

from datetime import timedelta

import pytest

from fastapi_durable import MemoryStateStore, RunStatus
from fastapi_durable.web import queue_routes
from tests.console.desk import Parcel, desk, send
from tests.console.test_access import tenant_of
from tests.console.test_reading import stored


async def test_a_queue_shows_its_limits_what_runs_and_what_waits() -> None:
    """A run that has ended is in no line; it counts for the rate limit of the hour in which it began."""
    async with desk() as found:
        start = {"input": {"id": "1", "weight": 1}, "run_id": "p-1", "queue": "parcels", "fairness_key": "ada"}
        assert (await found.client.post("workflows/send/runs", json=start)).status_code == 201
        await found.until("p-1", RunStatus.COMPLETED)
        (queue,) = (await found.client.get("queues")).json()["queues"]
        assert (queue["name"], queue["namespace"], queue["concurrency"]) == ("parcels", "default", 1)
        assert (queue["rate_limit"], queue["rate_period_seconds"]) == (5, timedelta(hours=1).total_seconds())
        assert (queue["running"], queue["waiting"], queue["waiting_capped"]) == (0, 0, False)
        assert (queue["may_begin"], queue["begins_again_at"]) == (4, None)
        assert queue["served_at"]
        run = (await found.client.get("runs/p-1")).json()
        assert (run["queue"], run["fairness_key"]) == ("parcels", "ada")


async def test_a_queue_that_is_used_up_says_when_it_goes_on() -> None:
    async with desk() as found:
        for number in range(7):
            await found.runtime.service.start(
                send, Parcel(id=str(number), weight=1), run_id=f"p-{number}", queue="parcels"
            )
        for number in range(5):
            await found.until(f"p-{number}", RunStatus.COMPLETED)
        (queue,) = (await found.client.get("queues")).json()["queues"]
        assert (queue["waiting"], queue["may_begin"]) == (2, 0)
        assert queue["begins_again_at"]


async def test_a_run_is_not_started_on_a_queue_that_there_is_not() -> None:
    async with desk() as found:
        response = await found.client.post("workflows/stopping/runs", json={"queue": "letters"})
        assert (response.status_code, "'parcels'" in response.json()["detail"]) == (422, True)
        response = await found.client.post("workflows/stopping/runs", json={"fairness_key": "ada"})
        assert response.status_code == 422


async def test_more_runs_than_are_counted_are_told_as_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_routes, "_COUNTED", 1)
    store = MemoryStateStore()
    async with desk(store=store) as found:
        for number in range(8):
            await found.runtime.service.start(
                send, Parcel(id=str(number), weight=1), run_id=f"p-{number}", queue="parcels"
            )
        for number in range(5):
            await found.until(f"p-{number}", RunStatus.COMPLETED)
        (queue,) = (await found.client.get("queues")).json()["queues"]
        assert (queue["waiting"], queue["waiting_capped"]) == (1, True)


async def test_a_tenant_sees_the_queues_of_its_namespace_only() -> None:
    async with desk(allow_unauthenticated=True, tenant=tenant_of) as found:
        await found.runtime.store.create_run(stored("ours", namespace="ours"))
        assert (await found.client.get("queues", headers={"x-tenant": "ours"})).json()["queues"] == []
        assert len((await found.client.get("queues", headers={"x-tenant": "default"})).json()["queues"]) == 1
