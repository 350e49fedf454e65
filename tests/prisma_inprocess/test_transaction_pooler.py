"""Behind a pooler in transaction mode the client runs the statements that are meant, in the schema that is meant."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg.connection
import pytest

from tests.prisma_inprocess.conftest import only_postgres
from tests.prisma_inprocess.test_faults import step
from tests.prisma_inprocess.transaction_pooler import TransactionPooler, transaction_pooler
from tests.prisma_inprocess.workbench import Rich

pytestmark = only_postgres


def client_of(rich: Rich, pooler: TransactionPooler, options: str = "connection_limit=1") -> Any:
    return rich.package.Prisma(datasource={"url": f"{pooler.url}?{options}"}, use_dotenv=False)


def begin_counting_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Number statements as another process does, which begins at one as well."""
    monkeypatch.setattr(asyncpg.connection, "_uid", 0)


async def test_without_the_option_no_statement_of_another_process_is_run(
    rich: Rich, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        transaction_pooler(rich.url, servers=2) as pooler,
        client_of(rich, pooler) as mine,
        client_of(rich, pooler) as other,
    ):
        for client, text, server in ((mine, "mine", 0), (other, "other", 1)):
            begin_counting_again(monkeypatch)
            pooler.choice = server
            assert await client.query_raw(f"SELECT '{text}' AS who") == [{"who": text}]
        pooler.choice = 1
        assert await mine.query_raw("SELECT 'mine' AS who") == [{"who": "mine"}]


async def test_a_statement_that_the_pooler_lost_is_an_error_that_names_the_option(rich: Rich) -> None:
    async with transaction_pooler(rich.url, servers=2) as pooler, client_of(rich, pooler) as client:
        pooler.choice = 0
        assert await client.step.count() == 0
        async with client.tx() as tx:
            pass
        pooler.choice = 1
        with pytest.raises(rich.errors.PrismaError, match="pgbouncer=true") as failure:
            async with client.tx() as tx:
                await tx.step.count()
        assert (failure.value.database_code, failure.value.retryable) == ("26000", True)


async def test_with_the_option_each_call_gets_its_own_answer(rich: Rich) -> None:
    """Every message cycle of every call may meet another server connection, on which others just prepared theirs."""
    async with (
        transaction_pooler(rich.url, servers=3) as pooler,
        client_of(rich, pooler, "pgbouncer=true&connection_limit=10") as client,
    ):
        numbers = list(range(60))
        raw = await asyncio.gather(*(client.query_raw(f"SELECT {n} AS n, $1::int AS p", n) for n in numbers))
        assert raw == [[{"n": n, "p": n}] for n in numbers]
        await asyncio.gather(*(client.step.create(data=step(n)) for n in numbers))
        found = await asyncio.gather(*(client.step.find_first(where={"seq": n}, skip=0) for n in numbers))
        assert [row.seq for row in found] == numbers


@pytest.mark.parametrize("schema", ["plain", "Upper", 'od"d name', "select"])
async def test_with_the_option_planned_and_raw_statements_use_one_schema(rich: Rich, schema: str) -> None:
    quoted = '"' + schema.replace('"', '""') + '"'
    connection = await asyncpg.connect(rich.url)
    await connection.execute(f"DROP SCHEMA IF EXISTS {quoted} CASCADE; CREATE SCHEMA {quoted}")
    await connection.execute(f"CREATE TABLE {quoted}.steps (LIKE public.steps INCLUDING ALL)")
    options = f"pgbouncer=true&schema={schema.replace(' ', '%20')}"
    async with transaction_pooler(rich.url, servers=2) as pooler, client_of(rich, pooler, options) as client:
        await client.step.create(data=step(1))
        assert await client.query_raw("SELECT seq FROM steps") == [{"seq": 1}]
        assert await client.execute_raw("UPDATE steps SET seq = seq + $1", 1) == 1
        async with client.tx() as tx:
            assert await tx.execute_raw("INSERT INTO steps (run_id, seq, step_name) VALUES ('r', 9, 'raw')") == 1
            assert await tx.step.count() == 2
        # A call of another program gets the connections as they were.
        async with client_of(rich, pooler, "pgbouncer=true") as plain:
            for _ in range(4):
                assert await plain.query_raw("SELECT count(*)::int AS n FROM steps") == [{"n": 0}]
        with pytest.raises(rich.errors.RawQueryError):
            await client.execute_raw("INSERT INTO steps (run_id, seq, step_name) VALUES ('r', 9, 'again')")
        assert await client.step.count() == 2
    assert await connection.fetchval("SELECT count(*) FROM public.steps") == 0
    await connection.execute(f"DROP SCHEMA {quoted} CASCADE")
    await connection.close()
