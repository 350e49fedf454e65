"""A case: a small workflow around one primitive, the outside that it talks to, and what has to come out of it.

The situations (see `situations`) let every case live through the same things: a crash at each write, a second worker,
another process, deliveries that come twice. Whatever happens, the outcome and the number of runs are the same.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any

from fastapi_durable.declare.queue import Queue
from fastapi_durable.model.errors import RunCancelledError, RunFailedError
from fastapi_durable.model.records import Run, RunQuery, RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from tests.support.crashing_store import ProcessDied

PAUSE = 0.02
"""Seconds between two looks at a database: many lives share it."""

CRASHES_OF_A_DEAD_RUN = 1000
"""So many no life comes to, however often its leases end."""

Call = Callable[[WorkflowService], Awaitable[Any]]


async def eventually(condition: Callable[[], Awaitable[Any]]) -> Any:
    """The first answer of `condition` that is not false. The life around it has a limit."""
    while not (answer := await condition()):  # noqa: ASYNC110 (what is waited for happens in a database)
        await asyncio.sleep(PAUSE)
    return answer


class Desk:
    """The outside of one run: asks a process, and when that dies asks another one again, as any caller would.

    Args:
        engines: In the order in which they are asked.
        twice: Ask two of them at the same time instead.
    """

    def __init__(self, key: str, store: StateStore, engines: list[WorkflowService], *, twice: bool = False) -> None:
        self.key = key
        self.store = store
        self._engines = engines
        self._twice = twice

    @property
    def last(self) -> WorkflowService:
        """The process that is asked last, and lives to the end."""
        return self._engines[-1]

    async def ask(self, call: Call, *, alone: bool = False, refusals: tuple[type[Exception], ...] = ()) -> Any:
        """The answer; with two callers, that of the one who achieved something.

        Args:
            alone: There is one caller in any case; for what is meant to have an effect each time it is asked.
            refusals: What a repeated call may be answered.
        """
        if self._twice and not alone:
            answers = await asyncio.gather(*(call(engine) for engine in self._engines[:2]), return_exceptions=True)
            for answer in answers:
                if isinstance(answer, BaseException) and not isinstance(answer, refusals):
                    raise answer
            good = [answer for answer in answers if not isinstance(answer, BaseException)]
            return next(filter(None, good), good[0])
        repeated = False
        for engine in self._engines:
            try:
                return await call(engine)
            except ProcessDied:
                repeated = True
            except refusals:
                if not repeated:
                    raise
                return None
        raise AssertionError("every process is dead")

    async def until(self, call: Call) -> Any:
        """The first answer that is not false, asked again and again."""
        return await eventually(lambda: self.ask(call))

    async def signal_when_awaited(self, token: str, payload: object) -> None:
        """One signal to whoever waits. A sender that dies looks whether it was received before it sends it again."""
        await eventually(lambda: self.store.find_signal_waiter(token))

        async def send(engine: WorkflowService) -> None:
            if await self.store.find_signal_waiter(token) is not None:
                await engine.signal(token, payload, signal_id=token)

        await self.ask(send, alone=True)

    async def status(self, run_id: str) -> RunStatus | None:
        run = await self.store.find_run(run_id)
        return None if run is None else run.status

    async def until_status(self, run_id: str, *statuses: RunStatus) -> None:
        async def has_it() -> bool:
            return await self.status(run_id) in statuses

        await eventually(has_it)


async def start_it(case: "Case", engine: WorkflowService, key: str) -> object:
    """Begin a case by starting its first workflow; the key is both its input and its id."""
    return await engine.start(case.workflows[0].__name__, key, run_id=key)


async def its_result(engine: WorkflowService, key: str) -> object:
    """What run `key` returned, or the message of its failure."""
    return await result_of(engine, key)


async def result_of(engine: WorkflowService, run_id: str) -> object:
    """What a run returned, or the message of its failure."""
    try:
        return await engine.handle(run_id).result("60s")
    except (RunFailedError, RunCancelledError) as error:
        return error.error.message if error.error is not None else str(error)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One primitive in a small workflow.

    Attributes:
        name: Of the primitive, and of what is special here.
        workflows, entities, queues, steps: What both processes know.
        result: The outcome, as JSON; "{key}" stands for the run's id.
        outside: Everything that others do meanwhile.
        begin: Makes the first run.
        outcome: What is compared with `result`.
        runs: How many runs there are in the end; one more would have been started twice.
        dispensable: How many of them a crash may leave out: a child whose sibling has failed already.
        writes: How many writes it takes at least: a case that shrinks to nothing would pass everything.
    """

    name: str
    workflows: tuple[Callable[..., Any], ...]
    result: object
    writes: int
    outside: Callable[[Desk], Awaitable[object]] | None = None
    begin: Callable[["Case", WorkflowService, str], Awaitable[object]] = start_it
    outcome: Callable[[WorkflowService, str], Awaitable[object]] = its_result
    entities: tuple[type, ...] = ()
    queues: tuple[Queue, ...] = ()
    steps: tuple[Callable[..., Any], ...] = ()
    runs: int = 1
    dispensable: int = 0

    def __str__(self) -> str:
        return self.name

    def is_whole(self, runs: Collection[Run]) -> bool:
        """Whether as many runs were made as it takes, and none twice."""
        return self.needed_runs <= len(runs) <= self.runs

    @property
    def needed_runs(self) -> int:
        """How many there are at least."""
        return self.runs - self.dispensable

    @property
    def parts(self) -> dict[str, Any]:
        """What an engine takes beside the workflows."""
        return {"entities": self.entities, "queues": self.queues, "steps": self.steps}


def has_ended(run: Run) -> bool:
    """Whether nothing more happens to the run by itself. The engine's own runs (entities, ...) live on and rest."""
    resting = run.workflow.startswith("__") and run.status is RunStatus.SUSPENDED and run.wake_at is None
    return run.status.is_terminal or resting


async def runs_of(store: StateStore, key: str) -> list[Run]:
    """The runs of one life of a case, which has a namespace of its own."""
    return await store.list_runs(RunQuery(namespace=key, limit=200))
