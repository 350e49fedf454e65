"""A run whose process dies too often is buried, and one run is told of it."""

import asyncio
import itertools
from contextlib import suppress
from typing import Any

import pytest

from fastapi_durable import DeadLetter, workflow
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.errors import WorkflowNotRegisteredError
from fastapi_durable.model.records import Run, RunQuery, RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from tests.support.crashing_store import Fuse, Moment, ProcessDied, crashing
from tests.support.engine_rig import FAST, build_engine, build_machinery, has_status, running_engine, tuned, until
from tests.support.stores import on_every_store

POISONED = tuned(FAST, max_recovery_attempts=1)


async def die(store: StateStore, times: int) -> None:
    """Claim everything as a process that dies at once would."""
    now = SystemClock().now()
    for number in range(times):
        await store.claim_runs(f"dead {number}", now=now, until=now, limit=10)


async def letters(store: StateStore) -> list[Run]:
    return [run for run in await store.list_runs(RunQuery()) if run.id.startswith("dlq:")]


@workflow(name="undertaker")
async def undertaker(ctx: Any, letter: DeadLetter) -> str:
    return f"{letter.workflow} {letter.dead_run_id} {letter.input} {letter.error['code']}"


@on_every_store
async def test_the_handler_of_the_workflow_is_started_once_with_what_died(store: StateStore) -> None:
    async def mourn(ctx: Any, letter: DeadLetter) -> str:
        return f"{letter.dead_run_id} had {letter.input}"

    @workflow(name="poison", dead_letter=mourn)
    async def poison(ctx: Any, dose: int) -> None:
        pass

    handle = await build_engine(store, poison).start(poison, 7, run_id="p")
    await die(store, 3)
    async with running_engine(store, poison, config=POISONED) as engine:
        await until(lambda: has_status(handle, RunStatus.DEAD))
        assert await engine.handle("dlq:p", mourn).result("60s") == "p had 7"
    (letter,) = await letters(store)
    assert letter.workflow == "poison.dlq"
    assert letter.input["deadRunId"] == "p"


@on_every_store
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_worker_that_dies_while_it_buries_a_run_leaves_one_letter(store: StateStore, moment: Moment) -> None:
    """At every write: either another one buries the run, and sends the letter, or both were done."""

    @workflow(name="poison", dead_letter=undertaker)
    async def poison(ctx: Any) -> None:
        pass

    for number in itertools.count(1):
        fuse = Fuse(number, moment)
        handle = await build_engine(store, poison).start(poison, run_id=f"p{number}")
        await die(store, 3)
        now = SystemClock().now()
        (run,) = await store.claim_runs("t", now=now, until=now, limit=1)
        with suppress(ProcessDied):
            await build_machinery(crashing(store, fuse), poison, config=POISONED).driver(run, "t").drive()
        async with running_engine(store, poison, undertaker, config=POISONED) as engine:
            await until(lambda: has_status(handle, RunStatus.DEAD))  # noqa: B023 (awaited here)
            await engine.handle(f"dlq:p{number}", undertaker).result("60s")
        assert len(await letters(store)) == number
        if not fuse.blown:
            break
    assert number > 3


@on_every_store
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_each_death_of_a_retried_run_has_a_letter_of_its_own(store: StateStore, moment: Moment) -> None:
    """Also if the worker that buries it the second time dies at one of its writes."""

    @workflow(name="poison", dead_letter=undertaker)
    async def poison(ctx: Any) -> None:
        pass

    parts = (poison, undertaker)
    for number in itertools.count(1):
        run_id, fuse = f"p{number}", Fuse(number, moment)
        handle = await build_engine(store, *parts).start(poison, run_id=run_id)
        await die(store, 3)
        async with running_engine(store, *parts, config=POISONED) as engine:
            await until(lambda: has_status(handle, RunStatus.DEAD))  # noqa: B023 (awaited here)
            await engine.handle(f"dlq:{run_id}", undertaker).result("60s")
        await build_engine(store, *parts).retry(run_id)
        await die(store, 3)
        now = SystemClock().now()
        (run,) = await store.claim_runs("t", now=now, until=now, limit=1)
        with suppress(ProcessDied):
            await build_machinery(crashing(store, fuse), *parts, config=POISONED).driver(run, "t").drive()
        async with running_engine(store, *parts, config=POISONED) as engine:
            await until(lambda: has_status(handle, RunStatus.DEAD))  # noqa: B023 (awaited here)
            told = await engine.handle(f"dlq@2:{run_id}", undertaker).result("60s")
        assert told == f"poison {run_id} None max_recovery_attempts"
        assert len(await store.list_runs(RunQuery())) == 3 * number
        if not fuse.blown:
            break
    assert number > 3


@on_every_store
async def test_a_letter_is_not_lost_to_that_of_a_deleted_run_of_the_same_id(store: StateStore) -> None:
    @workflow(name="poison", dead_letter=undertaker)
    async def poison(ctx: Any) -> None:
        pass

    for _ in range(3):
        handle = await build_engine(store, poison, undertaker).start(poison, run_id="p")
        await die(store, 3)
        async with running_engine(store, poison, undertaker, config=POISONED) as engine:
            await until(lambda: has_status(handle, RunStatus.DEAD))  # noqa: B023 (awaited here)
            await engine.delete_run("p")
    assert {run.id for run in await store.list_runs(RunQuery())} == {"dlq:p", "dlq@2:p", "dlq@3:p"}


@on_every_store
async def test_of_many_workers_that_find_a_run_dead_one_starts_the_letter(store: StateStore) -> None:
    @workflow(name="poison", dead_letter=undertaker)
    async def poison(ctx: Any) -> None:
        pass

    await build_engine(store, poison).start(poison, run_id="p")
    await die(store, 3)
    engine = build_machinery(store, poison, config=POISONED)
    now = SystemClock().now()
    (run,) = await store.claim_runs("t", now=now, until=now, limit=1)
    await asyncio.gather(*(engine.driver(run, "t").drive() for _ in range(5)))
    assert len(await letters(store)) == 1


@on_every_store
async def test_the_default_handler_serves_workflows_that_name_none(store: StateStore) -> None:
    @workflow(name="poison")
    async def poison(ctx: Any, dose: int) -> None:
        pass

    await build_engine(store, poison).start(poison, 7, run_id="p")
    await die(store, 3)
    async with running_engine(store, poison, undertaker, config=POISONED) as engine:
        object.__setattr__(engine._kernel, "dead_letter", undertaker)
        letter = engine.handle("dlq:p", undertaker)
        await until(lambda: found(store, "dlq:p"))
        assert await letter.result("60s") == "poison p 7 max_recovery_attempts"


async def found(store: StateStore, run_id: str) -> bool:
    return await store.find_run(run_id) is not None


@on_every_store
async def test_a_letter_that_dies_itself_is_not_told_of(store: StateStore) -> None:
    @workflow(name="poison", dead_letter=undertaker)
    async def poison(ctx: Any) -> None:
        pass

    engine = build_machinery(store, poison, config=POISONED)
    await WorkflowService(engine.kernel).start(poison, run_id="p")
    for run_id in ("p", "dlq:p"):
        await die(store, 3)
        now = SystemClock().now()
        (run,) = await store.claim_runs("t", now=now, until=now, limit=1)
        assert run.id == run_id
        await engine.driver(run, "t").drive()
    assert {run.id: run.status for run in await store.list_runs(RunQuery())} == {
        "p": RunStatus.DEAD,
        "dlq:p": RunStatus.DEAD,
    }


async def test_a_run_is_buried_even_if_its_letter_cannot_be_written(store: StateStore) -> None:
    @workflow(name="picky")
    async def picky(ctx: Any, number: int) -> None:
        pass

    @workflow(name="poison", dead_letter=picky)
    async def poison(ctx: Any) -> None:
        pass

    handle = await build_engine(store, poison).start(poison)
    await die(store, 3)
    async with running_engine(store, poison, config=POISONED):
        await until(lambda: has_status(handle, RunStatus.DEAD))
    assert await letters(store) == []


def test_a_dead_letter_workflow_that_nobody_registered_is_refused_at_the_start(store: StateStore) -> None:
    @workflow(name="poison", dead_letter="nowhere")
    async def poison(ctx: Any) -> None:
        pass

    with pytest.raises(WorkflowNotRegisteredError, match="nowhere"):
        build_engine(store, poison)
