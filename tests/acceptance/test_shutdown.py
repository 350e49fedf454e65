"""SIGTERM, as every deployment sends it."""

import time
from datetime import timedelta
from pathlib import Path
from signal import SIGTERM

import pytest

from tests.acceptance.orders import Purchase, audit, ledger, place, until_ended
from tests.acceptance.processes import Process, Processes, database, processes, until

pytestmark = pytest.mark.slow

# No lease expires during a test: whatever goes on elsewhere was handed over.
LONG_LEASE = "10 min"


def start(started: Processes, kind: str, *, step_seconds: str = "0") -> Process:
    return (started.web if kind == "web" else started.worker)(EXAMPLE_STEP_SECONDS=step_seconds)


async def until_charging(database_url: str) -> None:
    """Wait until the charge has been going on for so long that the store shows it as running."""
    async with database(database_url) as client:

        async def is_charging() -> bool:
            where = {"name": "charge_card", "status": "running"}
            return bool(await client.durablestepcheckpoint.count(where=where))

        await until(is_charging)


@pytest.mark.parametrize("kind", ["web", "worker"])
async def test_a_process_that_is_asked_to_stop_finishes_its_step_and_hands_the_run_over(
    database_url: str, tmp_path: Path, kind: str
) -> None:
    purchase = Purchase("order-1", "small")
    commands = tmp_path / "commands"
    commands.mkdir()
    with (
        processes(database_url, tmp_path, forked=True, DURABLE_LEASE=LONG_LEASE) as started,
        # What is asked to stop was started by its command, as in a deployment.
        processes(database_url, commands, DURABLE_LEASE=LONG_LEASE, DURABLE_INSTANCE_ID="leaving") as deployed,
    ):
        desk = started.web(DURABLE_ROLE="api")
        leaving = start(deployed, kind, step_seconds="1.5")
        await desk.ready()
        await place(desk, purchase)
        await until_charging(database_url)
        leaving.terminate()
        # uvicorn stops in order and then ends by the signal, as a process that was asked to should.
        assert await leaving.exit_code() == (-SIGTERM if kind == "web" else 0)
        assert "Traceback" not in leaving.output
        staying = start(started, kind)
        begin = time.monotonic()
        await until_ended(desk, [purchase])
        assert time.monotonic() - begin < 20
        await audit(database_url, [purchase])
        async with database(database_url) as client:
            (charge,) = await client.durablestepcheckpoint.find_many(where={"name": "charge_card"})
        assert charge.attempts == 1
        assert charge.finishedAt - charge.startedAt >= timedelta(seconds=1.5)
        assert staying.is_alive


@pytest.mark.parametrize("kind", ["web", "worker"])
async def test_a_step_that_takes_too_long_is_given_up_at_the_deadline_and_repeated_elsewhere(
    sqlite_url: str, tmp_path: Path, kind: str
) -> None:
    purchase = Purchase("order-1", "small")
    with processes(
        sqlite_url, tmp_path, forked=True, DURABLE_LEASE=LONG_LEASE, DURABLE_SHUTDOWN_TIMEOUT="500ms"
    ) as started:
        desk = started.web(DURABLE_ROLE="api")
        await desk.ready()
        leaving = (started.web if kind == "web" else started.worker)(EXAMPLE_STEP_SECONDS="600")
        await place(desk, purchase)
        await until_charging(sqlite_url)
        leaving.terminate()
        assert await leaving.exit_code() == (-SIGTERM if kind == "web" else 0)
        assert await ledger(desk, purchase) == ["reserve"]
        start(started, kind)
        await until_ended(desk, [purchase])
        await audit(sqlite_url, [purchase])
