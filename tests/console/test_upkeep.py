"""Schedules and workers over HTTP."""

import pytest

from fastapi_durable import ALL_NAMESPACES, AllNamespaces
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.records import WorkerRecord
from tests.console.desk import desk


async def test_a_schedule_is_listed_paused_resumed_and_triggered() -> None:
    """Each answer says how it stands now; an unknown one is a problem."""
    async with desk() as found:
        (listed,) = (await found.client.get("schedules")).json()["schedules"]
        assert (listed["key"], listed["workflow"], listed["cron"]) == ("nightly", "updated", "0 3 * * *")
        assert not listed["paused"]
        assert listed["next_fire_at"]
        (paused,) = (await found.client.post("schedules/nightly/pause")).json()["schedules"]
        assert (paused["paused"], paused["next_fire_at"]) == (True, None)
        (resumed,) = (await found.client.post("schedules/nightly/resume")).json()["schedules"]
        assert not resumed["paused"]
        triggered = await found.client.post("schedules/nightly/trigger")
        assert triggered.status_code == 201
        assert (await found.client.get(f"runs/{triggered.json()['run_id']}")).json()["workflow"] == "updated"
        unknown = await found.client.post("schedules/weekly/trigger")
        assert (unknown.status_code, unknown.json()["type"]) == (404, "urn:fastapi-durable:schedule-not-found")


@pytest.mark.parametrize(
    ("namespace", "tenant", "seen"),
    [
        (None, ALL_NAMESPACES, ["nightly"]),
        (None, "default", ["nightly"]),
        (None, "acme", []),
        ("acme", "acme", ["nightly"]),
    ],
)
async def test_schedules_are_shown_to_those_who_see_the_namespace_in_which_they_start_runs(
    namespace: str | None, tenant: str | AllNamespaces, seen: list[str]
) -> None:
    async def tenant_of() -> str | AllNamespaces:
        return tenant

    async with desk(namespace=namespace, allow_unauthenticated=True, tenant=tenant_of) as found:
        schedules = (await found.client.get("schedules")).json()["schedules"]
        assert [schedule["key"] for schedule in schedules] == seen


@pytest.mark.parametrize(
    ("namespace", "tenant", "seen"),
    [
        (None, ALL_NAMESPACES, {"of all", "of acme", "of other"}),
        ("acme", ALL_NAMESPACES, {"of all", "of acme"}),
        (None, "acme", {"of acme"}),
    ],
)
async def test_workers_are_shown_to_those_whose_runs_they_drive(
    namespace: str | None, tenant: str | AllNamespaces, seen: set[str]
) -> None:
    """Hosts and processes of other namespaces are not; a tenant's are its own, and not those that serve everybody."""

    async def tenant_of() -> str | AllNamespaces:
        return tenant

    async with desk(namespace=namespace, allow_unauthenticated=True, tenant=tenant_of) as found:
        for id, confined_to in (("of all", None), ("of acme", "acme"), ("of other", "other")):
            record = WorkerRecord(
                id=id,
                host="db.internal",
                pid=1,
                version="1",
                namespace=confined_to,
                concurrency=1,
                started_at=SystemClock().now(),
                beat_at=SystemClock().now(),
            )
            await found.runtime.store.save_worker(record)
        workers = (await found.client.get("workers")).json()["workers"]
        assert {worker["id"] for worker in workers if worker["id"].startswith("of ")} == seen


async def test_the_workers_are_listed_with_their_load() -> None:
    """This process's own is one of them."""
    async with desk() as found:
        workers = (await found.client.get("workers")).json()["workers"]
        assert all("send@1" in worker["workflows"] for worker in workers)
        assert not [name for worker in workers for name in worker["workflows"] if name.startswith("__")]
