"""A change of code is found at every primitive: what is recorded is compared with what is asked for, kind and name."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from fastapi_durable.engine.turns.position import FIRST_BRANCH_SEQ
from fastapi_durable.model.errors import NonDeterminismError
from fastapi_durable.store.memory import MemoryStateStore
from fastapi_durable.testing import History, assert_replayable, record_history
from tests.support.engine_rig import running_engine, until
from tests.support.programs import INSTRUCTIONS, WORKFLOWS, Counter, deliver, interpreter

SLOW = {"sleep", "no signal", "singleton"}
"""They would take hours; `test_model` moves the clock for them."""

CASES = sorted(INSTRUCTIONS.keys() - SLOW)


@pytest.fixture(scope="module")
def histories() -> dict[str, History]:
    """A finished run of each primitive alone."""
    return asyncio.run(recorded_histories())


async def recorded_histories() -> dict[str, History]:
    store, found = MemoryStateStore(), {}
    async with running_engine(store, *WORKFLOWS, entities=(Counter,)) as engine:
        for number, name in enumerate(CASES):
            handle = await engine.start(interpreter, [name], run_id=f"history-{number:02}")
            if INSTRUCTIONS[name].delivered is not None:
                await until(lambda: deliver(engine, handle.run_id, [name], 0))  # noqa: B023 (awaited here)
            await handle.result("60s")
            found[name] = await record_history(store, handle.run_id)
    return found


def edited(history: History, program: list[str]) -> History:
    """The history of a run whose code asks for this program now."""
    return replace(history, run=replace(history.run, input=program))


def rows(history: History) -> list[tuple[int, str, str]]:
    """What is recorded where; ids of the run itself left out."""
    run_id = history.run.id
    return [(row.seq, str(row.kind), row.name.replace(run_id, "<run>")) for row in history.checkpoints]


def pairs(histories: dict[str, History], recorded: str) -> Iterator[str]:
    """Primitives that leave something else than the recorded one."""
    return (other for other in CASES if rows(histories[other]) != rows(histories[recorded]))


def is_of_branches(history: History) -> bool:
    """Whether the body itself recorded nothing: branches that are no longer there are not missed by the engine."""
    return all(row.seq >= FIRST_BRANCH_SEQ for row in history.checkpoints)


def begins_open(history: History) -> bool:
    """Whether its first call was still waiting at the end, as the loser of a race: another wait there goes on so."""
    return history.checkpoints[0].seq != 0


@pytest.mark.parametrize("recorded", CASES)
async def test_another_primitive_in_its_place_parks_the_run(histories: dict[str, History], recorded: str) -> None:
    """Whatever takes its place. One that only goes on where the history ends is found by what becomes of the run."""
    history = histories[recorded]
    await assert_replayable(history, interpreter, *WORKFLOWS[1:])
    for other in pairs(histories, recorded):
        goes_on = rows(history) == rows(histories[other])[: len(rows(history))]
        expected: Any = NonDeterminismError
        if goes_on or begins_open(history):
            expected = (NonDeterminismError, AssertionError)
        with pytest.raises(expected) as caught:
            await assert_replayable(edited(history, [other]), interpreter, *WORKFLOWS[1:])
        if isinstance(caught.value, NonDeterminismError):
            assert (caught.value.seq, caught.value.recorded) in {
                (row.seq, f"{row.kind} {row.name!r}") for row in history.checkpoints
            }
            assert caught.value.found not in ("", caught.value.recorded)


@pytest.mark.parametrize("recorded", CASES)
async def test_a_primitive_that_is_gone_or_moved_parks_the_run(histories: dict[str, History], recorded: str) -> None:
    history = histories[recorded]
    if not is_of_branches(history):
        with pytest.raises(NonDeterminismError, match="the end of the workflow"):
            await assert_replayable(edited(history, []), interpreter, *WORKFLOWS[1:])
    with pytest.raises((NonDeterminismError, AssertionError)):
        await assert_replayable(edited(history, ["breakpoint", recorded]), interpreter, *WORKFLOWS[1:])
