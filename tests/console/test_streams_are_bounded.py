"""So many live streams are open at most, in all and of one caller: each costs memory and looks at the store."""

import asyncio
from collections.abc import Callable, Hashable
from typing import Any

import httpx
import pytest
from fastapi.responses import StreamingResponse

from fastapi_durable.engine.core.live_events import LiveEvents
from fastapi_durable.errors import StoreUnavailableError
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.web import router, streams
from fastapi_durable.web.problems import TooManyStreamsError
from fastapi_durable.web.stream_routes import stream_routes
from fastapi_durable.web.streams import Follow, State, Streams
from tests.console.desk import desk
from tests.console.test_access import tenant_of
from tests.console.test_login import login_desk, sign_in
from tests.console.test_reading import stored
from tests.support.new_stores import on_new_stores


def opener(found: Streams, read: Callable[[], Any]) -> Any:
    live = LiveEvents(SystemClock())

    async def one(key: Hashable = "k", owner: Hashable = None) -> StreamingResponse:
        return await found.open(key, read, None, live=live, follow=Follow(None), owner=owner)

    return one


async def at_once() -> State:
    return State("run", "1", {})


async def test_streams_that_are_opened_at_once_are_counted_before_the_store_is_asked() -> None:
    """A hundred are served, and the others are told so, while all still wait for the same read."""
    go = asyncio.Event()

    async def read() -> State:
        await go.wait()
        return State("run", "1", {})

    one = opener(Streams(interval=60, lifetime=60, gap=0), read)
    opening = [asyncio.create_task(one()) for _ in range(150)]
    refused, _ = await asyncio.wait(opening, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    assert len(refused) == 50
    go.set()
    answers = await asyncio.gather(*opening, return_exceptions=True)
    assert sum(isinstance(answer, TooManyStreamsError) for answer in answers) == 50


async def test_a_place_comes_back_whatever_became_of_the_stream() -> None:
    """It was sent to its end, could not be opened, was given up meanwhile, or was never sent."""
    failing = True
    go = asyncio.Event()

    async def read() -> State:
        if failing:
            await go.wait()
            raise StoreUnavailableError("away")
        return State("run", "1", {})

    one = opener(Streams(interval=60, lifetime=0, gap=0), read)
    given_up = [asyncio.create_task(one(number)) for number in range(60)]
    broken = [asyncio.create_task(one(number)) for number in range(60, 100)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyStreamsError):
        await one()
    for task in given_up:
        task.cancel()
    go.set()
    await asyncio.gather(*given_up, *broken, return_exceptions=True)
    failing = False
    for _ in range(3):
        never_sent = [await one() for _ in range(100)]
        with pytest.raises(TooManyStreamsError):
            await one()
        never_sent.clear()
    for _ in range(150):
        await (await one())({"type": "http", "asgi": {"spec_version": "2.4"}}, _nothing, _ignore)


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
@pytest.mark.parametrize("drop_by_drop", [False, True])
async def test_who_does_not_read_loses_the_place(drop_by_drop: bool, spec_version: str) -> None:
    """Nothing at all, or so slowly that each piece just arrives: a hundred of them would keep all others out."""
    reads = 0

    async def changing() -> State:
        nonlocal reads
        reads += 1
        return State("run", str(reads), {})

    async def send(message: Any) -> None:
        await (asyncio.sleep(0.05) if drop_by_drop else asyncio.Event().wait())

    async def receive() -> Any:
        await asyncio.Event().wait()

    found = Streams(interval=0.02, lifetime=0.2, gap=0, patience=0.2)
    one = opener(found, changing)
    unread = [await one() for _ in range(100)]
    scope = {"type": "http", "asgi": {"spec_version": spec_version}}
    tasks = [asyncio.create_task(each(dict(scope), receive, send)) for each in unread]
    unread.clear()
    with pytest.raises(TooManyStreamsError):
        await one()
    _, late = await asyncio.wait(tasks, timeout=5)
    assert not late
    assert [task.exception() for task in tasks] == [None] * 100
    assert await one()


async def test_one_caller_does_not_take_the_places_of_all() -> None:
    one = opener(Streams(interval=60, lifetime=60, gap=0), at_once)
    mine = [await one(owner="me") for _ in range(25)]
    with pytest.raises(TooManyStreamsError, match="25"):
        await one(owner="me")
    others = [await one(owner="you"), await one()]
    mine.pop()
    again = await one(owner="me")
    assert len([*mine, *others, again]) == 27


@on_new_stores
@pytest.mark.parametrize("by", ["user", "tenant"])
async def test_a_caller_is_a_user_or_else_a_tenant(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is neither has a share of the whole only."""
    monkeypatch.setattr(streams, "_MOST_OF_ONE", 1)
    monkeypatch.setattr(router, "stream_routes", lambda: stream_routes(interval=60, lifetime=1))
    async with login_desk() if by == "user" else desk(allow_unauthenticated=True, tenant=tenant_of) as found:
        headers: list[dict[str, str]] = [{"x-tenant": "acme"}, {"x-tenant": "default"}, {}]
        if by == "user":
            cookies = [(await sign_in(found, name)).headers["set-cookie"] for name in ("vera", "otto")]
            headers = [{"cookie": cookie.partition(";")[0]} for cookie in cookies]
            found.client.cookies.clear()
        found.client.base_url = httpx.URL("https://localhost")
        await found.runtime.store.create_run(stored("run", namespace="acme"))
        asked = [*headers, headers[0]]
        answers = await asyncio.gather(*[found.client.get("/durable/api/runs/stream", headers=each) for each in asked])
        statuses = [answer.status_code for answer in answers]
        assert (statuses.count(200), statuses.count(503)) == (len(headers), 1)


async def _nothing() -> Any:
    return {"type": "http.disconnect"}


async def _ignore(message: Any) -> None: ...
