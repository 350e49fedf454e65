"""A run's stream as a browser gets it: server-sent events that go on where the last connection ended."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Header, HTTPException

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    StateStore,
    WorkflowContext,
    current_step,
    fixed,
    step,
    workflow,
)
from fastapi_durable.errors import ConfigurationError, StoreUnavailableError
from fastapi_durable.web import run_stream
from tests.support.interposed_store import interposed
from tests.support.new_stores import new_store, on_new_stores

Event = dict[str, Any]


@pytest.fixture
async def store() -> AsyncIterator[StateStore]:
    async with new_store() as opened:
        yield opened


def events_in(text: str) -> list[Event]:
    """What an `EventSource` would make of a response; without what it does not show."""
    found = []
    for part in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in part.splitlines() if not line.startswith(":"))
        if "event" in fields:
            found.append({**fields, "data": json.loads(fields["data"])})
    return found


def items_in(text: str) -> list[tuple[str, Any]]:
    return [(each["id"], each["data"]["data"]) for each in events_in(text) if each["event"] == "item"]


@step(max_attempts=2, backoff=fixed("1ms"))
async def tell() -> None:
    stream = current_step().stream("tokens")
    await stream.append("line\none")
    if current_step().attempt == 1:
        raise ValueError
    await stream.append("two")


@workflow
async def answer(ctx: WorkflowContext) -> None:
    await ctx.step(tell)
    await ctx.wait_for_signal(f"go:{ctx.run_id}")
    await ctx.stream("tokens").append("last")


async def may_read(run_id: str, key: Annotated[str, Header()] = "") -> None:
    if key != f"key of {run_id}":
        raise HTTPException(403)


def module_on(store: StateStore) -> DurableModule:
    options = DurableOptions(store=store, poll_interval="20ms")
    return DurableModule.for_root(options, workflows=[answer])


@asynccontextmanager
async def client_of(durable: DurableModule, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI(lifespan=durable.lifespan)
    app.include_router(durable.stream_router("tokens", prefix="/answers", dependencies=[Depends(may_read)], **options))
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        client.app = app  # type: ignore[attr-defined]
        yield client


async def follow(client: httpx.AsyncClient, run_id: str, query: str = "", **headers: str) -> httpx.Response:
    sent = {"key": f"key of {run_id}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with asyncio.timeout(60):
        return await client.get(f"/answers/{run_id}/tokens{query}", headers=sent)


@on_new_stores
async def test_a_stream_is_sent_with_what_became_of_its_run(store: StateStore) -> None:
    """Items under their offsets, the place where an attempt begins again, the run's status, and an end."""
    durable = module_on(store)
    async with client_of(durable) as client:
        service = durable.runtime(client.app).service  # type: ignore[attr-defined]
        run = (await service.start(answer, run_id="a/1")).run_id
        await service.signal(f"go:{run}")
        response = await follow(client, run)
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-store"
        events = events_in(response.text)
        assert items_in(response.text) == [("0", "line\none"), ("1", "line\none"), ("2", "two"), ("3", "last")]
        assert [each["event"] for each in events if each["event"] != "run"] == [
            "item", "restart", "item", "item", "item", "end",
        ]  # fmt: skip
        (restart,) = (each for each in events if each["event"] == "restart")
        assert restart["data"] == {"step": "a/1:0", "attempt": 2}
        assert events[-1] == {"id": "end", "event": "end", "data": {"status": "completed"}}
        # What a browser sends when it comes back.
        assert items_in((await follow(client, run, last_event_id="1")).text) == [("2", "two"), ("3", "last")]
        assert items_in((await follow(client, run, "?after=2")).text) == [("3", "last")]
        after_last = await follow(client, run, "?after=0", last_event_id="3")
        assert [each["event"] for each in events_in(after_last.text)] == ["run", "end"]
        assert (await follow(client, run, last_event_id="end")).status_code == 204


async def test_a_reader_without_the_right_gets_nothing(store: StateStore) -> None:
    """The application's own dependency decides, with the run's id; what is asked wrongly is refused with a reason."""
    durable = module_on(store)
    async with client_of(durable) as client:
        assert (await client.get("/answers/a/tokens", headers={"key": "key of b"})).status_code == 403
        missing = await follow(client, "nobody")
        assert (missing.status_code, missing.json()["type"]) == (404, "urn:fastapi-durable:run-not-found")
        assert (await follow(client, "a", last_event_id="-1")).status_code == 422
        assert (await follow(client, "a", "?after=x")).status_code == 422
        assert (await follow(client, "a", last_event_id="9999999999")).status_code == 422


async def test_a_router_is_refused_that_guards_nothing_or_cannot_be_a_path(store: StateStore) -> None:
    durable = module_on(store)
    with pytest.raises(ConfigurationError, match="stream_router must have dependencies"):
        durable.stream_router("tokens")
    with pytest.raises(ConfigurationError, match="the name of a stream in a path"):
        durable.stream_router("a/{b}", allow_unauthenticated=True)
    assert durable.stream_router("tokens", allow_unauthenticated=True).routes


class Reader:
    """An ASGI client that takes what it is sent, and goes when it likes."""

    def __init__(self, client: httpx.AsyncClient, run_id: str, **headers: str) -> None:
        self.text = ""
        self.reads = True
        named = {"key": f"key of {run_id}", **headers}
        self._scope = {
            "type": "http", "asgi": {"spec_version": "2.4"}, "http_version": "1.1", "method": "GET", "scheme": "http",
            "path": f"/answers/{run_id}/tokens", "raw_path": b"", "query_string": b"", "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        }  # fmt: skip
        app: Any = client.app  # type: ignore[attr-defined]
        self.task = asyncio.create_task(app(self._scope, self._receive, self._send))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _receive(self) -> Any:
        await asyncio.Event().wait()

    async def _send(self, message: Any) -> None:
        if not self.reads:
            await asyncio.Event().wait()
        self.text += message.get("body", b"").decode()


async def test_a_silent_stream_sends_heartbeats_and_ends_after_its_lifetime(store: StateStore) -> None:
    """Nothing is missed in between: the next connection goes on."""
    durable = module_on(store)
    async with client_of(durable, heartbeat="10ms", lifetime="300ms") as client:
        service = durable.runtime(client.app).service  # type: ignore[attr-defined]
        run = (await service.start(answer)).run_id
        first = await follow(client, run)
        assert first.text.count("\n\n:\n\n") > 0
        assert [each["event"] for each in events_in(first.text)][-1] != "end"
        await service.signal(f"go:{run}")
        await service.handle(run).result("60s")
        second = await follow(client, run, last_event_id=items_in(first.text)[-1][0])
        assert [text for _, text in items_in(first.text) + items_in(second.text)][-2:] == ["two", "last"]


async def test_so_many_readers_are_served_and_a_place_comes_back(store: StateStore) -> None:
    durable = module_on(store)
    async with client_of(durable, max_readers=2) as client:
        service = durable.runtime(client.app).service  # type: ignore[attr-defined]
        run = (await service.start(answer)).run_id
        readers = [Reader(client, run) for _ in range(2)]
        for reader in readers:
            await reader.until(lambda reader=reader: "two" in reader.text)  # type: ignore[misc]
        refused = await follow(client, run)
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:fastapi-durable:too-many-streams")
        await readers[0].leave()
        await service.signal(f"go:{run}")
        assert "last" in (await follow(client, run)).text
        await readers[1].until(lambda: "event: end" in readers[1].text)
        assert not service._kernel.notifications._stream_watches


async def test_a_reader_that_does_not_read_holds_nothing_up(store: StateStore) -> None:
    """No page is read from the store before the last one was sent, and other readers get everything."""
    durable = module_on(store)
    async with client_of(durable) as client:
        service = durable.runtime(client.app).service  # type: ignore[attr-defined]
        run = (await service.start(answer)).run_id
        stuck = Reader(client, run)
        stuck.reads = False
        await service.signal(f"go:{run}")
        assert "event: end" in (await follow(client, run)).text
        await stuck.leave()


async def test_a_browser_comes_again_while_the_store_is_away(store: StateStore) -> None:
    """An error would end its `EventSource` for good; a response that ends is tried again."""
    is_away = False

    async def between(operation: str, call: Callable[[], Awaitable[Any]]) -> Any:
        if is_away and operation == "find_run":
            raise StoreUnavailableError("the database is away")
        return await call()

    durable = module_on(interposed(store, between))
    async with client_of(durable) as client:
        service = durable.runtime(client.app).service  # type: ignore[attr-defined]
        run = (await service.start(answer)).run_id
        reader = Reader(client, run)
        await reader.until(lambda: "two" in reader.text)
        is_away = True
        async with asyncio.timeout(60):
            await reader.task
        again = await follow(client, run, last_event_id="2")
        assert (again.status_code, again.text) == (200, "retry: 2000\n\n")
        is_away = False
        await service.signal(f"go:{run}")
        assert items_in((await follow(client, run, last_event_id="2")).text) == [("3", "last")]


async def test_a_stream_ends_when_the_server_is_asked_to_stop(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable = module_on(store)
    async with client_of(durable) as client:
        service = durable.runtime(client.app).service  # type: ignore[attr-defined]
        run = (await service.start(answer)).run_id
        reader = Reader(client, run)
        await reader.until(lambda: "two" in reader.text)
        monkeypatch.setattr(run_stream, "server_is_stopping", lambda: True)
        async with asyncio.timeout(60):
            await reader.task
        assert "event: end" not in reader.text
