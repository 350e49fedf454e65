"""Which process drives runs."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from fastapi_durable import DurableModule, DurableOptions, MemoryStateStore, Queue, RunStatus
from fastapi_durable.declare.queue import QueueLoad
from fastapi_durable.errors import StoreUnavailableError
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.web import probes
from fastapi_durable.web.probes import answering_probes
from tests.integration.order_desk import Order, calling, checkout, order_desk, receipt_of
from tests.support.engine_rig import until


def module_on(store: MemoryStateStore, **options: Any) -> DurableModule:
    return DurableModule.for_root(DurableOptions(store=store, poll_interval="10ms", **options), workflows=[checkout])


async def test_an_api_process_starts_runs_and_leaves_them_to_a_worker_process() -> None:
    store = MemoryStateStore()
    api, worker = module_on(store, role="api"), module_on(store, role="worker")
    app = FastAPI()
    async with api.lifespan(app):
        runtime = api.runtime(app)
        assert runtime.worker is None
        handle = await runtime.service.start(checkout, Order(id="7"))
        assert await handle.status() is RunStatus.PENDING
        async with worker.running():
            assert (await handle.result("60s")).text == "order 7 by card gateway"


async def test_a_process_that_drives_nothing_changes_no_limit_of_a_queue() -> None:
    """A check before a deploy, or a command of the terminal, runs the code that is to come."""
    store = MemoryStateStore()

    async def limits() -> dict[str, int | None]:
        return {load.queue.name: load.queue.concurrency for load in await store.list_queues(SystemClock().now())}

    async with module_on(store, role="worker", queues=[Queue("mail", concurrency=2)]).running():
        async with module_on(store, role="api", queues=[Queue("mail", concurrency=9)]).running() as runtime:
            assert await limits() == {"mail": 2}
            handle = await runtime.service.start(checkout, Order(id="7"), queue="mail")
            assert (await handle.result("60s")).text == "order 7 by card gateway"
            assert await limits() == {"mail": 2}


async def test_the_role_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLE_ROLE", "api")
    durable = module_on(MemoryStateStore())
    async with durable.running() as runtime:
        assert runtime.worker is None
    async with durable.running(role="worker") as runtime:
        assert runtime.worker is not None


async def test_a_namespace_hides_the_runs_of_others_from_the_gateway() -> None:
    store = MemoryStateStore()
    shop, bank = module_on(store, namespace="shop"), module_on(store, namespace="bank")
    async with shop.running() as runtime, bank.running() as other:
        await runtime.service.execute(checkout, Order(id="7"), run_id="7", timeout="60s")
        assert [listed.run.id for listed in await runtime.service.list_runs()] == ["7"]
        assert await other.service.list_runs() == []
        assert await other.service.get_run_detail("7") is None


async def test_scoped_reads_hide_the_runs_of_others_from_whoever_asks_the_store() -> None:
    store = MemoryStateStore()
    shop, bank = module_on(store, namespace="shop"), module_on(store, namespace="bank", scope_reads=True)
    async with shop.running() as runtime, bank.running() as other:
        await runtime.service.execute(checkout, Order(id="7"), run_id="7", timeout="60s")
        assert await other.store.find_run("7") is None
        await other.service.execute(checkout, Order(id="8"), run_id="8", timeout="60s")
        assert await other.store.find_run("8") is not None
        assert await runtime.store.find_run("8") is not None, "without scope_reads the store is the application's own"


class _UnreliableStore(MemoryStateStore):
    down: bool | str = False

    async def ping(self) -> None:
        if self.down == "silent":
            await asyncio.Event().wait()
        if self.down:
            raise StoreUnavailableError("the database at db.test:5432 refuses connections")


async def test_health_says_whether_the_store_answers_and_the_worker_lives() -> None:
    store = _UnreliableStore()
    durable = module_on(store)
    app = order_desk(durable.lifespan)
    async with durable.lifespan(app), calling(app) as client:
        await receipt_of(client, "7")
        assert (await client.get("/health")).json() == {"live": True, "ready": True, "role": "all"}
        health = await durable.health(app)
        assert health.worker is not None
        assert health.worker.last_poll_at is not None
        store.down = True
        assert (await client.get("/health")).json() == {"live": True, "ready": False, "role": "all"}
        assert (await durable.health(app)).store_error == (
            "StoreUnavailableError: the database at db.test:5432 refuses connections"
        )
        store.down = "silent"
        health = await durable.runtime(app).health(timeout=timedelta(milliseconds=10))
        assert (health.ready, health.store_error) == (False, "no answer within 0.01 s")
        store.down = False
        assert (await durable.health(app)).ready


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_worker_that_cannot_look_for_work_is_not_ready_although_the_store_answers(
    monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    monkeypatch.setattr("fastapi_durable.app.runtime._LONGEST_OVERDUE", timedelta(milliseconds=50))
    broken = False

    class Store(MemoryStateStore):
        async def claim_runs(self, *arguments: Any, **options: Any) -> Any:
            while hangs and broken:  # noqa: ASYNC110 (until somebody mends it)
                await asyncio.sleep(0.001)
            if broken:
                raise StoreUnavailableError("a column is missing")
            return await super().claim_runs(*arguments, **options)

    async with module_on(Store()).running() as runtime:

        async def is_ready() -> bool:
            return (await runtime.health()).ready

        async def is_not_ready() -> bool:
            return not await is_ready()

        await until(is_ready)
        broken = True
        await until(is_not_ready)
        health = await runtime.health()
        assert health.live
        assert health.store_error is not None
        assert ("no answer" if hangs else "a column is missing") in health.store_error
        broken = False
        await until(is_ready)


async def test_a_process_that_drives_nothing_is_live_without_a_worker() -> None:
    async with module_on(MemoryStateStore(), role="api").running() as runtime:
        health = await runtime.health()
        assert (health.live, health.ready, health.worker) == (True, True, None)


async def test_the_probes_of_a_worker_turn_with_its_health() -> None:
    store = _UnreliableStore()
    async with module_on(store).running() as runtime, answering_probes(runtime, ("127.0.0.1", 0)) as (host, port):
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
            assert (await client.get("/health/ready")).status_code == 200
            metrics = await client.get("/metrics")
            assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
            assert "durable_worker_up 1" in metrics.text.splitlines()
            store.down = True
            response = await client.get("/health/ready?verbose=1")
            assert response.status_code == 503
            assert response.json() == {"live": True, "ready": False, "role": "all"}
            assert (await client.get("/health/live")).status_code == 200
            assert runtime.worker is not None
            await runtime.worker.stop()
            assert (await client.get("/health/live")).status_code == 503


class _StoreOfManyQueues(MemoryStateStore):
    async def list_queues(self, now: datetime, **options: Any) -> list[QueueLoad]:
        return await super().list_queues(now, **options) * 200_000


def _answering() -> bool:
    tasks = [task.get_coro() for task in asyncio.all_tasks()]
    return any("answering_probes" in getattr(each, "__qualname__", "") for each in tasks)


async def test_a_reader_that_stops_reading_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does not take would else stay in memory, and the process would not end."""
    monkeypatch.setattr(probes, "_REQUEST_TIMEOUT", 0.2)
    module = module_on(_StoreOfManyQueues(), queues=[Queue("parcels")])
    async with module.running() as runtime, answering_probes(runtime, ("127.0.0.1", 0)) as (host, port):
        with socket.create_connection((host, port)) as reader:
            reader.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            await until(_is(answering=True))
            await until(_is(answering=False))


def _is(*, answering: bool) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return _answering() == answering

    return look


async def test_a_probe_that_is_no_http_is_hung_up_on() -> None:
    async with module_on(MemoryStateStore()).running() as runtime:
        async with answering_probes(runtime, ("127.0.0.1", 0)) as (host, port):
            for nonsense in (b"\r\n\r\n", b"x" * 100_000, b""):
                reader, writer = await asyncio.open_connection(host, port)
                writer.write(nonsense)
                writer.write_eof()
                with suppress(ConnectionError):
                    assert b"200 OK" not in await reader.read()
                writer.close()
