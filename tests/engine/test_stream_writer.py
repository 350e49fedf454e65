"""The writer of all streams of a process: what happens to one run, or to one lease, is nothing to the others."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from fastapi_durable.engine.core.notifications import Notifications
from fastapi_durable.engine.core.run_streams import Draft, RunStreams
from fastapi_durable.engine.core.stream_writer import StreamWriter
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.errors import LeaseLostError, SerializationError
from fastapi_durable.model.records import Run, RunStatus, StreamRowKind
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import FAST, until
from tests.support.interposed_store import interposed
from tests.support.stores import on_every_store


class Scene:
    """A writer whose first statement waits, so that what is appended meanwhile goes into the next one together."""

    def __init__(self, store: StateStore) -> None:
        self.store = store
        self.writing = asyncio.Event()
        self.go_on = asyncio.Event()
        self.spoiled: str | None = None
        """No statement with rows of this run can be stored."""
        self.writer = StreamWriter(interposed(store, self._between), SystemClock(), FAST, Notifications())

    async def _between(self, name: str, call: "partial[Awaitable[Any]]") -> Any:
        if name == "append_stream_rows":
            self.writing.set()
            await self.go_on.wait()
            if self.spoiled in {row.run_id for row in call.args[0]}:
                raise SerializationError("it cannot be stored")
        return await call()

    async def leased(self, run_id: str, token: str = "token") -> RunStreams:  # noqa: S107 (of a lease)
        now = SystemClock().now()
        run = Run(
            id=run_id,
            workflow="driven",
            workflow_version="1",
            status=RunStatus.RUNNING,
            locked_by=token,
            locked_until=now + timedelta(minutes=5),
            created_at=now,
            updated_at=now,
        )
        await self.store.create_run(run)
        return self.writer.of(run_id, token)

    async def begin(self) -> None:
        """Have a statement under way."""
        await append(await self.leased("first"), "first")
        await self.writing.wait()

    async def words(self, run_id: str) -> list[Any]:
        return [row.data for row in await self.store.read_stream_rows(run_id, "words", limit=9)]


async def append(streams: RunStreams, word: str) -> None:
    await streams.add("words", Draft(StreamRowKind.ITEM, word))


@on_every_store
async def test_items_that_cannot_be_stored_fail_their_own_run_only(store: StateStore) -> None:
    scene = Scene(store)
    good, bad = await scene.leased("good"), await scene.leased("bad")
    scene.spoiled = "bad"
    await scene.begin()
    await append(bad, "word")
    await append(good, "word")
    scene.go_on.set()
    await good.flush()
    with pytest.raises(SerializationError):
        await bad.flush()
    assert (await scene.words("good"), await scene.words("bad")) == (["word"], [])


@on_every_store
async def test_what_an_owner_and_the_one_before_it_append_goes_under_the_lease_of_each(store: StateStore) -> None:
    """In one process: a run that lost its lease here may be leased here again."""
    scene = Scene(store)
    owner, stale = await scene.leased("r", "new token"), scene.writer.of("r", "old token")
    await scene.begin()
    await append(stale, "stale")
    await append(owner, "fresh")
    scene.go_on.set()
    await owner.flush()
    with pytest.raises(LeaseLostError):
        await stale.flush()
    assert await scene.words("r") == ["fresh"]


@on_every_store
async def test_who_lost_the_lease_is_told_that_nothing_was_stored(store: StateStore) -> None:
    scene = Scene(store)
    scene.go_on.set()
    await scene.leased("r", "new token")
    stale = scene.writer.of("r", "old token")
    await append(stale, "stale")
    with pytest.raises(LeaseLostError):
        await stale.flush()
    assert await scene.words("r") == []


async def test_who_waits_for_space_is_told_that_the_lease_is_lost(store: StateStore) -> None:
    scene, appended = Scene(store), list[str]()
    streams = await scene.leased("r")

    async def append_for_ever() -> None:
        while True:
            await append(streams, "word")
            appended.append("word")

    async def is_full() -> bool:
        before = len(appended)
        for _ in range(200):
            await asyncio.sleep(0)
        return 0 < before == len(appended)

    appending = asyncio.create_task(append_for_ever())
    await until(is_full)
    scene.writer.leave("r", "token")
    with pytest.raises(LeaseLostError):
        await asyncio.wait_for(appending, 60)
    scene.go_on.set()
