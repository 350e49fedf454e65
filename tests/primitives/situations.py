"""What a case lives through: a death at a write, a rival, another process, everything said twice.

Each life has its own namespace, so that many of them, with two processes each, share one database and one event loop.
A lease is long; when a process dies or freezes, the test ends its leases, as time would.
"""

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from example_app.clients import postgresql, sqlite
from fastapi_durable.engine.core.config import EngineConfig
from fastapi_durable.model.records import Checkpoint, Run
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from fastapi_durable.store.prisma import PrismaStateStore
from fastapi_durable.wakeups.base import Topic, Wakeup
from tests.primitives.case import CRASHES_OF_A_DEAD_RUN, PAUSE, Case, Desk, has_ended, runs_of
from tests.support.crashing_store import Frost, Fuse, Moment, crashing
from tests.support.engine_rig import FAST, build_engine, killed_worker, running_engine, running_worker, tuned

THOROUGH = os.environ.get("DURABLE_CRASHES") == "all"
LIVES_AT_A_TIME = 8 if THOROUGH else 4
"""Lives mostly wait, so many go on at once; those beyond the last write are lived in vain."""
_PATIENCE = 200.0  # many long lives share one SQLite file in `make crashes`
_PAST = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Stores:
    """Two stores on the same data, with connections of their own, as two processes have them."""

    kind: str
    first: StateStore
    second: StateStore


@asynccontextmanager
async def opened_stores(kind: str, url: str | None) -> AsyncIterator[Stores]:
    """The stores of a kind, on the database of this URL."""
    if url is None:
        store = MemoryStateStore()
        yield Stores(kind, store, store)
        return
    client: Any = sqlite.Prisma if kind == "sqlite" else postgresql.Prisma
    async with client(datasource={"url": url}) as one, client(datasource={"url": url}) as other:
        yield Stores(kind, PrismaStateStore(one), PrismaStateStore(other))


class Line:
    """Over which the processes of one life tell each other what happened, as wake-ups do between real ones."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self._engines: list[WorkflowService] = []

    @contextmanager
    def joins(self, *engines: WorkflowService) -> Iterator[None]:
        with ExitStack() as stack:
            for engine in engines:
                self._engines.append(engine)
                stack.callback(self._engines.remove, engine)
                stack.enter_context(engine._kernel.notifications.joined_to(self.tell))
            yield

    def tell(self, word: Wakeup) -> None:
        if word.topic is not Topic.WORK:
            self.ended.set()
        for engine in self._engines:
            engine._kernel.notifications.on_message(word)

    async def until_a_run_ends(self) -> None:
        """Or for a while: not everything that comes to rest tells of it."""
        self.ended.clear()
        try:
            async with asyncio.timeout(5 * PAUSE):
                await self.ended.wait()
        except TimeoutError:
            pass


def config_of(key: str, name: str) -> EngineConfig:
    """One process of one life."""
    return tuned(
        FAST,
        namespace=key,
        instance_id=f"{name} of {key}",
        lease=timedelta(seconds=_PATIENCE),
        poll_interval=timedelta(milliseconds=150),
        max_recovery_attempts=CRASHES_OF_A_DEAD_RUN - 1,
    )


async def undisturbed(case: Case, stores: Stores) -> None:
    """Nothing happens. The outside is another process than the one that drives the run."""
    key, line = f"{case.name}.{stores.kind}.first", Line()
    other = build_engine(stores.second, *case.workflows, config=config_of(key, "second"), **case.parts)
    async with running_engine(stores.first, *case.workflows, config=config_of(key, "first"), **case.parts) as first:
        with line.joins(first, other):
            async with asyncio.timeout(_PATIENCE):
                await _live(case, Desk(key, stores.second, [other]), line)
    await _check(case, stores, other, key)


async def with_a_crash(case: Case, stores: Stores, at: int, moment: Moment) -> bool:
    """The first process dies at its n-th write, another one goes on; whether it did die.

    Deliveries go to the first process as well while it lives, so what dies may also be a caller.
    """
    key, line, fuse = f"{case.name}.{stores.kind}.{moment}.{at}", Line(), Fuse(at, moment)
    other = build_engine(stores.second, *case.workflows, config=config_of(key, "second"), **case.parts)
    doomed = crashing(stores.first, fuse)
    async with killed_worker(doomed, *case.workflows, config=config_of(key, "first"), **case.parts) as first:
        with line.joins(first, other):
            async with _living(case, Desk(key, stores.second, [first, other]), line) as life:
                await _until(lambda: fuse.blown or life.done())
                if not life.done():
                    await _outlive(case, stores.second, key, life, line)
    await _check(case, stores, other, key)
    return fuse.blown


async def with_a_rival(case: Case, stores: Stores, at: int) -> bool:
    """The first process freezes before its n-th write; another one ends the run; then the first goes on.

    It may not change anything any more. Returns whether it did freeze.
    """
    key, line, frost = f"{case.name}.{stores.kind}.frozen.{at}", Line(), Frost(at)
    other = build_engine(stores.second, *case.workflows, config=config_of(key, "second"), **case.parts)
    slow = crashing(stores.first, frost)
    async with running_worker(slow, *case.workflows, config=config_of(key, "first"), **case.parts) as (first, worker):
        try:
            with line.joins(first, other):
                async with _living(case, Desk(key, stores.second, [other]), line) as life:
                    await _until(lambda: frost.frozen.is_set() or life.done())
                    if not life.done():
                        await _outlive(case, stores.second, key, life, line)
            before = await _rows(stores.second, key)
            frost.thaw()
            await _until(lambda: worker.health().in_flight == 0)
            assert await _rows(stores.second, key) == before
        finally:
            frost.thaw()
    await _check(case, stores, other, key)
    return frost.frozen.is_set()


async def told_twice(case: Case, stores: Stores) -> None:
    """Two workers, and two callers who say everything at the same time."""
    key, line = f"{case.name}.{stores.kind}.twice", Line()
    async with (
        asyncio.timeout(_PATIENCE),
        running_engine(stores.first, *case.workflows, config=config_of(key, "first"), **case.parts) as first,
        running_engine(stores.second, *case.workflows, config=config_of(key, "second"), **case.parts) as second,
    ):
        with line.joins(first, second):
            await _live(case, Desk(key, stores.second, [first, second], twice=True), line)
        await _check(case, stores, first, key)


async def at_every_write(
    live: Callable[[int], Awaitable[bool]], *, first: int = 1, step: int = 1, at_a_time: int = LIVES_AT_A_TIME
) -> int:
    """Live once for every n, several lives at a time, until no n-th write comes; the last one that came.

    Those that begin together with the last one are undisturbed, and show nothing: so they are few.

    Args:
        first, step: Which n.
    """
    last, missed = 0, False
    numbers = itertools.count(first, step)
    while not missed:
        lives = list(itertools.islice(numbers, max(1, at_a_time // step)))
        for number, hit in zip(lives, await asyncio.gather(*map(live, lives)), strict=True):
            last, missed = (last, True) if not hit else (number, missed)
    return last


async def _live(case: Case, desk: Desk, line: Line) -> None:
    """From the beginning until everything has come to rest."""
    await desk.ask(lambda engine: case.begin(case, engine, desk.key))
    if case.outside is not None:
        await case.outside(desk)
    while not await _all_ended(case, desk):
        await line.until_a_run_ends()


@asynccontextmanager
async def _living(case: Case, desk: Desk, line: Line) -> AsyncIterator["asyncio.Task[None]"]:
    """A life that goes on beside the block; its failure ends the block."""
    async with asyncio.timeout(_PATIENCE), asyncio.TaskGroup() as group:
        yield group.create_task(_live(case, desk, line))


async def _all_ended(case: Case, desk: Desk) -> bool:
    runs = await runs_of(desk.store, desk.key)
    return len(runs) >= case.needed_runs and all(map(has_ended, runs))


async def _outlive(case: Case, store: StateStore, key: str, life: "asyncio.Task[None]", line: Line) -> None:
    """Let a third process go on with the life; the leases of the first are over, as time would have it.

    They end again and again: a claim that was on its way when the process died takes effect afterwards.
    """
    config = config_of(key, "third")
    async with running_engine(store, *case.workflows, config=config, **case.parts) as third:
        with line.joins(third):
            while not life.done():
                for run in await runs_of(store, key):
                    if run.locked_by is not None and run.locked_by.startswith(f"first of {key}:"):
                        await store.update_run(run.id, {"locked_until": _PAST}, token=run.locked_by)
                        line.tell(Wakeup(Topic.WORK))
                await asyncio.wait({life}, timeout=5 * PAUSE)
            await life


async def _rows(store: StateStore, key: str) -> list[tuple[Run, list[Checkpoint]]]:
    runs = sorted(await runs_of(store, key), key=lambda run: run.id)
    return [(run, await store.list_checkpoints(run.id)) for run in runs]


async def _check(case: Case, stores: Stores, engine: WorkflowService, key: str) -> None:
    """The outcome is the case's, nothing was started twice, and nothing is left behind."""
    outcome = await case.outcome(engine, key)
    assert outcome == json.loads(json.dumps(case.result).replace("{key}", key))
    runs = await runs_of(stores.second, key)
    assert case.is_whole(runs), [run.id for run in runs]
    assert [run.id for run in runs if run.locked_by is not None] == []
    ended = [run.id for run in runs if run.status.is_terminal]
    assert await stores.second.list_signal_waiters(run_ids=ended) == []


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 (cheaper than an event that both sides know)
        await asyncio.sleep(PAUSE)
