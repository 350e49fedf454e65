"""Random programs of primitives, crashes, deliveries, moves of the clock: it comes to what it would without crashes.

The clock stands still unless it is moved, so whatever happens between two moves happens in one millisecond.
"""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fastapi_durable.engine.core.config import EngineConfig
from fastapi_durable.engine.driver import RunDriver
from fastapi_durable.model.records import Checkpoint, Run, RunQuery, RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.memory import MemoryStateStore
from fastapi_durable.testing import HandClock
from tests.support.crashing_store import Fuse, Moment, ProcessDied, crashing
from tests.support.engine_rig import SHORT_LEASE, build_engine, killed_worker, running_engine, until
from tests.support.programs import INSTRUCTIONS, WORKFLOWS, Counter, awaited, deliver, expected, interpreter, runs_made

pytestmark = pytest.mark.slow

T = TypeVar("T")

LEASE = timedelta(minutes=1)
CONFIG = EngineConfig(lease=LEASE, event_ttl=timedelta(days=36_500))
ROUNDS = 1_000
"""More looks at the runs than any of these programs takes."""

programs = st.lists(st.sampled_from(sorted(INSTRUCTIONS)), min_size=1, max_size=5)
moments = st.sampled_from(["before", "after"])


class Lives(RuleBasedStateMachine):
    """A few runs, one process after the other, and the people outside."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = HandClock()
        self.store = MemoryStateStore()
        self.outside = self.process(self.store)
        self.inside = self.outside
        self.programs: dict[str, list[str]] = {}
        self.outstanding: set[tuple[str, int]] = set()
        self.finished: dict[tuple[str, int], Checkpoint] = {}
        self.ended: dict[str, Run] = {}

    def process(self, store: Any) -> WorkflowService:
        return build_engine(store, *WORKFLOWS, entities=(Counter,), config=CONFIG, clock=self.clock)

    def do(self, what: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(what)

    @initialize(program=programs)
    def begin(self, program: list[str]) -> None:
        self.start(program)

    @precondition(lambda self: len(self.programs) < 3)
    @rule(program=programs)
    def start(self, program: list[str]) -> None:
        run_id = f"run {len(self.programs)}"
        self.do(self.asked(lambda engine: engine.start(interpreter, program, run_id=run_id)))
        self.programs[run_id] = program
        self.outstanding |= {(run_id, number) for number in awaited(program)}

    @precondition(lambda self: self.inside is self.outside)
    @rule(at=st.integers(1, 12), moment=moments)
    def doom(self, at: int, moment: Moment) -> None:
        """The process will die at its n-th write from now on."""
        self.inside = self.process(crashing(self.store, Fuse(at, moment)))

    @rule(times=st.integers(1, 8))
    def drive(self, times: int) -> None:
        for _ in range(times):
            if not self.do(self.turn()):
                break

    @precondition(lambda self: self.outstanding)
    @rule(data=st.data(), meanwhile=st.booleans(), again=st.booleans())
    def answer(self, data: st.DataObject, meanwhile: bool, again: bool) -> None:
        """Say what a run waits for, or will; perhaps while a run is driven, and perhaps twice."""
        run_id, number = data.draw(st.sampled_from(sorted(self.outstanding)))
        program = self.programs[run_id]

        async def say() -> None:
            if await self.asked(lambda engine: deliver(engine, run_id, program, number)) and not again:
                self.outstanding.discard((run_id, number))

        async def both() -> None:
            await asyncio.gather(say(), *([self.turn()] if meanwhile else []))

        self.do(both())

    @rule(minutes=st.sampled_from([1, 10, 61, 600]))
    def wait(self, minutes: int) -> None:
        """Long enough for a lease, or also for a sleep."""
        self.clock.move(minutes=minutes, milliseconds=1)

    @invariant()
    def what_is_finished_stays(self) -> None:
        """A result is never overwritten, and a run that has ended never changes."""
        for run in self.do(self.store.list_runs(RunQuery(limit=100))):
            assert self.ended.setdefault(run.id, run) == run or not self.ended[run.id].status.is_terminal
            self.ended[run.id] = run
            if run.workflow.startswith("__"):
                # It goes on in place, with an empty history.
                continue
            for row in self.do(self.store.list_checkpoints(run.id)):
                if row.status.is_finished:
                    assert self.finished.setdefault((run.id, row.seq), row) == row

    def teardown(self) -> None:
        try:
            self.do(self.come_to_an_end())
        finally:
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()

    async def turn(self) -> bool:
        """Drive one run until it rests, if one wants to; a process that dies is followed by another one."""
        process, now = self.inside, self.clock.now()
        token = f"{process._kernel.config.instance_id}:{now}"
        try:
            claimed = await process._kernel.store.claim_runs(token, now=now, until=now + LEASE, limit=1)
            for run in claimed:
                await RunDriver(run, token, process._kernel).drive()
        except ProcessDied:
            self.inside = self.outside
            return True
        return bool(claimed)

    async def asked(self, call: Any) -> Any:
        """The answer of the process, or that of another one if it dies of the question."""
        try:
            return await call(self.inside)
        except ProcessDied:
            self.inside = self.outside
            return await call(self.outside)

    async def come_to_an_end(self) -> None:
        """Say everything that was not said yet, wait for everything, and compare."""
        self.inside = self.outside
        for _ in range(ROUNDS):
            for run_id, number in sorted(self.outstanding):
                if await deliver(self.outside, run_id, self.programs[run_id], number):
                    self.outstanding.discard((run_id, number))
            if not await self.turn():
                if all([(await self.outside.handle(run_id).status()).is_terminal for run_id in self.programs]):
                    break
                self.clock.move(minutes=61)
        # Entities, to which a run may have said something without waiting, or whose process died after their answer.
        self.clock.move(minutes=61)
        while await self.turn():
            pass
        for run_id, program in self.programs.items():
            assert await self.outside.handle(run_id).result("60s") == expected(program)
            await self.check_what_is_shown(run_id, program)
        runs = await self.store.list_runs(RunQuery(limit=100))
        assert len(runs) == sum(map(runs_made, self.programs.values())), sorted(run.id for run in runs)
        resting = {run.id for run in runs if run.status is RunStatus.SUSPENDED and run.workflow.startswith("__")}
        assert [run.id for run in runs if not run.status.is_terminal and run.id not in resting] == []
        assert [run.id for run in runs if run.locked_by is not None] == []
        assert [each.token for each in await self.store.list_signal_waiters() if each.run_id not in resting] == []
        for run in runs:
            if run.workflow == "saga":
                undone = [row.seq for row in await self.store.list_checkpoints(run.id) if row.seq < 0]
                assert len(undone) == 3

    async def check_what_is_shown(self, run_id: str, program: list[str]) -> None:
        run = await self.outside.handle(run_id).run()
        last = {name: number for number, name in enumerate(program)}
        assert (run.search_attributes or {}).get("at") == last.get("attributes")
        assert await self.outside.get_value(run_id, "shown", int) == last.get("set_value")
        counted = sum(INSTRUCTIONS[name].counts for name in program)
        if any("entity" in name for name in program):
            state = await self.outside.get_entity_state(Counter, run_id)
            assert (0 if state is None else state.count) == counted


SETTINGS = settings(max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.timeout(300)
def test_whatever_happens_to_the_processes_each_program_comes_to_what_it_comes_to_without_them() -> None:
    run_state_machine_as_test(Lives, settings=SETTINGS)


INSTANT = sorted(name for name in INSTRUCTIONS if name not in {"sleep", "no signal", "singleton"})
"""What does not wait for the clock."""


@settings(max_examples=25, deadline=None)
@given(program=st.lists(st.sampled_from(INSTANT), min_size=1, max_size=6), at=st.integers(1, 30), moment=moments)
def test_a_worker_that_dies_does_not_change_what_a_program_comes_to(
    program: list[str], at: int, moment: Moment
) -> None:
    """With real workers, real time, and answers that come while the first process is dying."""
    asyncio.run(_run(program, at, moment))


async def _run(program: list[str], at: int, moment: Moment) -> None:
    store, fuse = MemoryStateStore(), Fuse(at, moment)
    parts: dict[str, Any] = {"entities": (Counter,), "config": SHORT_LEASE}
    outside = build_engine(store, *WORKFLOWS, **parts)
    outstanding = awaited(program)

    async def all_is_said() -> bool:
        for number in list(outstanding):
            if await deliver(outside, "run", program, number):
                outstanding.remove(number)
        return not outstanding

    async with killed_worker(crashing(store, fuse), *WORKFLOWS, **parts) as first:
        try:
            await first.start(interpreter, program, run_id="run")
        except ProcessDied:
            await outside.start(interpreter, program, run_id="run")

        async def died_or_ended() -> bool:
            await all_is_said()
            return fuse.blown or (await outside.handle("run").status()).is_terminal

        await until(died_or_ended)
        async with running_engine(store, *WORKFLOWS, **parts) as second:
            await until(all_is_said)
            assert await second.handle("run").result("60s") == expected(program)
    waiting = {run.id for run in await store.list_runs(RunQuery(limit=100)) if run.workflow.startswith("__")}
    assert [each.token for each in await store.list_signal_waiters() if each.run_id not in waiting] == []
