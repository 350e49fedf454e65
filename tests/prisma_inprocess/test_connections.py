"""Connections: URLs, failures, reconnecting, several clients, several processes, leaving without saying goodbye."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import asyncpg
import pytest

from prisma_inprocess import ConfigurationError, Fault
from tests.prisma_inprocess.conftest import only_postgres, only_sqlite
from tests.prisma_inprocess.workbench import Rich
from tests.support.postgres import LocalPostgresServer


def step(number: int) -> dict[str, Any]:
    return {"runId": "r", "seq": number, "name": f"s{number}"}


async def test_an_unreachable_server_is_named_quickly_and_without_the_password(
    generated_packages: dict[str, ModuleType],
) -> None:
    package = generated_packages["postgresql"]
    client = package.Prisma(datasource={"url": "postgresql://ada:hunter2@127.0.0.1:1/orders"}, use_dotenv=False)
    started = time.monotonic()
    with pytest.raises(package.errors.DataError) as failure:
        await client.connect()
    assert time.monotonic() - started < 5
    assert failure.value.code == "P1001"
    assert "127.0.0.1:1" in str(failure.value)
    assert "orders" in str(failure.value)
    assert "hunter2" not in str(failure.value) + repr(failure.value.__cause__) + repr(failure.value.meta)


async def test_a_server_that_never_answers_is_given_up_after_connect_timeout(
    generated_packages: dict[str, ModuleType],
) -> None:
    package = generated_packages["postgresql"]
    callers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda reader, writer: callers.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"postgresql://ada@127.0.0.1:{port}/orders?connect_timeout=0.3&sslmode=disable"
    started = time.monotonic()
    with pytest.raises(package.errors.DataError) as failure:
        await package.Prisma(datasource={"url": url}, use_dotenv=False).connect()
    assert time.monotonic() - started < 3
    assert failure.value.code == "P1001"
    for caller in callers:
        caller.close()
    server.close()


@only_postgres
async def test_a_missing_database_is_named(rich: Rich) -> None:
    url = rich.url.rsplit("/", 1)[0] + "/no_such_database"
    with pytest.raises(rich.errors.DataError, match="no_such_database") as failure:
        await rich.package.Prisma(datasource={"url": url}, use_dotenv=False).connect()
    assert failure.value.code == "P1003"


@only_sqlite
async def test_a_file_that_cannot_be_opened_is_named(rich: Rich, tmp_path: Path) -> None:
    url = f"file:{tmp_path}/missing/folder/x.db"
    with pytest.raises(rich.errors.DataError, match=r"missing/folder/x\.db") as failure:
        await rich.package.Prisma(datasource={"url": url}, use_dotenv=False).connect()
    assert failure.value.code == "P1003"


async def test_the_other_databases_url_is_refused(rich: Rich) -> None:
    url = "file:x.db" if rich.provider == "postgresql" else "postgresql://localhost/x"
    with pytest.raises(ConfigurationError):
        await rich.package.Prisma(datasource={"url": url}, use_dotenv=False).connect()


@only_postgres
async def test_the_environment_names_the_url_when_the_caller_does_not(
    rich: Rich, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", rich.url)
    async with rich.package.Prisma(use_dotenv=False) as client:
        assert await client.step.count() == 0
    monkeypatch.delenv("DATABASE_URL")
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        await rich.package.Prisma(use_dotenv=False).connect()


@only_postgres
async def test_tables_may_live_in_another_schema(rich: Rich) -> None:
    connection = await asyncpg.connect(rich.url)
    await connection.execute('DROP SCHEMA IF EXISTS "Other" CASCADE; CREATE SCHEMA "Other"')
    await connection.execute('CREATE TABLE "Other".steps (LIKE public.steps INCLUDING ALL)')
    async with rich.client("schema=Other") as client:
        await client.step.create(data=step(1))
        assert await client.query_raw("SELECT seq FROM steps") == [{"seq": 1}]
    async with rich.client("schema=public") as client:
        assert await client.step.count() == 0
    assert await connection.fetchval('SELECT count(*) FROM "Other".steps') == 1
    await connection.execute('DROP SCHEMA "Other" CASCADE')
    await connection.close()


@only_postgres
async def test_the_pool_opens_no_more_connections_than_it_may(rich: Rich) -> None:
    name = "prisma_inprocess_pool_test"
    async with rich.client(f"connection_limit=3&application_name={name}") as client:
        await asyncio.gather(*(client.query_raw("SELECT pg_sleep(0.01)") for _ in range(30)))
        rows = await client.query_raw("SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = $1", name)
        assert rows == [{"n": 3}]


async def test_waiting_for_a_connection_ends_after_pool_timeout(rich: Rich) -> None:
    async with rich.client("connection_limit=1&pool_timeout=0.2") as client, client.tx():
        with pytest.raises(rich.errors.DataError) as failure:
            await client.step.create(data=step(1))
        assert failure.value.code == "P2024"
        with pytest.raises(rich.errors.DataError) as planned:
            await client.user.create(
                data={"email": "a", "settings": rich.json({}), "posts": {"create": [{"title": "p"}]}}
            )
        batch = client.batch_()
        batch.step.create(step(2))
        with pytest.raises(rich.errors.DataError) as batched:
            await batch.commit()
    assert (planned.value.code, batched.value.code) == ("P2024", "P2024")


@only_postgres
async def test_no_prepared_statement_is_kept_behind_pgbouncer(rich: Rich) -> None:
    async with rich.client("pgbouncer=true&connection_limit=1") as client:
        await client.step.create(data=step(1))
        await client.query_raw("SELECT * FROM steps WHERE seq = $1", 1)
        await client.step.find_many()
        assert await client.query_raw("SELECT name FROM pg_prepared_statements WHERE name <> ''") == []


@only_postgres
async def test_a_killed_connection_costs_at_most_one_error(rich: Rich) -> None:
    async with rich.client("connection_limit=2&application_name=victim") as client:
        await client.step.count()
        connection = await asyncpg.connect(rich.url)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'victim'"
        )
        await connection.close()
        # Whether the client has heard of it before its next query is up to the machine.
        outcomes: Any = await asyncio.gather(client.step.count(), return_exceptions=True)
        assert outcomes == [0] or outcomes[0].code == "P1017"
        for _ in range(3):
            assert await client.step.count() == 0


async def test_queries_go_on_after_the_server_restarted(
    stoppable_postgres: LocalPostgresServer, generated_packages: dict[str, ModuleType]
) -> None:
    package = generated_packages["postgresql"]
    async with package.Prisma(datasource={"url": stoppable_postgres.url}, use_dotenv=False) as client:
        assert await client.query_raw("SELECT 1 AS x") == [{"x": 1}]
        stoppable_postgres.stop()
        with pytest.raises(package.errors.DataError) as failure:
            await client.query_raw("SELECT 1 AS x")
        assert failure.value.code in ("P1001", "P1017")
        stoppable_postgres.start()
        assert await client.query_raw("SELECT 1 AS x") == [{"x": 1}]


async def test_clients_share_a_database_and_come_and_go(rich: Rich) -> None:
    async with rich.client() as one, rich.client() as two:
        await one.step.create(data=step(1))
        assert await two.step.count() == 1
    async with rich.client() as three:
        assert await three.step.count() == 1


async def test_connecting_twice_at_once_opens_one_driver(rich: Rich) -> None:
    client = rich.client()
    await asyncio.gather(client.connect(), client.connect())
    assert await client.step.count() == 0
    await client.disconnect()


def test_one_client_serves_event_loops_one_after_another(
    generated_packages: dict[str, ModuleType], tmp_path: Path
) -> None:
    client = generated_packages["sqlite"].Prisma(datasource={"url": f"file:{tmp_path}/x.db"}, use_dotenv=False)

    async def use() -> Any:
        async with client:
            return await client.query_raw("SELECT 1 AS x")

    assert asyncio.run(use()) == [{"x": 1}]
    assert asyncio.run(use()) == [{"x": 1}]


def test_a_client_says_when_it_was_connected_on_another_event_loop(
    generated_packages: dict[str, ModuleType], tmp_path: Path
) -> None:
    package = generated_packages["sqlite"]
    client = package.Prisma(datasource={"url": f"file:{tmp_path}/x.db"}, use_dotenv=False)

    async def use() -> Any:
        return await client.query_raw("SELECT 1 AS x")

    async def connect_and_use() -> Any:
        await client.connect()
        return await use()

    assert asyncio.run(connect_and_use()) == [{"x": 1}]
    with pytest.raises(package.errors.DataError, match="another event loop") as failure:
        asyncio.run(use())
    assert (failure.value.code, failure.value.fault) == ("P1017", Fault.NOT_CONNECTED)
    assert asyncio.run(connect_and_use()) == [{"x": 1}]


_FORKING = """
import asyncio, os, sys
sys.path.insert(0, sys.argv[1])
from {package} import Prisma

client = Prisma(datasource={{"url": sys.argv[2]}}, use_dotenv=False)

async def count():
    return await client.step.count()

async def child():
    try:
        await count()
    except Exception as error:
        assert "fork" in str(error), error
    await client.connect()
    assert await count() == 0
    await client.disconnect()

async def main():
    await client.connect()
    assert await count() == 0
    pid = os.fork()
    if pid == 0:
        asyncio.events._set_running_loop(None)
        status = 1
        try:
            asyncio.new_event_loop().run_until_complete(child())
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert await count() == 0
    await client.disconnect()
    print("done")

asyncio.run(main())
"""


def test_a_forked_process_connects_for_itself(rich: Rich) -> None:
    root = str(Path(rich.package.__file__ or "").parents[3])
    command = [sys.executable, "-c", _FORKING.format(package=rich.package.__name__), root, rich.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@only_sqlite
async def test_sqlite_files_are_durable_and_keep_their_references(rich: Rich) -> None:
    async with rich.client() as client:
        for pragma, expected in (("journal_mode", "wal"), ("foreign_keys", 1), ("synchronous", 2)):
            assert await client.query_raw(f"PRAGMA {pragma}") == [{pragma: expected}]


@only_sqlite
async def test_many_callers_never_meet_a_locked_database(rich: Rich) -> None:
    async with rich.client() as client:
        await asyncio.gather(*(client.step.create(data=step(number)) for number in range(64)))
        counts = await asyncio.gather(*(client.step.count() for _ in range(64)))
        assert set(counts) == {64}


_WRITER = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from rich_app.clients.rich_sqlite import Prisma

async def main():
    async with Prisma(datasource={"url": sys.argv[2]}, use_dotenv=False) as client:
        counter = {"runId_seq": {"runId": "counter", "seq": 0}}
        for number in range(100):
            await client.step.create(data={"runId": sys.argv[3], "seq": number, "name": str(number)})
            async with client.tx() as tx:
                row = await tx.step.find_unique(where=counter)
                await tx.step.update(where=counter, data={"name": str(int(row.name) + 1)})

asyncio.run(main())
"""


@only_sqlite
async def test_processes_write_one_file_together(rich: Rich) -> None:
    async with rich.client() as client:
        await client.step.create(data={"runId": "counter", "seq": 0, "name": "0"})
        root = str(Path(rich.package.__file__ or "").parents[3])
        processes = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", _WRITER, root, rich.url, name, stderr=subprocess.PIPE
            )
            for name in ("a", "b")
        ]
        for process in processes:
            _, errors = await process.communicate()
            assert process.returncode == 0, errors.decode()
        assert await client.step.count() == 201
        counter = await client.step.find_first(where={"runId": "counter"})
        assert counter.name == "200"


_FORGETFUL = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from {package} import Prisma

async def main():
    client = Prisma(datasource={{"url": sys.argv[2]}}, use_dotenv=False)
    await client.connect()
    print(await client.query_raw("SELECT 1 AS x"))
    globals()["kept"] = client

asyncio.run(main())
"""


def test_a_process_that_forgets_to_disconnect_still_exits(rich: Rich) -> None:
    root = str(Path(rich.package.__file__ or "").parents[3])
    script = _FORGETFUL.format(package=rich.package.__name__)
    done = subprocess.run(
        [sys.executable, "-c", script, root, rich.url], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[{'x': 1}]"), done.stderr


async def test_disconnect_rolls_back_what_is_open(rich: Rich) -> None:
    client = rich.client()
    await client.connect()
    tx = await client.tx().start()
    await tx.step.create(data=step(1))
    await client.disconnect()
    async with rich.client() as other:
        assert await other.step.count() == 0
        await other.step.create(data=step(1))


async def test_writes_that_wait_while_the_client_disconnects_are_done_or_refused(rich: Rich) -> None:
    """None of them waits for ever, or says that it was done and was not."""
    client = rich.client()
    await client.connect()
    writes = [asyncio.create_task(client.step.create(data=step(number))) for number in range(20)]
    await client.tx().start()  # holds SQLite's writer until the end
    writes += [asyncio.create_task(client.step.create(data=step(number))) for number in range(20, 40)]
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await client.disconnect()
        results = await asyncio.gather(*writes, return_exceptions=True)
    refused = [result for result in results if isinstance(result, BaseException)]
    assert refused, "every write was done before: this tests nothing"
    assert all(isinstance(each, rich.errors.PrismaError) for each in refused), refused
    async with rich.client() as other:
        assert await other.step.count() == len(results) - len(refused)
