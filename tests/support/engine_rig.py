"""An engine with a worker on any store, for tests: start runs, wait, kill the process in mind, start another."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import timedelta
from typing import Any

from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.definition import step_definition, workflow_definition
from fastapi_durable.declare.queue import Queue
from fastapi_durable.engine.core.config import EngineConfig
from fastapi_durable.engine.core.injector import Injector
from fastapi_durable.engine.core.interception import StepInterceptor
from fastapi_durable.engine.engine import Engine
from fastapi_durable.engine.runs.handle import RunHandle
from fastapi_durable.engine.worker import Worker
from fastapi_durable.model.clock import Clock, SystemClock
from fastapi_durable.model.records import RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from fastapi_durable.transport.base import Transport
from fastapi_durable.transport.in_process import InProcessTransport


def tuned(config: EngineConfig, **settings: Any) -> EngineConfig:
    """A configuration with other settings."""
    return EngineConfig(**{**dict(config), **settings})


FAST = EngineConfig(
    lease=timedelta(seconds=2),
    poll_interval=timedelta(milliseconds=20),
    shutdown_timeout=timedelta(seconds=2),
)
"""Short times, so that a test which depends on polling or on an expired lease is quick."""

SHORT_LEASE = tuned(FAST, lease=timedelta(milliseconds=60), poll_interval=timedelta(milliseconds=5))
"""For runs whose process dies, and is to be missed soon."""


class NothingInjected:
    """The injector of engine tests: no function has dependencies."""

    def check(self, function: Callable[..., Any]) -> None:
        pass

    def provide(self, function: Callable[..., Any]) -> AbstractAsyncContextManager[dict[str, Any]]:
        return nullcontext({})


def build_machinery(
    store: StateStore,
    *workflows: Callable[..., Any],
    config: EngineConfig = FAST,
    steps: Sequence[Callable[..., Any]] = (),
    interceptors: Sequence[StepInterceptor] = (),
    transport: Transport | None = None,
    entities: Sequence[type] = (),
    injector: Injector | None = None,
    queues: Sequence[Queue] = (),
    clock: Clock | None = None,
) -> Engine:
    """The machinery of an engine, as one process would have it."""
    return Engine(
        store=store,
        workflows=[workflow_definition(workflow) for workflow in workflows],
        injector=injector or NothingInjected(),
        transport=transport or InProcessTransport(),
        config=config,
        clock=clock or SystemClock(),
        codec=Codec(),
        steps=[step_definition(each) for each in steps],
        interceptors=interceptors,
        entities=entities,
        queues=queues,
    )


def build_engine(store: StateStore, *workflows: Callable[..., Any], **parts: Any) -> WorkflowService:
    """What one process would say to an engine that drives nothing."""
    return WorkflowService(build_machinery(store, *workflows, **parts).kernel)


@asynccontextmanager
async def running_engine(
    store: StateStore, *workflows: Callable[..., Any], config: EngineConfig = FAST, **parts: Any
) -> AsyncIterator[WorkflowService]:
    """An engine whose worker drives runs while the block is open."""
    async with running_worker(store, *workflows, config=config, **parts) as (engine, _):
        yield engine


@asynccontextmanager
async def running_worker(
    store: StateStore, *workflows: Callable[..., Any], config: EngineConfig = FAST, **parts: Any
) -> AsyncIterator[tuple[WorkflowService, Worker]]:
    """An engine and its worker, which drives runs while the block is open."""
    engine = build_machinery(store, *workflows, config=config, **parts)
    worker = Worker(engine)
    await engine.declare_queues()
    await worker.start()
    try:
        yield WorkflowService(engine.kernel), worker
    finally:
        await worker.stop()


async def is_idle(worker: Worker) -> bool:
    """Whether the worker drives nothing now."""
    return worker.health().in_flight == 0


async def until(condition: Callable[[], Awaitable[object]], *, seconds: float = 60) -> None:
    """Return when `condition` holds; a test that waits in vain fails."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 (what is waited for happens in a database)
            await asyncio.sleep(0.002)


async def has_status(handle: RunHandle[Any], *statuses: RunStatus) -> bool:
    """Whether the run has one of these statuses now."""
    return await handle.status() in statuses


def run_has(store: StateStore, run_id: str, *statuses: RunStatus) -> Callable[[], Awaitable[bool]]:
    """The same for a run by its id, as a condition for `until`; False as long as there is none."""

    async def check() -> bool:
        run = await store.find_run(run_id)
        return run is not None and run.status in statuses

    return check


@asynccontextmanager
async def killed_worker(
    store: StateStore, *workflows: Callable[..., Any], config: EngineConfig = FAST, **parts: Any
) -> AsyncIterator[WorkflowService]:
    """An engine whose worker is killed, not stopped, at the end of the block: nothing is released or handed back."""
    engine = build_machinery(store, *workflows, config=config, **parts)
    worker = Worker(engine)
    await worker.start()
    try:
        yield WorkflowService(engine.kernel)
    finally:
        # Its own tasks and no others: several processes live in one test.
        tasks = [*worker._loops, *worker._turns, *filter(None, [worker._claiming])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await worker._keeper.stop()
