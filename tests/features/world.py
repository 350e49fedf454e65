"""A place where two features meet: one workflow that is put together from both, a worker, and a clock moved by hand."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.definition import step, workflow, workflow_definition
from fastapi_durable.declare.entity import entity, operation
from fastapi_durable.declare.queue import Queue
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.engine import Engine
from fastapi_durable.engine.primitives.update import answer_key, offer_update
from fastapi_durable.engine.turns.undo import Undo
from fastapi_durable.engine.upkeep.schedule import Schedule
from fastapi_durable.engine.worker import Worker
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.records import LIVE_STATUSES, Run, RunQuery, RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from fastapi_durable.testing import HandClock
from fastapi_durable.transport.in_process import InProcessTransport
from tests.support.engine_rig import FAST, NothingInjected, is_idle, tuned, until

Body = Callable[[WorkflowContext], Coroutine[Any, Any, Any]]

NAMESPACE = "orders"


class Explosion(Exception):
    """What a body raises on purpose."""


@entity(name="tally")
class Tally(BaseModel):
    """What the runs of one world count together."""

    total: int = 0

    @operation
    def add(self, amount: int) -> int:
        self.total += amount
        return self.total


class World:
    """What the features of one cell share.

    Attributes:
        options: Of the workflow `flow`.
        of_children: The same of the workflow of its children.
        starting: Options of a start.
        child_options: Options of a child.
        transacted, later, among_many: The workflow that is started in a transaction, with a delay, or with others.
        schedules, queues, workflows: What is declared beside `flow`.
        done: How often each step was executed.
        at_once: In how many runs of a workflow steps were executed at the same time, at most.
        explodes: How often what is to fail fails; None: for ever.
    """

    def __init__(self, store: StateStore) -> None:
        self.store = store
        # Within an hour, so that no window of a schedule begins unasked.
        self.clock = HandClock(SystemClock().now().replace(minute=5))
        self.namespace = "default"
        self.options: dict[str, Any] = {}
        self.starting: dict[str, Any] = {}
        self.child_options: dict[str, Any] = {}
        self.of_children: dict[str, Any] = {}
        self.schedules: list[Schedule] = []
        self.queues: list[Queue] = []
        self.workflows: list[Callable[..., Any]] = []
        self.transacted = self.later = self.among_many = self.named = "flow"
        self.letters: list[str] = []
        self.followed: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.at_once = 0
        self._working: Counter[str] = Counter()
        self._updates: dict[str, str] = {}
        self.explodes: int | None = 0
        self.body: Body = self.leaf

        @step
        async def do(work: tuple[str, str]) -> str:
            what, run_id = work
            self._working[run_id] += 1
            self.at_once = max(self.at_once, len(+self._working))
            self.done[what] += 1
            await asyncio.sleep(0)
            self._working[run_id] -= 1
            return what

        @step
        async def undo(undone: Undo[str, str]) -> None:
            self.done[f"undo {undone.output}"] += 1

        @step
        async def explode() -> None:
            self.done["explode"] += 1
            if self.explodes is None or self.done["explode"] <= self.explodes:
                raise Explosion

        self.do, self.undo, self.explode = do, undo, explode

    # Bodies

    async def mark(self, ctx: WorkflowContext, what: str, **options: Any) -> None:
        """Execute a step that counts."""
        await ctx.step(self.do, (what, ctx.run_id), name=what, **options)

    async def leaf(self, ctx: WorkflowContext) -> str:
        """The innermost work: it stands until it is told to go on."""
        await self.mark(ctx, "before")
        await ctx.wait_for_signal(f"gate:{ctx.run_id}")
        await self.mark(ctx, "after")
        return "done"

    def declare(self) -> None:
        """Make the workflow, when both features have said what it is like."""

        @workflow(name="flow", **self.options)
        async def flow(ctx: WorkflowContext, _: Any = None) -> Any:
            await self.mark(ctx, "begin")
            result = await self.body(ctx)
            if self.explodes != 0:
                await ctx.step(self.explode)
            await self.mark(ctx, "end")
            return result

        self.workflows.append(flow)

    # Processes

    def machinery(self, *, knows_flow: bool = True) -> Engine:
        made = [workflow_definition(each) for each in self.workflows] if knows_flow else []
        return Engine(
            store=self.store,
            workflows=made,
            injector=NothingInjected(),
            transport=InProcessTransport(),
            config=tuned(FAST, namespace=self.namespace, max_recovery_attempts=1, lease=timedelta(hours=12)),
            clock=self.clock,
            codec=Codec(),
            entities=[Tally],
            queues=self.queues,
            schedules=self.schedules if knows_flow else [],
        )

    async def __aenter__(self) -> "World":
        self.engine = self.machinery()
        self.service = WorkflowService(self.engine.kernel)
        await self.engine.declare_queues()
        self.worker = Worker(self.engine)
        await self.worker.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.worker.stop()

    # What is seen

    async def runs(self, name: str | None = "flow") -> list[Run]:
        found = await self.store.list_runs(RunQuery(workflow=name))
        return sorted(found, key=lambda run: (run.created_at, run.id))

    async def live(self) -> list[Run]:
        """The live runs of the application: not entities, nor what collects events."""
        found = await self.store.list_runs(RunQuery(statuses=LIVE_STATUSES))
        return [run for run in found if not run.workflow.startswith("__")]

    async def standing(self) -> list[Run]:
        """The runs of `flow` that have begun, and wait for what is said."""
        found = [run for run in await self.runs() if not run.status.is_terminal]
        return [run for run in found if await self.store.list_checkpoints(run.id)]

    async def stands(self) -> None:
        """Return when nothing is left to do until somebody says something."""

        async def quiet() -> bool:
            return bool(await self.live()) and await self.is_quiet()

        await until(quiet)

    async def is_quiet(self) -> bool:
        if not await is_idle(self.worker):
            return False
        now = self.clock.now()
        for run in await self.store.list_runs(RunQuery(statuses=LIVE_STATUSES)):
            due = run.wake_at is not None and run.wake_at <= now
            waits = run.status is RunStatus.SUSPENDED and not due
            if not waits and not (run.status is RunStatus.PENDING and await self.awaits_its_turn(run)):
                return False
        return await is_idle(self.worker)

    async def awaits_its_turn(self, run: Run) -> bool:
        """Whether another run has the only place that this one could take."""
        others = [each for each in await self.live() if each.workflow == run.workflow and each.id != run.id]
        return "singleton" in {**self.options, **self.of_children} and bool(others)

    # What is said

    async def answer(self) -> None:
        """Say to every run what it waits for."""
        for waiter in await self.store.list_signal_waiters():
            word, _, rest = waiter.token.partition(":")
            if word in ("gate", "signal"):
                await self.service.signal(waiter.token, "said")
            elif word == "update":
                run_id, _, name = rest.rpartition(":")
                # As a sender who waits for the answer; whether it came is looked up at the end.
                update_id = uuid.uuid4().hex
                sent = await offer_update(self.engine.kernel, run_id, name, "said", update_id)
                if sent.received:
                    self._updates[update_id] = run_id
            elif word == "wh":
                await self.service.callback(waiter.token, "said")

    async def finish(self) -> None:
        """Say to all runs what they wait for, until all have ended."""
        async with asyncio.timeout(60):
            while await self.live():
                await self.answer()
                await asyncio.sleep(0.001)
        await until(lambda: is_idle(self.worker))
        for update_id, run_id in self._updates.items():
            assert await self.service.get_value(run_id, answer_key(update_id)) == {"ok": True, "value": "SAID"}
