"""Log records say of which run they are, and a replay repeats none of them."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from fastapi_durable import (
    FatalError,
    MemoryStateStore,
    RunContextFilter,
    RunStatus,
    WorkflowContext,
    log_context,
    step,
    workflow,
)
from fastapi_durable.observe.logs import FIELDS, is_replaying
from tests.support.engine_rig import run_has, running_engine, until

_log = logging.getLogger("shop")


class Kept(logging.Handler):
    """Keeps the records that pass its filter."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def told(self) -> list[str]:
        return [record.getMessage() for record in self.records if record.name == "shop"]

    def fields(self, message: str) -> dict[str, Any]:
        (record,) = [each for each in self.records if each.getMessage() == message]
        return {name: getattr(record, name) for name in FIELDS}


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler = Kept()
    handler.addFilter(RunContextFilter())
    root = logging.getLogger()
    _log.setLevel(logging.INFO)
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)


@step(max_attempts=2)
async def charge(cents: int) -> int:
    _log.info("charging %d", cents)
    return cents


@step
def pack(parcel: str) -> str:
    _log.info("packing %s", parcel)
    return parcel


@workflow(version="3")
async def order(ctx: WorkflowContext) -> None:
    _log.info("begun")
    await ctx.step(charge, 5)
    _log.info("charged")
    await ctx.wait_for_signal("go")
    _log.info("going")
    await ctx.step(pack, "box")
    await ctx.wait_for_signal("end")
    _log.info("done")


async def test_records_are_bound_to_run_and_step_and_none_is_repeated(kept: Kept) -> None:
    """The body runs three times from its top; each line is told once."""
    store = MemoryStateStore()
    async with running_engine(store, order) as engine:
        handle = await engine.start(order, run_id="o-1")
        for token in ("go", "end"):
            await until(run_has(store, "o-1", RunStatus.SUSPENDED))
            await engine.signal(token, None)
            if token == "go":
                await until(waits_for(store, "end"))
        await handle.result()
    assert kept.told == ["begun", "charging 5", "charged", "going", "packing box", "done"]
    body = {"run_id": "o-1", "workflow": "order", "workflow_version": "3", "namespace": "default"}
    assert kept.fields("charged") == {**body, "step": None, "attempt": None}
    assert kept.fields("charging 5") == {**body, "step": "charge", "attempt": 1}
    assert kept.fields("packing box") == {**body, "step": "pack", "attempt": 1}


def waits_for(store: MemoryStateStore, token: str) -> Any:
    async def check() -> bool:
        return await store.find_signal_waiter(token) is not None

    return check


async def test_outside_of_runs_the_fields_are_there_and_empty(kept: Kept) -> None:
    """So that a format may name them anywhere."""
    _log.info("outside")
    assert kept.fields("outside") == dict.fromkeys(FIELDS)
    assert log_context() == {}


@workflow
async def branching(ctx: WorkflowContext) -> None:
    async def branch(name: str) -> None:
        _log.info("%s begins", name)
        await ctx.step(charge, len(name))
        _log.info("%s charged", name)
        await ctx.wait_for_signal(name)
        _log.info("%s ends", name)

    await asyncio.gather(branch("a"), branch("bb"))
    _log.info("all end")


async def test_branches_are_silent_each_for_itself(kept: Kept) -> None:
    """One that goes on is heard while the other one is only replayed."""
    store = MemoryStateStore()
    async with running_engine(store, branching) as engine:
        handle = await engine.start(branching, run_id="b")
        await until(run_has(store, "b", RunStatus.SUSPENDED))
        await engine.signal("bb", None)
        await until(said(kept, "bb ends"))
        await until(run_has(store, "b", RunStatus.SUSPENDED))
        await engine.signal("a", None)
        await handle.result()
    told = [each for each in kept.told if "charging" not in each]
    # What follows a branch's last call leaves no trace in the history: it is told again rather than lost.
    assert told.count("bb ends") == 2
    told.remove("bb ends")
    assert sorted(told) == sorted(
        [f"{n} {v}" for n in ("a", "bb") for v in ("begins", "charged", "ends")] + ["all end"]
    )


def said(kept: Kept, message: str) -> Any:
    async def check() -> bool:
        return message in kept.told

    return check


async def test_asking_whether_it_is_a_replay_changes_no_position(kept: Kept) -> None:
    """A branch that logs before its first call counts as one that does not: log levels differ between deploys."""
    store = MemoryStateStore()

    @workflow(name="quiet")
    async def loud(ctx: WorkflowContext) -> list[int]:
        async def silent() -> int:
            is_replaying()
            await asyncio.sleep(0)
            return await ctx.step(charge, 1)

        async def talking() -> int:
            _log.info("talking")
            return await ctx.step(charge, 2)

        return list(await asyncio.gather(silent(), talking()))

    async with running_engine(store, loud) as engine:
        assert await (await engine.start(loud, run_id="q")).result() == [1, 2]
    found = {row.step_id: row.input for row in await store.list_checkpoints("q")}
    assert found == {"q:0.0": 2, "q:1.0": 1}


async def test_the_librarys_own_messages_and_those_of_steps_are_never_left_out(kept: Kept) -> None:
    """A retry after a restart is a real execution, whatever the history holds behind it."""
    record = logging.LogRecord("fastapi_durable", logging.INFO, "", 0, "ours", (), None)
    seen: list[tuple[bool, bool, bool]] = []
    theirs = logging.LogRecord("shop", logging.INFO, "", 0, "theirs", (), None)

    @workflow(name="asking")
    async def asking(ctx: WorkflowContext) -> None:
        passes = RunContextFilter()
        loud = RunContextFilter(silent_on_replay=False)
        seen.append((passes.filter(record), passes.filter(theirs), loud.filter(theirs)))
        await ctx.wait_for_signal("t")
        raise FatalError("over")

    store = MemoryStateStore()
    async with running_engine(store, asking) as engine:
        await engine.start(asking, run_id="r")
        await until(run_has(store, "r", RunStatus.SUSPENDED))
        await engine.signal("t", None)
        await until(run_has(store, "r", RunStatus.FAILED))
    assert seen == [(True, True, True), (True, False, True)]
