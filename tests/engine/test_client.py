"""A process without the workflows' code starts runs by name, and addresses them, over the database of the workers."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_durable import DurableClient, DurableOptions, MemoryStateStore, SyncDurableClient
from fastapi_durable.declare.definition import Singleton, step, workflow
from fastapi_durable.declare.queue import Queue
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.driver import RunDriver
from fastapi_durable.engine.turns.undo import Undo
from fastapi_durable.model.errors import (
    ConfigurationError,
    InputValidationError,
    NoWorkerError,
    RunExistsError,
    RunFailedError,
    RunIdTakenError,
    RunNotFoundError,
    WorkflowNotServedError,
)
from fastapi_durable.model.records import BY_NAME_TAGS, RunQuery, RunStatus
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import (
    FAST,
    SHORT_LEASE,
    build_engine,
    build_machinery,
    killed_worker,
    run_has,
    running_engine,
    tuned,
    until,
)
from tests.support.stores import on_every_store

Stores = tuple[StateStore, StateStore]
undone: list[str] = []
under_way: list[str] = []
most: list[int] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    for each in (undone, under_way, most):
        each.clear()


class Order(BaseModel):
    id: str
    cents: int = 5


class Receipt(BaseModel):
    text: str


class Attributes(BaseModel):
    customer: str


async def refund(undo: Undo[str, str]) -> None:
    undone.append(undo.input)


@step
async def charge(order: str) -> str:
    most.append(1)
    return order


@workflow(tags=["shop"], execution_timeout="1h", search_attributes=Attributes)
async def checkout(ctx: WorkflowContext, order: Order) -> Receipt:
    return Receipt(text=f"{order.id} costs {order.cents}")


@workflow(name="checkout", version="10")
async def newer_checkout(ctx: WorkflowContext, order: Order) -> Receipt:
    return Receipt(text=f"{order.id} costs nothing")


@workflow
async def greet(ctx: WorkflowContext, name: str = "world") -> str:
    return f"hello {name}"


@workflow
async def talk(ctx: WorkflowContext, id: str) -> list[Any]:
    await ctx.step(charge, id, compensate=refund)
    await ctx.set_value("state", {"text": "waits"})
    address = await ctx.on_update("address", str)
    return [address, await ctx.wait_for_signal(f"go:{id}", int)]


@step
async def pack(order: str) -> None:
    under_way.append(order)
    most.append(len(under_way))
    await asyncio.sleep(0.02)
    under_way.remove(order)


@workflow(singleton=Singleton(key=lambda order: str(order.id)))
async def in_turn(ctx: WorkflowContext, order: Order) -> int:
    await ctx.step(pack, order.id)
    return order.cents


EVERY = (checkout, greet, talk, in_turn)


def client(store: StateStore, **settings: Any) -> DurableClient:
    return DurableClient(DurableOptions(store=store, **settings))


@asynccontextmanager
async def served(stores: Stores, *workflows: Any, **settings: Any) -> AsyncIterator[DurableClient]:
    """A client, and a worker that has said what it serves."""
    async with running_engine(stores[1], *(workflows or EVERY)):
        await until(stores[0].list_workers)
        async with client(stores[0], **settings) as found:
            yield found


async def test_a_workflow_is_started_by_name_and_its_result_is_plain_or_typed(stores: Stores) -> None:
    async with served(stores) as by_name:
        handle = await by_name.start("checkout", {"id": "7"}, run_id="r")
        assert await handle.result("60s") == {"text": "7 costs 5"}
        typed = await by_name.start("checkout", Order(id="8", cents=9), returns=Receipt)
        assert await typed.result("60s") == Receipt(text="8 costs 9")
        assert await by_name.execute("checkout", {"id": "9"}, returns=Receipt, timeout="60s") == Receipt(
            text="9 costs 5"
        )
        assert await by_name.result("r", Receipt) == await by_name.handle("r", Receipt).result()
        assert await by_name.result("r") == {"text": "7 costs 5"}
        assert await by_name.status("r") is RunStatus.COMPLETED
        again = await by_name.start("checkout", {"id": "7"}, run_id="r")
        assert not again.created
        with pytest.raises(RunExistsError):
            await by_name.start("checkout", {"id": "7"}, run_id="r", if_exists="refuse")
        with pytest.raises(RunIdTakenError):
            await by_name.start("greet", run_id="r")


async def test_the_input_of_a_workflow_without_one_is_its_default(stores: Stores) -> None:
    async with served(stores) as by_name:
        assert await by_name.execute("greet", timeout="60s") == "hello world"
        assert await by_name.execute("greet", "Ada", timeout="60s") == "hello Ada"


async def test_the_worker_adds_what_only_the_code_knows(stores: Stores) -> None:
    async with served(stores) as by_name:
        attributes = {"customer": "ada"}
        await by_name.execute(
            "checkout", {"id": "7"}, run_id="r", tags=["mine"], search_attributes=attributes, timeout="60s"
        )
    started = build_engine(stores[1], checkout)
    await started.start(checkout, Order(id="7"), run_id="other", tags=["mine"], search_attributes=attributes)
    by_name_run, other = await stores[0].find_run("r"), await stores[0].find_run("other")
    assert by_name_run is not None
    assert other is not None
    assert by_name_run.input == other.input
    assert by_name_run.search_attributes == other.search_attributes
    assert set(by_name_run.tags) == set(other.tags) == {"shop", "mine"}
    assert by_name_run.expires_at == by_name_run.created_at + timedelta(hours=1)


async def test_runs_of_one_singleton_key_take_turns_with_those_of_the_application(stores: Stores) -> None:
    async with served(stores) as by_name:
        engine = build_engine(stores[1], in_turn)
        handles: list[Any] = []
        for cents in range(3):
            handles.append(await by_name.start("in_turn", {"id": "7", "cents": cents}))
            handles.append(await engine.start(in_turn, Order(id="7", cents=cents)))
        assert [await handle.result("60s") for handle in handles] == [0, 0, 1, 1, 2, 2]
    assert max(most) == 1


@pytest.mark.parametrize("input", [{"cents": 1}, 7, None])
async def test_an_input_that_does_not_fit_fails_the_run(stores: Stores, input: Any) -> None:
    async with served(stores) as by_name:
        for name in ("checkout", "in_turn"):
            with pytest.raises(RunFailedError, match=f"the input of workflow '{name}'"):
                await by_name.execute(name, input, timeout="60s")


async def test_a_run_with_an_unfit_input_is_repaired_as_any_other(stores: Stores) -> None:
    async with served(stores) as by_name:
        handle = await by_name.start("in_turn", 7)
        for _ in range(2):
            with pytest.raises(RunFailedError, match="the input of workflow 'in_turn'"):
                await handle.result("60s")
            await build_engine(stores[1], in_turn).retry(handle.run_id)
        with pytest.raises(RunFailedError):
            await handle.result("60s")
        again = await build_engine(stores[1], in_turn).retry_with_input(handle.run_id, {"id": "7"})
        assert await by_name.result(again.id, timeout="60s") == 5
        assert not set(again.tags) & set(BY_NAME_TAGS)


async def test_search_attributes_that_do_not_fit_the_schema_fail_the_run(stores: Stores) -> None:
    async with served(stores) as by_name:
        with pytest.raises(RunFailedError, match="search attributes of workflow 'checkout'"):
            await by_name.execute("checkout", {"id": "7"}, search_attributes={"customer": 7}, timeout="60s")


async def test_a_run_is_completed_by_the_next_worker_if_the_first_one_dies(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the completion, and right after it."""
    complete, died = RunDriver._complete_start, asyncio.Event()

    async def dies_before(driver: RunDriver, definition: Any) -> bool:
        died.set()
        return await asyncio.Event().wait()

    async def dies_after(driver: RunDriver, definition: Any) -> bool:
        await complete(driver, definition)
        died.set()
        return await asyncio.Event().wait()

    for number, dies in enumerate((dies_before, dies_after)):
        died.clear()
        async with client(stores[0]) as by_name:
            with monkeypatch.context() as patch:
                patch.setattr(RunDriver, "_complete_start", dies)
                async with killed_worker(stores[1], *EVERY, config=SHORT_LEASE):
                    handle = await by_name.start(
                        "in_turn", {"id": "7"}, run_id=f"r{number}", version="1", unserved="start"
                    )
                    await died.wait()
                    tagged = (await handle.run()).tags
                    assert any(tag in BY_NAME_TAGS for tag in tagged) is (dies is dies_before)
            async with running_engine(stores[1], *EVERY):
                assert await handle.result("60s") == 5
                assert len((await handle.run()).tags) == 1


async def test_a_worker_that_lost_the_lease_completes_nothing_and_begins_nothing(stores: Stores) -> None:
    async with client(stores[0]) as by_name:
        handle = await by_name.start("talk", "7", version="1", unserved="start")
    machinery = build_machinery(stores[1], talk)
    now = machinery.clock.now()
    (run,) = await stores[1].claim_runs("w:1", now=now, until=now, limit=1)
    (taken,) = await stores[1].claim_runs("w:2", now=now, until=now + timedelta(minutes=1), limit=1)
    await machinery.driver(run, "w:1").drive()
    assert await handle.run() == taken
    assert most == []


async def test_a_pause_during_the_first_claim_is_kept(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    complete = RunDriver._complete_start

    async def pauses(driver: RunDriver, definition: Any) -> bool:
        await build_engine(stores[0], *EVERY).pause(driver.run.id)
        return await complete(driver, definition)

    monkeypatch.setattr(RunDriver, "_complete_start", pauses)
    async with served(stores) as by_name:
        handle = await by_name.start("talk", "7")
        await until(run_has(stores[0], handle.run_id, RunStatus.SUSPENDED))
        assert (await handle.run()).is_paused


async def test_a_run_is_signalled_updated_read_and_cancelled(stores: Stores) -> None:
    async with served(stores) as by_name:
        first = await by_name.start("talk", "first", run_id="first")
        assert await by_name.get_value("first", "state", wait="60s") == {"text": "waits"}
        assert await by_name.get_value("first", "state", Receipt) == Receipt(text="waits")
        assert (await by_name.update("first", "address", "here")).accepted
        await by_name.signal("go:first", 7, signal_id="once")
        assert await first.result("60s") == ["here", 7]
        refused = await by_name.update("first", "address", "there")
        assert not refused.accepted
        second = await by_name.start("talk", "second", run_id="second")
        await until(run_has(stores[0], "second", RunStatus.SUSPENDED))
        await by_name.cancel("second", compensate=True)
        await until(run_has(stores[0], "second", RunStatus.CANCELLED))
        assert undone == ["second"]
        assert await second.status() is RunStatus.CANCELLED
        for call in (by_name.status, by_name.result, by_name.cancel):
            with pytest.raises(RunNotFoundError):
                await call("none")


async def test_an_update_is_answered(stores: Stores) -> None:
    @workflow
    async def doubling(ctx: WorkflowContext) -> None:
        await ctx.on_update("double", int, answer=lambda number: 2 * number)

    async with served(stores, doubling) as by_name:
        await by_name.start("doubling", run_id="r")
        found = await by_name.update("r", "double", 4, wait="60s", answer_type=int)
        assert (found.accepted, found.answer) == (True, 8)


async def test_the_newest_version_of_the_live_workers_is_started(stores: Stores) -> None:
    """As during a rolling deploy."""
    async with served(stores, checkout) as by_name:
        assert await by_name.execute("checkout", {"id": "7"}, timeout="60s") == {"text": "7 costs 5"}
    older = running_engine(stores[1], checkout, config=tuned(FAST, instance_id="older"))
    async with older, served(stores, newer_checkout) as by_name:
        await until(partial(has_workers, stores[0], 2))
        assert await by_name.execute("checkout", {"id": "7"}, timeout="60s") == {"text": "7 costs nothing"}
        assert await by_name.execute("checkout", {"id": "7"}, version="1", timeout="60s") == {"text": "7 costs 5"}


async def has_workers(store: StateStore, number: int) -> bool:
    return len(await store.list_workers()) == number


async def test_a_workflow_that_no_live_worker_has_is_refused(stores: Stores) -> None:
    async with served(stores, greet) as by_name:
        wrong: dict[str, Any] = {"chekout": {}, "greet": {"version": "2"}, "__accumulator": {}}
        for name, options in wrong.items():
            with pytest.raises((WorkflowNotServedError, InputValidationError)) as caught:
                await by_name.start(name, 1, run_id="r", **options)
            if isinstance(caught.value, WorkflowNotServedError):
                assert caught.value.served == ("greet (version 1)",)
        assert await stores[0].find_run("r") is None
    async with running_engine(stores[1], checkout, config=tuned(FAST, namespace="theirs")):
        await until(stores[0].list_workers)
        async with client(stores[0], namespace="ours") as by_name:
            with pytest.raises(WorkflowNotServedError, match="of namespace 'ours'"):
                await by_name.start("checkout", {"id": "7"})


async def test_a_client_that_is_deployed_first_starts_runs_that_wait_for_their_worker(stores: Stores) -> None:
    async with client(stores[0], no_worker_after="50ms") as by_name:
        handle = await by_name.start("greet", "Ada", version="1", unserved="start")
        with pytest.raises(NoWorkerError):
            await handle.result()
        async with running_engine(stores[1], greet):
            await until(run_has(stores[0], handle.run_id, RunStatus.COMPLETED))
            assert await handle.result() == "hello Ada"
        with pytest.raises(InputValidationError, match="version must be given"):
            await by_name.start("greet", unserved="start")
        with pytest.raises(InputValidationError, match="unserved must be 'refuse' or 'start'"):
            await by_name.start("greet", unserved="maybe")  # type: ignore[call-overload]


async def test_start_options_hold_for_runs_by_name(stores: Stores) -> None:
    queue = Queue("mail", concurrency=1)
    async with running_engine(stores[1], greet, queues=[queue]):
        await until(stores[0].list_workers)
        async with client(stores[0], queues=[queue], max_delayed_starts=10) as by_name:
            queued = await by_name.start("greet", queue="mail", fairness_key="ada", priority=3, delay="20ms")
            assert await queued.result("60s") == "hello world"
            run = await queued.run()
            assert (run.queue, run.fairness_key, run.priority, run.status) == ("mail", "ada", 3, "completed")
            with pytest.raises(InputValidationError, match="no queue 'post' is declared"):
                await by_name.start("greet", queue="post")
            with pytest.raises(TypeError, match="unexpected keyword argument 'queu'"):
                await by_name.start("greet", queu="mail")  # type: ignore[call-overload]


@pytest.mark.parametrize("tag", BY_NAME_TAGS)
async def test_callers_cannot_forge_the_mark(tag: str) -> None:
    engine = build_engine(MemoryStateStore(), greet)
    with pytest.raises(InputValidationError, match="which marks a run that a client starts by name"):
        await engine.start(greet, "Ada", tags=[tag])


@pytest.mark.parametrize(
    ("name", "input", "options"),
    [
        ("", 1, {}),
        (7, 1, {}),
        ("a:b", 1, {}),
        ("greet", float("nan"), {"version": "1", "unserved": "start"}),
        ("greet", object(), {"version": "1", "unserved": "start"}),
        ("greet", "\0", {"version": "1", "unserved": "start"}),
        ("greet", 1, {"version": "", "unserved": "start"}),
        ("greet", 1, {"version": 7, "unserved": "start"}),
        ("greet", 1, {"version": "1", "unserved": "start", "run_id": ""}),
    ],
)
@on_every_store
async def test_bad_input_is_refused_before_anything_is_written(
    store: StateStore, name: Any, input: Any, options: dict[str, Any]
) -> None:
    async with client(store) as by_name:
        with pytest.raises(InputValidationError):
            await by_name.start(name, input, **options)
    assert await store.list_runs(RunQuery()) == []


async def test_a_client_that_is_not_open_says_so() -> None:
    by_name = client(MemoryStateStore())
    with pytest.raises(ConfigurationError, match="not open"):
        await by_name.status("r")
    async with by_name:
        with pytest.raises(ConfigurationError, match="open already"):
            await by_name.__aenter__()
    with pytest.raises(ConfigurationError, match="not open"):
        by_name.handle("r")
    with pytest.raises(ConfigurationError, match="options must be a DurableOptions"):
        DurableClient(MemoryStateStore())  # type: ignore[arg-type]


# Synchronous

Connect = Callable[[], AbstractAsyncContextManager[DurableOptions]]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Options whose database client is connected where they are opened."""
    from example_app.clients import postgresql, sqlite
    from fastapi_durable.store.prisma import PrismaStateStore

    kind: Any = sqlite.Prisma if request.param == "sqlite" else postgresql.Prisma
    url = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")

    @asynccontextmanager
    async def options() -> AsyncIterator[DurableOptions]:
        async with kind(datasource={"url": url}) as prisma:
            yield DurableOptions(store=PrismaStateStore(prisma), poll_interval="20ms")

    return options


@asynccontextmanager
async def worker_of(connect: Connect) -> AsyncIterator[StateStore]:
    async with connect() as options, running_engine(options.store, *EVERY):
        await until(options.store.list_workers)
        yield options.store


def used_by_several_threads(connect: Connect) -> list[Any]:
    """What code without an event loop does."""
    with SyncDurableClient(connect) as by_name:
        handle = by_name.start("checkout", Order(id="7"), run_id="r", returns=Receipt)
        assert handle.created
        found: list[Any] = [handle.result("60s"), by_name.result("r"), by_name.status("r"), handle.status()]
        assert handle.run().id == handle.run_id == by_name.handle("r").run_id
        by_name.start("talk", "7", run_id="talk")
        found.append(by_name.get_value("talk", "state", wait="60s"))
        assert by_name.update("talk", "address", "here").accepted
        by_name.signal("go:7", 7)
        found.append(by_name.handle("talk").result("60s"))
        by_name.start("talk", "8", run_id="cancelled")
        found.append(by_name.cancel("cancelled").status)
        results: list[str] = []

        def greets(number: int) -> None:
            results.extend(by_name.execute("greet", f"{number}-{each}", timeout="60s") for each in range(5))

        threads = [threading.Thread(target=greets, args=[number]) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [*found, sorted(results)]


async def test_code_without_an_event_loop_uses_the_synchronous_client_from_several_threads(connect: Connect) -> None:
    async with worker_of(connect):
        assert await asyncio.to_thread(used_by_several_threads, connect) == [
            Receipt(text="7 costs 5"),
            {"text": "7 costs 5"},
            RunStatus.COMPLETED,
            RunStatus.COMPLETED,
            {"text": "waits"},
            ["here", 7],
            RunStatus.CANCELLED,
            sorted(f"hello {number}-{each}" for number in range(4) for each in range(5)),
        ]
    assert not [thread for thread in threading.enumerate() if thread.name == "durable client"]


_PROGRAM = """
import sys
from contextlib import asynccontextmanager

from example_app.clients.{kind} import Prisma
from fastapi_durable import DurableOptions, PrismaStateStore, SyncDurableClient

@asynccontextmanager
async def options():
    async with Prisma(datasource={{"url": sys.argv[1]}}) as prisma:
        yield DurableOptions(store=PrismaStateStore(prisma))

with SyncDurableClient(options) as client:
    print(client.execute("checkout", {{"id": "7"}}, timeout="60s")["text"])
"""


async def test_another_process_knows_neither_the_code_nor_the_worker(
    connect: Connect, request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.params["connect"]
    url = request.getfixturevalue("sqlite_url" if kind == "sqlite" else "postgres_url")
    async with worker_of(connect):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _PROGRAM.format(kind=kind),
            url,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed, errors = await process.communicate()
    assert (process.returncode, printed.decode()) == (0, "7 costs 5\n"), errors.decode()


async def test_the_synchronous_client_is_refused_inside_a_running_loop() -> None:
    by_name = SyncDurableClient(DurableOptions(store=MemoryStateStore()))
    with pytest.raises(ConfigurationError, match=r"open\(\) must not be called inside a running event loop"):
        by_name.open()
    await asyncio.to_thread(by_name.open)
    try:
        with pytest.raises(ConfigurationError, match=r"await asyncio.to_thread\(client.status"):
            by_name.status("r")
        started = await asyncio.to_thread(by_name.start, "greet", "Ada", version="1", unserved="start")
        assert await asyncio.to_thread(by_name.status, started.run_id) is RunStatus.PENDING
    finally:
        await asyncio.to_thread(by_name.close)


def test_closing_ends_the_thread_and_the_calls_that_are_under_way() -> None:
    by_name = SyncDurableClient(DurableOptions(store=MemoryStateStore(), no_worker_after="never"))
    by_name.open()
    with pytest.raises(ConfigurationError, match="open already"):
        by_name.open()
    handle = by_name.start("greet", version="1", unserved="start")
    errors: list[BaseException] = []
    begun = threading.Event()

    def waits() -> None:
        begun.set()
        try:
            handle.result()
        except ConfigurationError as error:
            errors.append(error)

    thread = threading.Thread(target=waits)
    thread.start()
    begun.wait()
    while not by_name._calls:
        pass
    by_name.close()
    thread.join(30)
    assert not thread.is_alive()
    assert "closed during result()" in str(errors[0])
    assert not [each for each in threading.enumerate() if each.name == "durable client"]
    with pytest.raises(ConfigurationError, match="not open"):
        by_name.status("r")
    by_name.close()
    with by_name:
        assert by_name.start("greet", version="1", unserved="start").created


def test_an_opening_that_fails_leaves_no_thread() -> None:
    def broken() -> AbstractAsyncContextManager[DurableOptions]:
        raise OSError("no database")

    by_name = SyncDurableClient(broken)
    for _ in range(2):
        with pytest.raises(OSError, match="no database"):
            by_name.open()
    assert not [each for each in threading.enumerate() if each.name == "durable client"]
