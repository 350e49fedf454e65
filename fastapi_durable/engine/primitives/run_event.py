"""`ctx.set_value` and `get_value`: a value that a run publishes, such as its progress.

The newest value of a key is at the highest position. But the positions of branches say nothing about the order in time.
So in a run with branches, each value gets a later time than the one before it, even if the clock does not advance.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, Final

from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.primitives.primitive import Primitive
from fastapi_durable.engine.runs.addressing import resolve_run
from fastapi_durable.engine.runs.chain import earlier_ids
from fastapi_durable.engine.turns.position import FIRST_BRANCH_SEQ
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.records import Checkpoint, CheckpointStatus, Json, Run
from fastapi_durable.store.base import StateStore

_FIRST_POLL: Final = timedelta(milliseconds=50)


class ShownValue(Primitive[None]):
    """Records the newest value of `key`.

    Raises:
        SerializationError: the value has no JSON form.
    """

    begins_effect = False

    def __init__(self, turn: Turn, seq: int, key: str, value: Any) -> None:
        super().__init__(turn, seq, _name(key))
        self._key = key
        self._value = value

    async def act(self) -> Checkpoint:
        turn = self.turn
        output = turn.kernel.codec.encode(self._value, Any, what=f"the value of event {self._key!r}")
        row = self.row(CheckpointStatus.COMPLETED, output=output)
        if turn.history.positions.has_branches:
            row = await turn.persist(partial(self._after_the_latest, row))
        held = await turn.hold(row)
        # Waiting readers read the store, so notify them after the commit.
        turn.held.tell(partial(turn.kernel.notifications.value_set, turn.run.id))
        return held

    async def _after_the_latest(self, row: Checkpoint) -> Checkpoint:
        # Compare with all values, including those from before the first branch. The order of those was that of their
        # positions. From now on, time decides.
        store = self.turn.kernel.store
        latest = await store.find_latest_checkpoint_by_name(self.turn.run.id, self.name, by_time=True)
        if latest is None:
            return row
        return replace(row, finished_at=max(row.finished_at, latest.finished_at + timedelta(milliseconds=1)))

    def returns(self, _: Json) -> None:
        """Nothing."""


async def awaited_value(kernel: Kernel, run_id: str, key: str, limit: timedelta) -> Checkpoint | None:
    """Return the row of the value that a run, or the run from which it continued, set last.

    If there is none, wait for the first one until the limit. Notifications end the wait. A poll, with growing pauses,
    finds values of processes that do not notify this one.

    Raises:
        RunNotFoundError: no run has this id, or it was deleted meanwhile.
    """
    clock, poll, watched, looked_at = kernel.clock, _FIRST_POLL, run_id, None
    deadline = clock.now() + limit
    while True:
        # Before the read, so that a value that is set meanwhile sets the event.
        with kernel.notifications.watch_values(watched) as heard:
            is_over = clock.now() >= deadline
            # Read the run before its values: a run that has ended sets no more.
            run = await resolve_run(kernel, run_id)
            latest = await _latest_since(kernel.store, run, key, looked_at)
            if latest is not None or run.status.is_terminal or is_over:
                return latest
            looked_at = run.id
            if watched != run.id:
                watched = run.id
                continue
            wait = max(timedelta(0), min(poll, deadline - clock.now()))
            try:
                async with asyncio.timeout(wait.total_seconds()):
                    await heard.wait()
            except TimeoutError:
                poll = min(poll * 2, kernel.config.poll_interval)


async def _latest_since(store: StateStore, run: Run, key: str, looked_at: str | None) -> Checkpoint | None:
    """Return the newest value of the chain, without the runs before `looked_at`, which cannot set values any more."""
    for run_id in (run.id, *earlier_ids(run.id)):
        if (latest := await _latest_of(store, run_id, _name(key))) is not None:
            return latest
        if run_id == looked_at:
            break
    return None


async def _latest_of(store: StateStore, run_id: str, name: str) -> Checkpoint | None:
    latest = await store.find_latest_checkpoint_by_name(run_id, name)
    if latest is None or latest.seq < FIRST_BRANCH_SEQ:
        return latest
    return await store.find_latest_checkpoint_by_name(run_id, name, by_time=True)


def _name(key: str) -> str:
    return f"event:{key}"
