"""The features one after the other: what each adds to the one workflow of a `World`, and what is to hold of it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from fastapi_durable.declare.definition import Batch, Singleton, step, workflow
from fastapi_durable.declare.queue import Queue
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.runs.input import NO_INPUT
from fastapi_durable.engine.turns.step_log import current_step
from fastapi_durable.engine.upkeep.blocked import show_blocked
from fastapi_durable.engine.upkeep.dead_letter import DeadLetter
from fastapi_durable.engine.upkeep.follow_up import EndedRun
from fastapi_durable.engine.upkeep.retention import Retention, keep, sweep
from fastapi_durable.engine.upkeep.schedule import Schedule
from fastapi_durable.engine.worker import Worker
from fastapi_durable.model.records import LIVE_STATUSES, Run, RunQuery, RunStatus
from fastapi_durable.service.named_starts import NamedStartOptions, NamedStarts
from tests.features.world import NAMESPACE, Body, Explosion, Tally, World
from tests.support.engine_rig import run_has, until

ALL_CHILDREN = 2


@dataclass(frozen=True, kw_only=True)
class Property:
    """What a run is, from its beginning to its end.

    Attributes:
        prepare: Declares it. `of_child` says that the run is a child of `flow`.
        check: What holds of each run that has it.
    """

    name: str
    holds: str
    prepare: Callable[[World, bool], None]
    check: Callable[[World, Run], bool] = lambda world, run: True


@dataclass(frozen=True, kw_only=True)
class Door:
    """A way in which a run begins.

    Attributes:
        begin: Goes through the door for the nth time.
    """

    name: str
    holds: str
    prepare: Callable[[World, str], None]
    begin: Callable[[World, int], Awaitable[object]]


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a body does.

    Attributes:
        wrap: Makes of a body one that does its work by, beside or after the call.
        times: How often the inner body is executed.
        waits_first: The run stands before it does the inner work.
        branches: The inner work is done in a branch.
        own: What the call itself leaves in `World.done`, each time.
    """

    name: str
    holds: str
    wrap: Callable[[World, Body], Body]
    times: int = 1
    waits_first: bool = False
    branches: bool = False
    has_children: bool = False
    own: str | None = None


@dataclass(frozen=True, kw_only=True)
class Act:
    """What is done to a run.

    Attributes:
        act: Does it: to a run that stands if `ended` is not set, else to one that has ended.
        outcome: How the run ends then; None: it is not there any more.
        stops: The run goes no further.
    """

    name: str
    holds: str
    act: Callable[[World, Run], Awaitable[None]]
    prepare: Callable[[World], None] = lambda world: None
    ended: bool = False
    outcome: RunStatus | None = RunStatus.COMPLETED
    stops: bool = False
    undoes: bool = False


Feature = Property | Door | Call | Act


# Properties


def _singleton(world: World, of_child: bool) -> None:
    options = world.of_children if of_child else world.options
    options["singleton"] = Singleton(key=lambda _: "k")


def _queue(world: World, of_child: bool) -> None:
    world.queues.append(Queue("line", concurrency=1))
    (world.child_options if of_child else world.starting)["queue"] = "line"


def _priority(world: World, _: bool) -> None:
    # Children have their parent's.
    world.starting["priority"] = 7


def _namespace(world: World, _: bool) -> None:
    world.namespace = NAMESPACE


def _version(world: World, of_child: bool) -> None:
    options, name = (world.of_children, "child") if of_child else (world.options, "flow")
    options["version"] = "2"

    @workflow(name=name, version="1", **{each: value for each, value in options.items() if each != "version"})
    async def older(ctx: WorkflowContext, _: Any = None) -> None:
        raise Explosion

    world.workflows.append(older)


def _followed(world: World, of_child: bool) -> None:
    async def follow(ctx: WorkflowContext, ended: EndedRun) -> None:
        world.followed[ended.run_id] += 1

    options = world.of_children if of_child else world.options
    options |= {"on_success": follow, "on_failure": follow}


def _is_followed_once(world: World, run: Run) -> bool:
    """One that was retried has failed before, and one that goes on as a new run has not ended."""
    if run.status is not RunStatus.COMPLETED or run.output is None:
        return world.followed[run.id] == 0
    failures = world.explodes or 0 if run.workflow == "flow" else 0
    return world.followed[run.id] == 1 + failures


PROPERTIES = [
    Property(
        name="singleton",
        holds="of two runs of one key the second begins when the first has ended, however it ended",
        prepare=_singleton,
    ),
    Property(
        name="queue",
        holds="its runs are driven one at a time",
        prepare=_queue,
        check=lambda _, run: run.queue == "line",
    ),
    Property(
        name="priority",
        holds="it is that of the run, of its children and of what it goes on as",
        prepare=_priority,
        check=lambda _, run: run.priority == 7,
    ),
    Property(
        name="namespace",
        holds="whatever comes of the run is in its namespace",
        prepare=_namespace,
        check=lambda _, run: run.namespace == NAMESPACE,
    ),
    Property(
        name="follow-up",
        holds="what follows an ending begins once, and not before it",
        prepare=_followed,
        check=_is_followed_once,
    ),
    Property(
        name="version",
        holds="the run is driven by its own version, though another one is there",
        prepare=_version,
        check=lambda _, run: run.workflow_version == "2",
    ),
]


# Doors


def _on_event(**options: Any) -> Callable[[World, str], None]:
    def prepare(world: World, name: str) -> None:
        if name == "flow":
            world.options |= {"on_event": "go", **options}
        else:
            world.workflows.append(workflow(name=name, on_event="go", **options)(_other))

    return prepare


async def _other(ctx: WorkflowContext, _: Any = None) -> None:
    """The other workflow that an occasion starts."""


async def _publish(world: World, number: int) -> None:
    await world.service.publish_event("go", number, event_id=f"event {number}")


async def _settle(world: World, number: int) -> None:
    await _publish(world, number)

    async def collected() -> bool:
        """The event was taken: what collects events rests until its window ends, not until the first event comes."""
        collecting = await world.store.list_runs(RunQuery(workflow="__evt_debounce", statuses=LIVE_STATUSES))
        now = world.clock.now()
        return [run.status for run in collecting if run.wake_at and run.wake_at > now] == [RunStatus.SUSPENDED]

    await until(collected)
    world.clock.move(minutes=1)

    async def fired() -> bool:
        return len(await world.runs()) > number

    await until(fired)


def _scheduled(world: World, name: str) -> None:
    target = name
    if name != "flow":
        world.workflows.append(workflow(name=name)(_other))
    options = {key: value for key, value in world.starting.items() if key in ("queue", "priority")}
    world.schedules.append(Schedule(key="hourly", workflow=target, every="1h", **options))


async def _fire(world: World, _: int) -> None:
    await world.engine.scheduler.fire()
    world.clock.move(hours=1)
    await world.engine.scheduler.fire()


async def _begin_later(world: World, _: int) -> None:
    handle = await world.service.start(world.later, delay="1h", **world.starting)
    assert (await handle.run()).status is RunStatus.SUSPENDED
    world.clock.move(hours=1)


def _later(world: World, name: str) -> None:
    world.later = name
    if name != "flow":
        world.workflows.append(workflow(name=name)(_other))


def _among_many(world: World, name: str) -> None:
    world.among_many = name
    if name != "flow":
        world.workflows.append(workflow(name=name)(_other))


async def _begin_many(world: World, _: int) -> None:
    await world.service.start_many(world.among_many, [None], **world.starting)


def _named(world: World, name: str) -> None:
    world.named = name
    if name != "flow":
        world.workflows.append(workflow(name=name)(_other))


async def _begin_by_name(world: World, _: int) -> None:
    """In a process that does not have the code."""
    client = NamedStarts(world.machinery(knows_flow=False).kernel)
    version = world.engine.registry.get(world.named).version
    options: NamedStartOptions = {**world.starting, "version": version, "unserved": "start"}  # type: ignore[typeddict-item]
    await client.start_named(world.named, NO_INPUT, options, output_type=Any)


def _transacted(world: World, name: str) -> None:
    world.transacted = name
    if name != "flow":
        world.workflows.append(workflow(name=name)(_other))


async def _commit(world: World, _: int) -> None:
    async with world.service.transaction() as tx:
        await tx.start(world.transacted, **world.starting)


DOORS = [
    Door(name="event", holds="one run an event", prepare=_on_event(), begin=_publish),
    Door(
        name="batch",
        holds="one run a full batch",
        prepare=_on_event(batch=Batch(max_size=1, within="1h")),
        begin=_publish,
    ),
    Door(
        name="debounce", holds="one run when the events have stopped", prepare=_on_event(debounce="10s"), begin=_settle
    ),
    Door(name="schedule", holds="one run a window", prepare=_scheduled, begin=_fire),
    Door(name="transaction", holds="one run a start that is committed", prepare=_transacted, begin=_commit),
    Door(name="many", holds="one run an input", prepare=_among_many, begin=_begin_many),
    Door(name="by name", holds="one run a start of a client", prepare=_named, begin=_begin_by_name),
    Door(name="delay", holds="one run a start, when its time has come", prepare=_later, begin=_begin_later),
]
START = Door(
    name="start",
    holds="one run a start",
    prepare=lambda world, name: None,
    begin=lambda world, _: world.service.start("flow", **world.starting),
)


# Calls


def _child(world: World, inner: Body) -> Body:
    @workflow(name="child", **world.of_children)
    async def child(ctx: WorkflowContext, _: Any = None) -> Any:
        return await inner(ctx)

    world.workflows.append(child)

    async def body(ctx: WorkflowContext) -> Any:
        return await ctx.child(child, **world.child_options)

    return body


def _all(world: World, inner: Body, *, concurrency: int | None = None) -> Body:
    @workflow(name="member", **world.of_children)
    async def member(ctx: WorkflowContext, _: int) -> Any:
        return await inner(ctx)

    world.workflows.append(member)

    async def body(ctx: WorkflowContext) -> Any:
        queue = world.child_options.get("queue")
        results = await ctx.all(member, list(range(ALL_CHILDREN)), queue=queue, concurrency=concurrency)
        assert results == [results[0]] * ALL_CHILDREN
        return results[0]

    return body


def _race(world: World, inner: Body) -> Body:
    async def body(ctx: WorkflowContext) -> Any:
        return (await ctx.race(inner(ctx), ctx.sleep("300 days"))).value

    return body


def _gather(world: World, inner: Body) -> Body:
    async def body(ctx: WorkflowContext) -> Any:
        result, _ = await asyncio.gather(inner(ctx), world.mark(ctx, "beside"))
        return result

    return body


def _signal(world: World, inner: Body) -> Body:
    async def body(ctx: WorkflowContext) -> Any:
        assert await ctx.wait_for_signal(f"signal:{ctx.run_id}", str) == "said"
        return await inner(ctx)

    return body


def _webhook(world: World, inner: Body) -> Body:
    async def body(ctx: WorkflowContext) -> Any:
        hook = await ctx.webhook(str)
        assert await hook.wait() == "said"
        return await inner(ctx)

    return body


def _update(world: World, inner: Body) -> Body:
    async def body(ctx: WorkflowContext) -> Any:
        assert await ctx.on_update("go", str, answer=str.upper) == "SAID"
        return await inner(ctx)

    return body


def _entity(world: World, inner: Body) -> Body:
    async def body(ctx: WorkflowContext) -> Any:
        await ctx.call_entity(Tally, "k", "add", 1)
        return await inner(ctx)

    return body


def _stream(world: World, inner: Body) -> Body:
    @step
    async def speak() -> None:
        world.done["speak"] += 1
        await current_step().stream("said").append("by the step")

    async def body(ctx: WorkflowContext) -> Any:
        said = ctx.stream("said", str)
        before = await said.append("before")
        await ctx.step(speak)
        result = await inner(ctx)
        # The step's item is between the two, and nothing else.
        assert await said.append("after") == before + 2
        return result

    return body


def _saga(world: World, inner: Body) -> Body:
    async def body(ctx: WorkflowContext) -> Any:
        await world.mark(ctx, "reserve", compensate=world.undo)
        return await inner(ctx)

    return body


def _continue_as_new(world: World, inner: Body) -> Body:
    async def body(ctx: WorkflowContext) -> Any:
        result = await inner(ctx)
        if "~1" not in ctx.run_id:
            ctx.continue_as_new(0)
        return result

    return body


CALLS = [
    Call(
        name="child", holds="the body goes on when the child has ended, with its result", wrap=_child, has_children=True
    ),
    Call(
        name="all",
        holds="the body goes on when all children have ended",
        wrap=_all,
        times=ALL_CHILDREN,
        has_children=True,
    ),
    Call(
        name="all, one at a time",
        holds="the next child begins when one has ended",
        wrap=partial(_all, concurrency=1),
        times=ALL_CHILDREN,
        has_children=True,
    ),
    Call(name="race", holds="the branch that ends first gives the result", wrap=_race, branches=True),
    Call(name="gather", holds="each branch is executed once", wrap=_gather, branches=True, own="beside"),
    Call(
        name="signal",
        holds="the run stands until the signal comes, and the signal is received once",
        wrap=_signal,
        waits_first=True,
    ),
    Call(
        name="webhook",
        holds="the run stands until the callback comes, and the callback is received once",
        wrap=_webhook,
        waits_first=True,
    ),
    Call(
        name="update",
        holds="the run stands until the update comes, and the update is received and answered once",
        wrap=_update,
        waits_first=True,
    ),
    Call(name="entity", holds="each operation is executed once", wrap=_entity),
    Call(name="stream", holds="each item of the body is there once, in order", wrap=_stream, own="speak"),
    Call(name="saga", holds="what was done is done once", wrap=_saga, own="reserve"),
    Call(name="continue_as_new", holds="the next life begins once, and ends the run", wrap=_continue_as_new, times=2),
]


# Acts


async def cancel(world: World, run: Run) -> None:
    await world.service.cancel(run.id, compensate=True)
    await until(run_has(world.store, run.id, RunStatus.CANCELLED))


def _fails_once(world: World) -> None:
    world.explodes = 1


async def retry(world: World, run: Run) -> None:
    await world.service.retry(run.id)
    await world.finish()


async def fork(world: World, run: Run) -> None:
    (end,) = [row for row in await world.store.list_checkpoints(run.id) if row.name == "end"]
    fork = await world.service.fork(run.id, from_step=end.seq)
    await until(run_has(world.store, fork.id, RunStatus.COMPLETED))


def _limited(world: World) -> None:
    world.options["execution_timeout"] = "2 days"


async def time_up(world: World, run: Run) -> None:
    world.clock.move(days=3)
    await until(run_has(world.store, run.id, RunStatus.CANCELLED))
    found = await world.store.find_run(run.id)
    assert found is not None
    assert found.error is not None
    assert found.error.code == "execution_timeout"


def _has_letter(world: World) -> None:
    async def letter(ctx: WorkflowContext, dead: DeadLetter) -> None:
        world.letters.append(dead.dead_run_id)

    world.options["dead_letter"] = letter


async def die(world: World, run: Run) -> None:
    """Its processes died again and again, and nobody renews its lease."""
    gone = world.clock.now() - timedelta(hours=1)
    async with world.store.transaction() as transaction:
        await transaction.lock_run(run.id)
        await transaction.update_run(
            run.id,
            {"status": RunStatus.RUNNING, "locked_by": "gone", "locked_until": gone, "recovery_attempts": 5},
        )
    await until(run_has(world.store, run.id, RunStatus.DEAD))

    async def told() -> bool:
        return world.letters == [run.id]

    await until(told)


async def sweep_all(world: World) -> None:
    """Two days later, forget what ended more than a day ago."""
    world.clock.move(days=2)
    policy = keep("completed", "failed", "cancelled", "dead", max_age="1 day")
    await sweep(world.engine.kernel, Retention(policies=(policy,)))


async def forget(world: World, run: Run) -> None:
    await sweep_all(world)
    assert await world.store.find_run(run.id) is None
    assert await world.store.list_stream_parts(run.id) == []
    assert await world.runs(None) == [each for each in await world.runs(None) if each.workflow.startswith("__")]


async def block(world: World) -> None:
    """There is no process any more that knows the workflow."""
    await world.worker.stop()
    await world.answer()
    world.clock.move(minutes=10)
    other = world.machinery(knows_flow=False)
    await show_blocked(other.kernel, alive_within=timedelta(minutes=1))
    assert RunStatus.BLOCKED in {each.status for each in await world.live()}


async def deploy(world: World) -> None:
    world.worker = Worker(world.engine)
    await world.worker.start()


async def _block_for_a_time(world: World, _: Run) -> None:
    await block(world)
    await deploy(world)


async def pause(world: World, run: Run) -> None:
    """Say what the run waits for, and see that it does nothing about it."""
    await world.service.pause(run.id)
    await world.answer()
    await until(world.is_quiet)
    found = await world.store.find_run(run.id)
    assert found is not None
    assert (found.is_paused, found.status) == (True, RunStatus.SUSPENDED)
    assert world.done["end"] == 0


async def _pause_for_a_time(world: World, run: Run) -> None:
    await pause(world, run)
    await world.service.resume(run.id)


ACTS = [
    Act(
        name="cancel",
        holds="the run, its children and its waits end, and nothing of it is executed any more",
        act=cancel,
        outcome=RunStatus.CANCELLED,
        stops=True,
        undoes=True,
    ),
    Act(
        name="retry",
        holds="what failed is executed again, and nothing else",
        act=retry,
        prepare=_fails_once,
        ended=True,
        undoes=True,
    ),
    Act(name="fork", holds="what stands behind the position is executed again, and nothing else", act=fork, ended=True),
    Act(
        name="timeout",
        holds="the run, its children and its waits end when its time is up",
        act=time_up,
        prepare=_limited,
        outcome=RunStatus.CANCELLED,
        stops=True,
    ),
    Act(
        name="dead letter",
        holds="the run is dead, its letter is delivered once, and its children go on",
        act=die,
        prepare=_has_letter,
        outcome=RunStatus.DEAD,
        stops=True,
    ),
    Act(name="retention", holds="nothing of the run is left", act=forget, ended=True, outcome=None),
    Act(
        name="blocked",
        holds="the run stands while no process knows it, and goes on when one does",
        act=_block_for_a_time,
    ),
    Act(
        name="pause",
        holds="the run makes no call until it is resumed, and finds what came meanwhile",
        act=_pause_for_a_time,
    ),
]

_TRIGGERS_SAY_NOTHING = "a trigger starts runs in no queue and with no priority"

_NOBODY_DRIVES = "nobody drives a blocked run, so no process dies with it"

CANNOT_MEET: dict[tuple[str, str], str] = {
    **{(one, door): _TRIGGERS_SAY_NOTHING for one in ("queue", "priority") for door in ("event", "batch", "debounce")},
    ("dead letter", "blocked"): _NOBODY_DRIVES,
    ("all", "all, one at a time"): "one call has the children",
}
"""Why two features cannot meet in one run."""

FEATURES: list[Feature] = [*PROPERTIES, *DOORS, *CALLS, *ACTS]
