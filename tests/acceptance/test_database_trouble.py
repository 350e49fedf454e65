"""A database that is not there, not migrated, or gone for a while."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.orders import Purchase, audit, decide, has_status, place, until_ended
from tests.acceptance.processes import Process, Processes, free_port, processes, until
from tests.support.migrations import migrate
from tests.support.postgres import LocalPostgresServer

pytestmark = pytest.mark.slow

PASSWORD = "correct-horse"


def start(started: Processes, kind: str) -> Process:
    return started.web() if kind == "web" else started.worker()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port on which somebody listens and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port: int = listener.getsockname()[1]
        yield port


@pytest.mark.parametrize(("kind", "port"), [("web", "closed"), ("worker", "closed"), ("web", "silent")])
async def test_without_its_database_a_process_ends_within_seconds_and_names_the_address_but_not_the_password(
    tmp_path: Path, silent_port: int, kind: str, port: str
) -> None:
    number = silent_port if port == "silent" else free_port()
    url = f"postgresql://clerk:{PASSWORD}@127.0.0.1:{number}/orders"
    with processes(url, tmp_path, forked=True, DURABLE_STARTUP_TIMEOUT="2s") as started:
        process = start(started, kind)
        assert await process.exit_code() != 0
        assert f"127.0.0.1:{number}" in process.output
        assert PASSWORD not in process.output


async def test_an_sqlite_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with processes(f"file:{tmp_path}/no-such-folder/orders.db", tmp_path, forked=True) as started:
        process = started.web()
        assert await process.exit_code() != 0
        assert "no-such-folder/orders.db" in process.output


async def test_a_database_without_tables_is_refused_with_the_command_that_creates_them(
    empty_database_url: str, tmp_path: Path
) -> None:
    with processes(empty_database_url, tmp_path, forked=True) as started:
        for process in (started.web(), started.worker()):
            assert await process.exit_code() != 0
            assert "prisma migrate deploy" in process.output


@pytest.mark.postgres
async def test_orders_outlive_a_database_that_goes_away_and_comes_back(
    stoppable_postgres: LocalPostgresServer, tmp_path: Path
) -> None:
    url = stoppable_postgres.create_database("orders")
    migrate(url)
    working, waiting = Purchase("order-1", "small"), Purchase("order-2", "approved")
    with processes(url, tmp_path, forked=True, EXAMPLE_STEP_SECONDS="0.5") as started:
        web, worker = started.web(), started.worker()
        await web.ready()
        await worker.ready()
        await place(web, waiting)
        await until(lambda: has_status(web, waiting, "awaiting_approval"))
        await place(web, working)
        await until(lambda: has_status(web, working, "reserved"))

        stoppable_postgres.stop()
        await until(lambda: is_unready(web))
        assert await web.health("live") == 200
        async with web.client() as http:
            for answer in (
                await http.post("/orders", json=Purchase("order-3", "small").body),
                await http.post(f"/orders/{waiting.id}/approval", json={"approved": True}),
                await http.get(f"/orders/{waiting.id}"),
            ):
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "5"), answer.text
                assert answer.headers["content-type"] == "application/problem+json"
        assert worker.is_alive

        stoppable_postgres.start()
        await web.ready()
        await decide(web, waiting)
        await until_ended(web, [working, waiting])
        assert web.is_alive
        assert worker.is_alive
        await audit(url, [working, waiting])


async def is_unready(web: Process) -> bool:
    return await web.health("ready") == 503
