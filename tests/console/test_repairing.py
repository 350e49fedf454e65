"""Retry, fork, delete, and the same for many, over HTTP."""

from typing import Any

import pytest

from fastapi_durable import RunStatus
from fastapi_durable.web import repair_routes
from tests.console.desk import Desk, Parcel, desk, failing, send
from tests.console.test_reading import stored


async def post(found: Desk, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    response = await found.client.post(path, json=body)
    return response.status_code, response.json()


async def test_a_failed_run_is_retried_and_another_is_not() -> None:
    """What is alive or has completed refuses with the reason."""
    async with desk() as found:
        await found.ended(failing, Parcel(id="7", weight=3), "run")
        assert await post(found, "runs/run/retry") == (200, {"run_id": "run", "status": "pending"})
        await found.until("run", RunStatus.FAILED)
        await found.ended(send, Parcel(id="1", weight=1), "done")
        status, problem = await post(found, "runs/done/retry")
        assert (status, problem["type"]) == (409, "urn:fastapi-durable:run-state")
        assert (await post(found, "runs/nobody/retry"))[0] == 404


async def test_a_run_is_done_again_with_other_input_and_from_a_step() -> None:
    """Each is a new run; the old one stays."""
    async with desk() as found:
        await found.ended(send, Parcel(id="1", weight=1), "done")
        status, made = await post(found, "runs/done/retry-with-input", {"input": {"id": "1", "weight": 9}})
        assert status == 201
        await found.until(made["run_id"], RunStatus.COMPLETED)
        assert (await found.client.get(f"runs/{made['run_id']}")).json()["output"] == 9
        assert (await post(found, "runs/done/retry-with-input", {"input": {"id": "1"}}))[0] == 422
        status, made = await post(found, "runs/done/fork", {"from_step": 0})
        assert status == 201
        await found.until(made["run_id"], RunStatus.COMPLETED)
        assert (await post(found, "runs/done/fork", {"from_step": -1}))[0] == 422
        assert (await found.client.get("runs/done")).json()["output"] == 1


async def test_a_run_is_deleted_unless_it_lives() -> None:
    """With `force`, it is cancelled first."""
    async with desk() as found:
        await found.waits("t", "run")
        assert (await found.client.delete("runs/run")).status_code == 409
        assert (await found.client.delete("runs/run", params={"force": True})).json() == {"deleted": 1}
        assert (await found.client.delete("runs/run")).status_code == 404


async def test_a_bulk_action_counts_honestly() -> None:
    """What matched was done, was refused, or remains: every run is in one of the three."""
    async with desk() as found:
        for number in range(5):
            await found.runtime.store.create_run(stored(f"failed {number}", status=RunStatus.CANCELLED))
        await found.waits("t", "alive")
        body = {"filter": {"status": ["cancelled", "suspended"]}, "limit": 3}
        status, result = await post(found, "bulk/delete", body)
        assert status == 200
        done = {"matched": 5, "matched_capped": False, "applied": 3, "failed": 0, "remaining": 2, "failures": []}
        assert result == done
        status, result = await post(found, "bulk/delete", body)
        assert (result["matched"], result["applied"], result["remaining"]) == (2, 2, 0)
        status, result = await post(found, "bulk/retry", {"run_ids": ["alive", "nobody"]})
        assert (result["matched"], result["applied"], result["failed"]) == (2, 0, 2)
        assert {each["run_id"] for each in result["failures"]} == {"alive", "nobody"}
        status, result = await post(found, "bulk/cancel", {"filter": {"workflow": "waiting"}})
        assert (result["matched"], result["applied"]) == (1, 1)
        assert (await post(found, "bulk/explode", {}))[0] == 422


async def test_a_bulk_action_counts_no_further_than_a_list_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many more there are, it is answered in the same time."""
    monkeypatch.setattr(repair_routes, "COUNTED", 3)
    async with desk() as found:
        for number in range(6):
            await found.runtime.store.create_run(stored(f"failed {number}", status=RunStatus.CANCELLED))
        _, result = await post(found, "bulk/delete", {"filter": {"status": ["cancelled"]}, "limit": 2})
        assert (result["matched"], result["matched_capped"], result["remaining"]) == (3, True, 1)


async def test_a_filter_that_is_wrong_touches_nothing() -> None:
    """A misspelt condition does not select everything."""
    async with desk() as found:
        await found.waits("t", "alive")
        assert (await post(found, "bulk/cancel", {"filter": {"workflw": "x"}}))[0] == 422
        assert (await post(found, "bulk/cancel", {"filter": {"attr": ["x"]}}))[0] == 422
        assert (await post(found, "bulk/cancel", {}))[0] == 422
        run = await found.runtime.store.find_run("alive")
        assert run is not None
        assert run.status is RunStatus.SUSPENDED
