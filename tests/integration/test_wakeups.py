"""Processes that share a database hear from each other at once; polling stays the net."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fastapi_durable import PostgresWakeups, PrismaStateStore, RunStatus, SqliteWakeups, step, workflow
from fastapi_durable.engine.worker import Worker
from fastapi_durable.errors import RunCancelledError
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.wakeups import Wakeups
from fastapi_durable.wakeups.base import Topic, Wakeup
from fastapi_durable.wakeups.outbox import wakeups_in
from tests.support.engine_rig import FAST, build_machinery, has_status, tuned, until
from tests.support.postgres import LocalPostgresServer, PostgresServer

# Whatever happens within a test's time happens because somebody was told.
SELDOM = tuned(FAST, poll_interval=timedelta(hours=1), lease=timedelta(hours=1))


@workflow(name="greeting")
async def greeting(ctx: Any, name: str) -> str:
    word: str = await ctx.wait_for_signal(f"word:{name}", str)
    return f"{word}, {name}"


@dataclass(frozen=True)
class Shared:
    """A database that processes share, and its server, if it has one."""

    url: str
    server: PostgresServer | None = None

    @property
    def wakeups(self) -> Wakeups:
        return SqliteWakeups(self.url) if self.server is None else PostgresWakeups(self.url)

    async def until_heard_by(self, number: int) -> None:
        """A process on SQLite listens at once, one on PostgreSQL when it is connected."""
        server = self.server
        if server is not None:
            await until(lambda: _are(number, listeners(server, self.url)))


async def _is(fact: bool) -> bool:
    return fact


async def _are(number: int, counting: Awaitable[int]) -> bool:
    return await counting == number


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def shared(request: pytest.FixtureRequest) -> Shared:
    if request.param == "sqlite":
        return Shared(request.getfixturevalue("sqlite_url"))
    return Shared(request.getfixturevalue("postgres_url"), request.getfixturevalue("postgres_server"))


@asynccontextmanager
async def process(shared: Shared, *workflows: Any, drives: bool = True) -> AsyncIterator[WorkflowService]:
    """What one process of an application has; it hardly ever polls."""
    from example_app.clients import postgresql, sqlite

    client_class: Any = sqlite.Prisma if shared.server is None else postgresql.Prisma
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(client_class(datasource={"url": shared.url}))
        engine = build_machinery(PrismaStateStore(client), *workflows, config=SELDOM)
        joined = shared.wakeups.joined(engine.notifications.on_message)
        stack.enter_context(engine.notifications.joined_to(await stack.enter_async_context(joined)))
        if drives:
            worker = Worker(engine)
            await worker.start()
            stack.push_async_callback(worker.stop)
        yield WorkflowService(engine.kernel)


async def listeners(server: PostgresServer, url: str) -> int:
    """How many processes listen."""
    database = url.rsplit("/", 1)[1]
    listening = "query LIKE 'LISTEN%' OR query LIKE '%pg_notify%'"
    text = await asyncio.to_thread(
        server.sql, f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND ({listening})"
    )
    return int(text)


async def test_a_run_and_its_signal_reach_the_worker_of_another_process_and_the_result_comes_back_without_a_poll(
    shared: Shared,
) -> None:
    async with process(shared, greeting, drives=False) as asking, process(shared, greeting):
        await shared.until_heard_by(2)
        handle = await asking.start(greeting, "ada")
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        with asking._kernel.notifications.watch_run(handle.run_id) as watch:
            assert await asking.signal("word:ada", "good day")
            assert await watch.wait(timedelta(seconds=60))
        assert await handle.result() == "good day, ada"


async def test_a_value_that_another_process_sets_reaches_its_reader_without_a_poll(shared: Shared) -> None:
    @workflow(name="showing")
    async def showing(ctx: Any) -> None:
        await ctx.wait_for_signal("show")
        await ctx.set_value("shown", 7)
        await ctx.wait_for_signal("end")

    async with process(shared, showing, drives=False) as asking, process(shared, showing):
        await shared.until_heard_by(2)
        handle = await asking.start(showing)
        with asking._kernel.notifications.watch_values(handle.run_id) as heard:
            reader = asyncio.create_task(asking.get_value(handle.run_id, "shown", int, wait="60s"))
            await asking.signal("show")
            async with asyncio.timeout(60):
                await heard.wait()
        assert await reader == 7


async def test_a_cancel_ends_the_step_that_another_process_executes(shared: Shared) -> None:
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

    told = list[str]()

    async with process(shared, patient, drives=False) as asking, process(shared, patient) as driving:
        driving.on_cancel(told.append)
        await shared.until_heard_by(2)
        handle = await asking.start(patient)
        async with asyncio.timeout(60):
            await began.wait()
            await asking.cancel(handle.run_id)
            await ended.wait()
            await until(lambda: _is(bool(told)))
        assert set(told) == {handle.run_id}
        with pytest.raises(RunCancelledError):
            await handle.result("60s")


@pytest.mark.parametrize("topic", list(Topic))
async def test_a_forged_notification_changes_nothing_and_nobody_believes_it(shared: Shared, topic: Topic) -> None:
    """Whoever may connect to the database may notify: of a cancel, an end, a delivery, of runs that are not theirs."""
    began, go_on, executions, told = asyncio.Event(), asyncio.Event(), list[str](), list[str]()

    @step
    async def once() -> str:
        executions.append("begun")
        began.set()
        await go_on.wait()
        executions.append("done")
        return "done"

    @workflow(name="at work")
    async def at_work(ctx: Any) -> str:
        return str(await ctx.step(once))

    async with process(shared, at_work, greeting) as working, process(shared, at_work, drives=False) as asking:
        working.on_cancel(told.append)
        asking.on_cancel(told.append)
        await shared.until_heard_by(2)
        handle = await asking.start("at work")
        result = asyncio.create_task(handle.result())
        await began.wait()
        async with shared.wakeups.joined(lambda _: None) as forge:
            await shared.until_heard_by(3)
            for number in range(3):
                with (
                    working._kernel.notifications.watch_run(f"heard {number}") as here,
                    asking._kernel.notifications.watch_run(f"heard {number}") as there,
                ):
                    forge(Wakeup(topic, handle.run_id))
                    forge(Wakeup(topic, "nobody"))
                    forge(Wakeup(Topic.FINISHED, f"heard {number}"))
                    assert await here.wait(timedelta(seconds=60))
                    assert await there.wait(timedelta(seconds=60))
                # Time for what the notification may have begun: another run from its start to its end.
                other = await working.start(greeting, f"{number}")
                await working.signal(f"word:{number}", "good day")
                await other.result("60s")
        assert (executions, told, result.done()) == (["begun"], [], False)
        assert (await handle.run()).status is RunStatus.RUNNING
        go_on.set()
        assert await result == "done"
        assert executions == ["begun", "done"]


def test_a_message_that_cannot_be_read_is_passed_over() -> None:
    for message in (
        "[" * 7000,
        '{"from": "x", "wakeups": [[["work"], 1]]}',
        '{"from": [], "wakeups": [["work", "", 3]]}',
    ):
        assert wakeups_in(message, except_from="me") == []


async def test_what_a_stopping_process_hands_back_is_taken_up_by_another_one_without_a_poll(
    shared: Shared,
) -> None:
    """As in a rolling restart: nothing waits for the lease or for the next poll, an hour away both."""
    began, go_on = asyncio.Event(), asyncio.Event()

    @step
    async def work() -> None:
        began.set()
        await go_on.wait()

    @step
    async def more() -> bool:
        return handle.run_id in leaving._kernel.notifications.driven_here

    @workflow(name="restless")
    async def restless(ctx: Any) -> bool:
        """Whether the process that leaves did all of it."""
        await ctx.step(work)
        return bool(await ctx.step(more))

    async with AsyncExitStack() as old, process(shared, drives=False) as asking:
        leaving = await old.enter_async_context(process(shared, restless))
        handle = await leaving.start(restless)
        await began.wait()
        async with process(shared, restless):
            await shared.until_heard_by(3)
            stopping = asyncio.create_task(old.aclose())
            await asyncio.sleep(0)
            with asking._kernel.notifications.watch_run(handle.run_id) as watch:
                go_on.set()
                assert await watch.wait(timedelta(seconds=60))
            await stopping
        run = await asking.handle(handle.run_id).run()
        assert (run.status, run.output, run.locked_by) == (RunStatus.COMPLETED, False, None)


@pytest.mark.postgres
async def test_what_was_missed_while_the_connection_was_cut_is_looked_for_when_it_is_back(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    heard: asyncio.Queue[Wakeup] = asyncio.Queue()
    async with PostgresWakeups(postgres_url).joined(heard.put_nowait):
        async with asyncio.timeout(60):
            assert await heard.get() == Wakeup(Topic.WORK)
            cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            others = f"{cut} AND pid <> pg_backend_pid()"
            await asyncio.to_thread(postgres_server.sql, others, postgres_url.rsplit("/", 1)[1])
            assert await heard.get() == Wakeup(Topic.WORK)


@pytest.mark.postgres
async def test_words_that_are_told_while_the_server_is_away_are_told_when_it_is_back(
    stoppable_postgres: LocalPostgresServer,
) -> None:
    heard: asyncio.Queue[Wakeup] = asyncio.Queue()
    url = stoppable_postgres.url
    async with PostgresWakeups(url).joined(heard.put_nowait), PostgresWakeups(url).joined(lambda _: None) as publish:
        async with asyncio.timeout(60):
            assert await heard.get() == Wakeup(Topic.WORK)
            await asyncio.to_thread(stoppable_postgres.stop)
            publish(Wakeup(Topic.FINISHED, "run-1"))
            await asyncio.to_thread(stoppable_postgres.start)
            # The listener may be back later than the teller; then its own look at the store makes up for it.
            assert await heard.get() in (Wakeup(Topic.WORK), Wakeup(Topic.FINISHED, "run-1"))


@pytest.mark.postgres
async def test_one_does_not_hear_oneself_and_nothing_that_is_not_ours(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    heard: asyncio.Queue[Wakeup] = asyncio.Queue()
    other: asyncio.Queue[Wakeup] = asyncio.Queue()
    wakeups = PostgresWakeups(postgres_url)
    async with wakeups.joined(heard.put_nowait) as publish, wakeups.joined(other.put_nowait) as tell_from_there:
        async with asyncio.timeout(60):
            assert await heard.get() == await other.get() == Wakeup(Topic.WORK)
            for payload in ("", "7", '{"wakeups": 3}', '{"from": "x", "wakeups": [["new", "run-1"], 4]}'):
                statement = f"SELECT pg_notify('fastapi_durable', '{payload}')"
                await asyncio.to_thread(postgres_server.sql, statement, postgres_url.rsplit("/", 1)[1])
            publish(Wakeup(Topic.FINISHED, "mine"))
            assert await other.get() == Wakeup(Topic.FINISHED, "mine")
            tell_from_there(Wakeup(Topic.CANCELLED, "theirs"))
            assert await heard.get() == Wakeup(Topic.CANCELLED, "theirs")
    assert heard.empty()


async def test_more_words_than_fit_into_one_message_all_arrive(shared: Shared) -> None:
    heard: asyncio.Queue[Wakeup] = asyncio.Queue()
    told = [Wakeup(Topic.FINISHED, f"{'é' * 400}-{number}") for number in range(60)]
    async with shared.wakeups.joined(heard.put_nowait):
        await heard.get()
        async with shared.wakeups.joined(lambda _: None) as publish:
            for word in told:
                publish(word)
            async with asyncio.timeout(60):
                assert [await heard.get() for _ in told] == told


async def test_a_server_that_is_not_there_keeps_nobody_from_starting() -> None:
    async with PostgresWakeups("postgresql://nobody@127.0.0.1:1/nothing?connection_limit=3").joined(print) as publish:
        publish(Wakeup(Topic.WORK))


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder with a short name: the path of a socket has a hundred characters at most."""
    with tempfile.TemporaryDirectory(prefix="wake-") as folder:
        yield Path(folder) / "of all"


async def test_a_process_on_sqlite_hears_the_others_and_nothing_that_is_not_ours(
    sqlite_url: str, sockets: Path
) -> None:
    heard: asyncio.Queue[Wakeup] = asyncio.Queue()
    wakeups = SqliteWakeups(sqlite_url, folder=sockets)
    async with wakeups.joined(heard.put_nowait) as publish:
        assert await heard.get() == Wakeup(Topic.WORK)
        (path,) = sockets_in(sockets)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            for message in (b"", b"7", b"\xff", b'{"from": "x", "wakeups": [["new", "run-1"], 4]}'):
                stranger.sendto(message, str(path))
        publish(Wakeup(Topic.FINISHED, "mine"))
        async with wakeups.joined(lambda _: None) as tell_from_there:
            tell_from_there(Wakeup(Topic.CANCELLED, "theirs"))
        async with asyncio.timeout(60):
            assert await heard.get() == Wakeup(Topic.CANCELLED, "theirs")
        assert heard.empty()
    assert not folders_in(sockets), "whoever leaves last leaves nothing behind"


def sockets_in(folder: Path) -> list[Path]:
    return list(folder.glob("*/*.sock"))


def folders_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def _fill(sender: socket.socket, queue: Path) -> None:
    try:
        while True:
            sender.sendto(b"7", str(queue))
    except BlockingIOError:
        pass


@pytest.fixture
def killed_peer(sqlite_url: str, sockets: Path) -> None:
    """A process that joined and was killed."""
    code = (
        "import asyncio, sys\nfrom fastapi_durable import SqliteWakeups\n"
        "async def main():\n  async with SqliteWakeups(sys.argv[1], folder=sys.argv[2]).joined(print):\n"
        "    await asyncio.sleep(60)\nasyncio.run(main())"
    )
    command = [sys.executable, "-uc", code, sqlite_url, str(sockets)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as peer:
        assert peer.stdout is not None
        peer.stdout.readline()
        peer.send_signal(signal.SIGKILL)


@pytest.mark.usefixtures("killed_peer")
async def test_the_socket_of_a_killed_process_is_removed_by_whoever_meets_it(sqlite_url: str, sockets: Path) -> None:
    heard: asyncio.Queue[Wakeup] = asyncio.Queue()
    wakeups = SqliteWakeups(sqlite_url, folder=sockets)
    async with wakeups.joined(heard.put_nowait), wakeups.joined(lambda _: None) as publish:
        assert len(sockets_in(sockets)) == 3
        publish(Wakeup(Topic.FINISHED, "run-1"))
        async with asyncio.timeout(60):
            assert [await heard.get(), await heard.get()] == [Wakeup(Topic.WORK), Wakeup(Topic.FINISHED, "run-1")]
        assert len(sockets_in(sockets)) == 2


async def test_a_full_queue_of_a_paused_process_holds_nobody_up(sqlite_url: str, sockets: Path) -> None:
    wakeups = SqliteWakeups(sqlite_url, folder=sockets)
    async with wakeups.joined(lambda _: None) as publish:
        (own,) = sockets_in(sockets)
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as paused,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other,
        ):
            paused.bind(str(own.with_name("paused.sock")))
            other.setblocking(False)
            _fill(other, own.with_name("paused.sock"))
            heard: asyncio.Queue[Wakeup] = asyncio.Queue()
            async with wakeups.joined(heard.put_nowait):
                publish(Wakeup(Topic.FINISHED, "run-1"))
                async with asyncio.timeout(60):
                    assert [await heard.get(), await heard.get()] == [
                        Wakeup(Topic.WORK),
                        Wakeup(Topic.FINISHED, "run-1"),
                    ]
            assert own.with_name("paused.sock").exists()


@pytest.mark.parametrize("mode", [0o777, 0o750])
async def test_a_folder_that_others_may_enter_is_not_used(
    mode: int, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tmp_path / f"fastapi-durable-{os.getuid()}"
    folder.mkdir()
    folder.chmod(mode)
    async with SqliteWakeups(sqlite_url).joined(lambda _: None) as publish:
        publish(Wakeup(Topic.WORK))
    assert "belongs to this user" in caplog.text
    assert list(folder.iterdir()) == []


async def test_the_folder_of_the_sockets_is_the_users_alone(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    async with SqliteWakeups(sqlite_url).joined(lambda _: None):
        folder = tmp_path / f"fastapi-durable-{os.getuid()}"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_a_socket_that_was_cleaned_up_is_made_again(
    sqlite_url: str, sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastapi_durable.wakeups.sqlite._CARE_SECONDS", 0.01)
    heard: asyncio.Queue[Wakeup] = asyncio.Queue()
    wakeups = SqliteWakeups(sqlite_url, folder=sockets)
    async with wakeups.joined(heard.put_nowait), wakeups.joined(lambda _: None) as publish:
        assert await heard.get() == Wakeup(Topic.WORK)
        for path in sockets_in(sockets):
            path.unlink()
        async with asyncio.timeout(60):
            assert await heard.get() == Wakeup(Topic.WORK), "what was missed meanwhile is looked for"
            await until(lambda: _are_two(sockets))
            publish(Wakeup(Topic.FINISHED, "run-1"))
            assert await heard.get() == Wakeup(Topic.FINISHED, "run-1")


async def _are_two(folder: Path) -> bool:
    return len(sockets_in(folder)) == 2
