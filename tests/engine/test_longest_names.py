"""What an index holds is bounded: by bytes, since PostgreSQL counts those, and by the same answer on every store."""

import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_durable import (
    Queue,
    RunStatus,
    Schedule,
    Singleton,
    TaskTicket,
    WorkflowContext,
    entity,
    operation,
    step,
    workflow,
)
from fastapi_durable.errors import DefinitionError, InputValidationError
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import FAST, build_machinery, has_status, running_engine, tuned, until
from tests.support.stores import on_every_store


def long(bytes: int) -> str:
    """A text of so many bytes that no index compresses: Chinese of four bytes a character, each another one."""
    chance = random.Random(bytes)
    return "".join(chr(chance.randrange(0x20000, 0x2A6DE)) for _ in range(bytes // 4))


@workflow
async def waiting(ctx: WorkflowContext, token: str) -> None:
    await ctx.wait_for_signal(token)


@workflow(singleton=Singleton(key=str))
async def alone(ctx: WorkflowContext, key: str) -> None:
    await ctx.wait_for_signal("never")


@entity(name="kp")
class Kept(BaseModel):
    @operation
    async def keep(self) -> None: ...


async def _plain(ctx: WorkflowContext) -> None: ...


async def _plain_step() -> None: ...


Say = Callable[[WorkflowService, str], Awaitable[Any]]

SAID: dict[str, tuple[int, Say]] = {
    "run id": (500, lambda service, text: service.start(waiting, "t", run_id=text)),
    "token": (500, lambda service, text: service.signal(text)),
    "token of a start": (500, lambda service, text: service.signal_with_start(waiting, "t", token=text)),
    "id of a signal": (500, lambda service, text: service.signal(long(500), signal_id=text)),
    "id of a start's signal": (
        500,
        lambda service, text: service.signal_with_start(waiting, "t", token="t", signal_id=text),
    ),
    "name of an event": (200, lambda service, text: service.publish_event(text)),
    "id of an event": (500, lambda service, text: service.publish_event(long(200), event_id=text)),
    "tag": (200, lambda service, text: service.start(waiting, "t", tags=[text])),
    "name of an attribute": (200, lambda service, text: service.start(waiting, "t", search_attributes={text: 1})),
    "text of an attribute": (
        2000,
        lambda service, text: service.start(waiting, "t", run_id=long(500), search_attributes={long(200): text}),
    ),
    "fairness key": (200, lambda service, text: service.start(waiting, "t", queue=long(200), fairness_key=text)),
    "key of a singleton": (200, lambda service, text: service.start(alone, text)),
    # What the namespace and the name leave of a run id of 550 bytes.
    "key of an entity": (336, lambda service, text: service.signal_entity("kp", text, "keep")),
    "id of an operation": (500, lambda service, text: service.signal_entity("kp", "k", "keep", operation_id=text)),
}


@on_every_store
@pytest.mark.parametrize("what", SAID)
async def test_the_longest_is_stored_and_one_longer_is_refused_before_anything_is_done(
    store: StateStore, what: str
) -> None:
    """In the longest namespace, and beside the longest of whatever stands in the same index."""
    limit, say = SAID[what]
    machinery = build_machinery(
        store,
        waiting,
        alone,
        entities=[Kept],
        queues=[Queue(name=long(200))],
        config=tuned(FAST, namespace=long(200)),
    )
    await machinery.declare_queues()
    engine = WorkflowService(machinery.kernel)
    await say(engine, long(limit))
    before = await engine.count_runs()
    for longer in (long(limit) + "x", "x" * (limit + 1), "é" * (limit // 2 + 1), long(4 * limit)):
        with pytest.raises(InputValidationError):
            await say(engine, longer)
    assert await engine.count_runs() == before


@pytest.mark.parametrize(
    "declare",
    [
        lambda name: Queue(name=name),
        lambda name: Schedule(key=name, workflow=waiting, every="1h"),
        lambda name: workflow(name=name)(_plain),
        lambda name: step(name=name)(_plain_step),
    ],
    ids=["queue", "schedule", "workflow", "step"],
)
def test_a_name_that_is_too_long_for_an_index_cannot_be_declared(declare: Callable[[str], Any]) -> None:
    declare(long(200))
    for longer in (long(200) + "x", "é" * 101):
        with pytest.raises(DefinitionError):
            declare(longer)


@on_every_store
async def test_a_run_of_the_longest_id_waits_on_every_token_that_the_engine_makes_of_it(store: StateStore) -> None:
    """The token of an update holds the namespace, the run's id and a name."""
    run_id, name = long(500), long(200)

    @step
    async def dispatched(_: TaskTicket) -> None: ...

    @workflow
    async def busy(ctx: WorkflowContext) -> list[Any]:
        await ctx.upsert_search_attributes({name: long(2000)})
        hook = await ctx.webhook()
        await ctx.set_value("hook", hook.token)
        waits = [ctx.task(name, dispatched), hook.wait(), ctx.on_update(name, str), ctx.wait_for_signal(run_id, str)]
        return list(await ctx.gather(*waits))

    config = tuned(FAST, namespace=long(200))
    async with running_engine(store, busy, config=config) as engine:
        handle = await engine.start(busy, run_id=run_id)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        await engine.complete_task(run_id, name, "task")
        hook = await engine.get_value(run_id, "hook", str)
        assert hook is not None
        await engine.callback(hook, "hook")
        assert (await engine.update(run_id, name, "update")).accepted
        await engine.signal(run_id, "signal")
        assert await handle.result("60s") == ["task", "hook", "update", "signal"]
