"""Begun in one process and ended in another: every primitive, in real processes that are killed one after the other."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from example_app.clients.sqlite import Prisma
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.prisma import PrismaStateStore
from tests.primitives import combined
from tests.primitives.case import PAUSE, Case, Desk, has_ended, runs_of
from tests.primitives.catalogue import CASES
from tests.primitives.operators import MARKS
from tests.primitives.situations import config_of
from tests.support.engine_rig import build_engine
from tests.support.migrations import REPOSITORY


@asynccontextmanager
async def worker(url: str, name: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker process that drives; killed at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.primitives.processes",
        url,
        name,
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        await process.wait()


async def live(case: Case, store: StateStore) -> str | None:
    """One life of a case, driven by others; what went wrong."""
    key = f"{case.name}.elsewhere"
    # A process of its own as well: one that delivers, and drives nothing.
    outside = build_engine(store, *case.workflows, **case.parts, config=config_of(key, "outside"))
    await case.begin(case, outside, key)
    if case.outside is not None:
        await case.outside(Desk(key, store, [outside]))
    while not (len(runs := await runs_of(store, key)) >= case.needed_runs and all(map(has_ended, runs))):  # noqa: ASYNC110
        await asyncio.sleep(5 * PAUSE)
    outcome = await case.outcome(outside, key)
    expected = json.loads(json.dumps(case.result).replace("{key}", key))
    same = outcome == expected and case.is_whole(runs)
    return None if same else f"{case.name}: {outcome} of {len(runs)} runs"


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_every_primitive_goes_on_in_another_process(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process drives all cases for a moment and is killed; the last one ends them."""
    monkeypatch.setenv(MARKS, str(tmp_path))
    async with Prisma(datasource={"url": sqlite_url}) as client, asyncio.timeout(100):
        store = PrismaStateStore(client)
        # Those in one run are not patient enough for processes that take seconds to start.
        lives = [asyncio.create_task(live(case, store)) for case in CASES if case not in combined.CASES]
        for number in range(4):
            async with worker(sqlite_url, f"process {number}"):
                await asyncio.wait(lives, timeout=0.4)
        async with worker(sqlite_url, "the last process"):
            wrong = [problem for problem in await asyncio.gather(*lives) if problem is not None]
    assert wrong == []
