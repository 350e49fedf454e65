"""Processes that share a PostgreSQL server hear from each other at once; polling stays the net."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fastapi_durable import PostgresWakeups, PrismaStateStore, RunCancelledError, RunStatus, step, workflow
from fastapi_durable.engine.engine import WorkflowEngine
from fastapi_durable.wakeups.base import Topic, Word
from fastapi_durable.worker import Worker
from tests.support.engine_rig import FAST, build_engine, has_status, until
from tests.support.postgres import LocalPostgresServer, PostgresServer

pytestmark = pytest.mark.postgres

# Whatever happens within a test's time happens because somebody was told.
SELDOM = replace(FAST, poll_interval=timedelta(hours=1), lease=timedelta(hours=1))


@workflow(name="greeting")
async def greeting(ctx: Any, name: str) -> str:
    word: str = await ctx.wait_for_signal(f"word:{name}", str)
    return f"{word}, {name}"


@asynccontextmanager
async def process(
    url: str, *workflows: Any, wakeups: PostgresWakeups | None = None, drives: bool = True
) -> AsyncIterator[WorkflowEngine]:
    """What one process of an application has; it hardly ever polls."""
    from example_app.clients.postgresql import Prisma

    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Prisma(datasource={"url": url}))
        engine = build_engine(PrismaStateStore(client), *workflows, config=SELDOM)
        joined = (wakeups or PostgresWakeups(url)).joined(engine.notifications.hear)
        stack.enter_context(engine.notifications.joined_to(await stack.enter_async_context(joined)))
        if drives:
            worker = Worker(engine)
            await worker.start()
            stack.push_async_callback(worker.stop)
        yield engine


async def listeners(server: PostgresServer, url: str) -> int:
    """How many processes listen."""
    database = url.rsplit("/", 1)[1]
    listening = "query LIKE 'LISTEN%' OR query LIKE '%pg_notify%'"
    text = await asyncio.to_thread(
        server.sql, f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND ({listening})"
    )
    return int(text)


async def test_a_run_and_its_signal_reach_the_worker_of_another_process_and_the_result_comes_back_without_a_poll(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    async with process(postgres_url, greeting, drives=False) as asking, process(postgres_url, greeting):

        async def all_listen() -> bool:
            return await listeners(postgres_server, postgres_url) == 2

        await until(all_listen)
        handle = await asking.start(greeting, "ada")
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        with asking.notifications.watch_run(handle.run_id) as watch:
            assert await asking.signal("word:ada", "good day")
            async with asyncio.timeout(5):
                await watch.finished.wait()
        assert await handle.result() == "good day, ada"


async def test_a_cancel_ends_the_step_that_another_process_executes(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    @step
    async def endless() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    @workflow(name="patient")
    async def patient(ctx: Any) -> None:
        await ctx.step(endless)

    async with process(postgres_url, patient, drives=False) as asking, process(postgres_url, patient):

        async def all_listen() -> bool:
            return await listeners(postgres_server, postgres_url) == 2

        await until(all_listen)
        handle = await asking.start(patient)
        async with asyncio.timeout(10):
            await began.wait()
            await asking.cancel(handle.run_id)
            await ended.wait()
        with pytest.raises(RunCancelledError):
            await handle.result("5s")


async def test_what_a_stopping_process_hands_back_is_taken_up_by_another_one_without_a_poll(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    """As in a rolling restart: nothing waits for the lease or for the next poll, an hour away both."""
    began, go_on = asyncio.Event(), asyncio.Event()

    @step
    async def work() -> None:
        began.set()
        await go_on.wait()

    @step
    async def more() -> bool:
        return handle.run_id in leaving.notifications.driven_here

    @workflow(name="restless")
    async def restless(ctx: Any) -> bool:
        """Whether the process that leaves did all of it."""
        await ctx.step(work)
        return bool(await ctx.step(more))

    async with AsyncExitStack() as old, process(postgres_url, drives=False) as asking:
        leaving = await old.enter_async_context(process(postgres_url, restless))
        handle = await leaving.start(restless)
        await began.wait()
        async with process(postgres_url, restless):

            async def all_listen() -> bool:
                return await listeners(postgres_server, postgres_url) == 3

            await until(all_listen)
            stopping = asyncio.create_task(old.aclose())
            await asyncio.sleep(0)
            with asking.notifications.watch_run(handle.run_id) as watch:
                go_on.set()
                async with asyncio.timeout(10):
                    await watch.finished.wait()
            await stopping
        run = await asking.handle(handle.run_id).run()
        assert (run.status, run.output, run.locked_by) == (RunStatus.COMPLETED, False, None)


async def test_what_was_missed_while_the_connection_was_cut_is_looked_for_when_it_is_back(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    heard: asyncio.Queue[Word] = asyncio.Queue()
    async with PostgresWakeups(postgres_url).joined(heard.put_nowait):
        async with asyncio.timeout(10):
            assert await heard.get() == Word(Topic.WORK)
            cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            others = f"{cut} AND pid <> pg_backend_pid()"
            await asyncio.to_thread(postgres_server.sql, others, postgres_url.rsplit("/", 1)[1])
            assert await heard.get() == Word(Topic.WORK)


async def test_words_that_are_told_while_the_server_is_away_are_told_when_it_is_back(
    stoppable_postgres: LocalPostgresServer,
) -> None:
    heard: asyncio.Queue[Word] = asyncio.Queue()
    url = stoppable_postgres.url
    async with PostgresWakeups(url).joined(heard.put_nowait), PostgresWakeups(url).joined(lambda _: None) as tell:
        async with asyncio.timeout(30):
            assert await heard.get() == Word(Topic.WORK)
            await asyncio.to_thread(stoppable_postgres.stop)
            tell(Word(Topic.FINISHED, "run-1"))
            await asyncio.to_thread(stoppable_postgres.start)
            # The listener may be back later than the teller; then its own look at the store makes up for it.
            assert await heard.get() in (Word(Topic.WORK), Word(Topic.FINISHED, "run-1"))


async def test_one_does_not_hear_oneself_and_nothing_that_is_not_ours(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    heard: asyncio.Queue[Word] = asyncio.Queue()
    other: asyncio.Queue[Word] = asyncio.Queue()
    wakeups = PostgresWakeups(postgres_url)
    async with wakeups.joined(heard.put_nowait) as tell, wakeups.joined(other.put_nowait) as tell_from_there:
        async with asyncio.timeout(10):
            assert await heard.get() == await other.get() == Word(Topic.WORK)
            for payload in ("", "7", '{"words": 3}', '{"from": "x", "words": [["new", "run-1"], 4]}'):
                statement = f"SELECT pg_notify('fastapi_durable', '{payload}')"
                await asyncio.to_thread(postgres_server.sql, statement, postgres_url.rsplit("/", 1)[1])
            tell(Word(Topic.FINISHED, "mine"))
            assert await other.get() == Word(Topic.FINISHED, "mine")
            tell_from_there(Word(Topic.CANCELLED, "theirs"))
            assert await heard.get() == Word(Topic.CANCELLED, "theirs")
    assert heard.empty()


async def test_more_words_than_fit_into_one_notification_all_arrive(postgres_url: str) -> None:
    heard: asyncio.Queue[Word] = asyncio.Queue()
    told = [Word(Topic.FINISHED, f"{'é' * 400}-{number}") for number in range(60)]
    async with PostgresWakeups(postgres_url).joined(heard.put_nowait):
        await heard.get()
        async with PostgresWakeups(postgres_url).joined(lambda _: None) as tell:
            for word in told:
                tell(word)
            async with asyncio.timeout(10):
                assert [await heard.get() for _ in told] == told


async def test_a_server_that_is_not_there_keeps_nobody_from_starting() -> None:
    async with PostgresWakeups("postgresql://nobody@127.0.0.1:1/nothing?connection_limit=3").joined(print) as tell:
        tell(Word(Topic.WORK))
