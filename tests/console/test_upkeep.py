"""Schedules and workers over HTTP."""

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


async def test_the_workers_are_listed_with_their_load() -> None:
    """This process's own is one of them."""
    async with desk() as found:
        workers = (await found.client.get("workers")).json()["workers"]
        assert all("send@1" in worker["workflows"] for worker in workers)
