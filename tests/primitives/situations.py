"""What a case lives through: a death at a write, a rival, another process, everything said twice.

Each life has its own namespace, so that many of them, and two processes for each, share one database and one event loop.
A lease is long; when a process dies or freezes, the test ends its leases, as time would.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi_durable.engine.config import EngineConfig
from fastapi_durable.engine.engine import WorkflowEngine
from fastapi_durable.model import Checkpoint, Run
from fastapi_durable.store.base import StateStore
from tests.primitives.case import Case, Desk, has_ended, runs_of
from tests.support.crashing_store import Frost, Fuse, Moment, crashing
from tests.support.engine_rig import FAST, build_engine, is_idle, killed_worker, running_engine, running_worker

LIVES_AT_A_TIME = 8
_PATIENCE = 60.0
_PAST = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Stores:
    """Two stores on the same data, with connections of their own, as two processes have them."""

    first: StateStore
    second: StateStore


def config_of(key: str, name: str) -> EngineConfig:
    """One process of one life."""
    return replace(
        FAST,
        namespace=key,
        instance_id=f"{name} of {key}",
        lease=timedelta(seconds=_PATIENCE),
        poll_interval=timedelta(milliseconds=10),
    )


async def undisturbed(case: Case, stores: Stores) -> None:
    """Nothing happens. The outside is another process than the one that drives the run."""
    key = f"{case.name}.first"
    async with (
        asyncio.timeout(_PATIENCE),
        running_engine(stores.first, *case.workflows, entities=case.entities, config=config_of(key, "first")) as first,
    ):
        await _live(case, Desk(key, stores.second, [first]))
        await _check(case, stores, first, key)


async def with_a_crash(case: Case, stores: Stores, at: int, moment: Moment) -> bool:
    """The first process dies at its n-th write, another one goes on; whether it did die.

    Deliveries go to the first process as well while it lives, so what dies may also be a caller.
    """
    key = f"{case.name}.{moment}.{at}"
    fuse = Fuse(at, moment)
    parts: dict[str, Any] = {"entities": case.entities}
    other = build_engine(stores.second, *case.workflows, config=config_of(key, "second"), **parts)
    doomed = crashing(stores.first, fuse)
    async with killed_worker(doomed, *case.workflows, config=config_of(key, "first"), **parts) as first:
        desk = Desk(key, stores.second, [first, other])
        async with _living(case, desk) as life:
            await _until(lambda: _either(fuse.blown, life))
            if not life.done():
                config = config_of(key, "third")
                async with running_engine(stores.second, *case.workflows, config=config, **parts):
                    await _outlive(stores.second, key, life)
    await _check(case, stores, other, key)
    return fuse.blown


async def with_a_rival(case: Case, stores: Stores, at: int) -> bool:
    """The first process freezes before its n-th write; another one ends the run; then the first goes on.

    It may not change anything any more. Returns whether it did freeze.
    """
    key = f"{case.name}.frozen.{at}"
    frost = Frost(at)
    parts: dict[str, Any] = {"entities": case.entities}
    other = build_engine(stores.second, *case.workflows, config=config_of(key, "second"), **parts)
    slow = crashing(stores.first, frost)
    async with running_worker(slow, *case.workflows, config=config_of(key, "first"), **parts) as (_, worker):
        try:
            async with _living(case, Desk(key, stores.second, [other])) as life:
                await _until(lambda: _either(frost.frozen.is_set(), life))
                if not life.done():
                    config = config_of(key, "third")
                    async with running_engine(stores.second, *case.workflows, config=config, **parts):
                        await _outlive(stores.second, key, life)
                        before = await _rows(stores.second, key)
                        frost.thaw()
                        await _until(lambda: is_idle(worker))
                        assert await _rows(stores.second, key) == before
        finally:
            frost.thaw()
    await _check(case, stores, other, key)
    return frost.frozen.is_set()


async def told_twice(case: Case, stores: Stores) -> None:
    """Two workers, and two callers who say everything at the same time."""
    key = f"{case.name}.twice"
    parts: dict[str, Any] = {"entities": case.entities}
    async with (
        asyncio.timeout(_PATIENCE),
        running_engine(stores.first, *case.workflows, config=config_of(key, "first"), **parts) as first,
        running_engine(stores.second, *case.workflows, config=config_of(key, "second"), **parts) as second,
    ):
        await _live(case, Desk(key, stores.second, [first, second], twice=True))
        await _check(case, stores, first, key)


async def at_every_write(live: Callable[[int], Awaitable[bool]]) -> int:
    """Live once for every n, several lives at a time, until no n-th write comes; how many there were."""
    at, last = 1, None
    while last is None:
        lives = range(at, at + LIVES_AT_A_TIME)
        hit = await asyncio.gather(*(live(number) for number in lives))
        last = next((number for number, was_hit in zip(lives, hit, strict=True) if not was_hit), None)
        at += LIVES_AT_A_TIME
    return last - 1


async def _live(case: Case, desk: Desk) -> None:
    """From the beginning until everything has come to rest."""
    await desk.ask(lambda engine: case.begin(case, engine, desk.key), refusals=())
    if case.outside is not None:
        await case.outside(desk)
    await _until(lambda: _all_ended(case, desk))


@asynccontextmanager
async def _living(case: Case, desk: Desk) -> AsyncIterator["asyncio.Task[None]"]:
    """A life that goes on beside the block; its failure ends the block."""
    async with asyncio.timeout(_PATIENCE), asyncio.TaskGroup() as group:
        yield group.create_task(_live(case, desk))


async def _either(event: bool, life: "asyncio.Task[None]") -> bool:
    return event or life.done()


async def _all_ended(case: Case, desk: Desk) -> bool:
    runs = await runs_of(desk.store, desk.key)
    return len(runs) >= case.runs and all(map(has_ended, runs))


async def _outlive(store: StateStore, key: str, life: "asyncio.Task[None]") -> None:
    """Let the life go on without its first process, whose leases are over, as time would have it.

    Again and again: a claim that was on its way when the process died takes effect afterwards.
    """
    while not life.done():
        for run in await runs_of(store, key):
            if run.locked_by is not None and run.locked_by.startswith(f"first of {key}:"):
                await store.update_run(run.id, {"locked_until": _PAST}, token=run.locked_by)
        await asyncio.wait({life}, timeout=0.03)
    await life


async def _rows(store: StateStore, key: str) -> list[tuple[Run, list[Checkpoint]]]:
    runs = sorted(await runs_of(store, key), key=lambda run: run.id)
    return [(run, await store.list_checkpoints(run.id)) for run in runs]


async def _check(case: Case, stores: Stores, engine: WorkflowEngine, key: str) -> None:
    """The outcome is the case's, nothing was started twice, and nothing is left behind."""
    outcome = await case.outcome(engine, key)
    assert outcome == json.loads(json.dumps(case.result).replace("{key}", key))
    runs = await runs_of(stores.second, key)
    assert len(runs) == case.runs, [run.id for run in runs]
    assert [run.id for run in runs if run.locked_by is not None] == []
    ended = [run.id for run in runs if run.status.is_terminal]
    assert await stores.second.list_signal_waiters(run_ids=ended) == []


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():
        await asyncio.sleep(0.01)


