"""How held checkpoints are written: in their order, each position once in a write, and again what may not be stored."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from fastapi_durable.engine.turns.held import HeldCheckpoints
from fastapi_durable.engine.turns.lifetime import Lifetime
from fastapi_durable.engine.turns.outcome import Interrupt
from fastapi_durable.model.errors import StoreUnavailableError
from fastapi_durable.store.contract.suite.builders import a_checkpoint
from fastapi_durable.store.port.checkpoints import PreparedCheckpoint


class Writes:
    """What is written for a body that goes on without a pause, and what becomes of it."""

    def __init__(self) -> None:
        self.begun: list[list[int]] = []
        self.errors: list[BaseException] = []
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.cancelled = 0
        self.body = SimpleNamespace(is_body_over=False, calls=SimpleNamespace(is_quiet=False))
        self.held = HeldCheckpoints(cast(Lifetime, self.body), self._write)

    async def _write(self, rows: Sequence[PreparedCheckpoint]) -> None:
        self.begun.append([row.checkpoint.seq for row in rows])
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.errors:
            raise self.errors.pop()

    def hold(self, *seqs: int) -> None:
        for seq in seqs:
            self.held.hold(PreparedCheckpoint(a_checkpoint(seq), ""))


async def whatever_is_due() -> None:
    """Let callbacks and tasks run that nothing holds up."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_commit_writes_each_position_once_in_a_statement_until_everything_is_stored() -> None:
    writes = Writes()
    writes.hold(0, 1, 0, 2)
    await writes.held.commit()
    assert writes.begun == [[0, 1], [0, 2]]
    assert writes.held.is_empty


async def test_a_write_that_failed_is_made_again_before_what_came_later() -> None:
    writes = Writes()
    writes.errors.append(StoreUnavailableError("the connection broke"))
    writes.hold(0, 1)
    with pytest.raises(StoreUnavailableError):
        await writes.held.commit()
    writes.hold(2)
    await writes.held.commit()
    assert writes.begun == [[0, 1], [0, 1, 2]]
    assert writes.held.is_empty


async def test_the_ending_carries_nothing_that_is_being_written() -> None:
    writes = Writes()
    writes.may_end.clear()
    writes.hold(0)
    writing = asyncio.create_task(writes.held.commit())
    await whatever_is_due()
    writes.hold(1)
    writes.body.is_body_over = True
    ending = asyncio.create_task(writes.held.until_quiet())
    await whatever_is_due()
    assert not ending.done()
    writes.may_end.set()
    rows = await ending
    await writing
    assert [row.checkpoint.seq for row in rows] == [1]
    writes.held.carried(rows)
    assert writes.held.is_empty
    assert writes.begun == [[0]]


async def test_what_ended_the_turn_is_not_written_again() -> None:
    """Nor what came after it: the body saw what is not so."""
    writes = Writes()
    writes.errors.append(Interrupt())
    writes.hold(0, 0)
    with pytest.raises(Interrupt):
        await writes.held.commit()
    await whatever_is_due()
    assert writes.begun == [[0]]


async def test_a_turn_that_is_closed_leaves_no_write_under_way() -> None:
    writes = Writes()
    writes.may_end.clear()
    writes.hold(0)
    await whatever_is_due()
    assert writes.begun == [[0]]
    writes.body.is_body_over = True
    writes.held.close()
    await whatever_is_due()
    assert writes.cancelled == 1
