"""Schedules against a store and a clock: once a window, whoever looks, whatever was deleted meanwhile."""

import asyncio
import itertools
from collections.abc import Awaitable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from fastapi_durable import MemoryStateStore, Schedule, WorkflowContext, workflow
from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.definition import workflow_definition
from fastapi_durable.declare.queue import Queue
from fastapi_durable.engine.core.config import EngineConfig
from fastapi_durable.engine.engine import Engine
from fastapi_durable.engine.upkeep import upkeep
from fastapi_durable.engine.upkeep.scheduler import Scheduler
from fastapi_durable.engine.worker import Worker
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.errors import DefinitionError, InputValidationError, ScheduleNotFoundError
from fastapi_durable.model.records import LIVE_STATUSES, RunQuery, RunStatus, ScheduleState
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from fastapi_durable.testing import HandClock
from fastapi_durable.transport.in_process import InProcessTransport
from tests.support.crashing_store import Fuse, Moment, ProcessDied, crashing
from tests.support.engine_rig import FAST, NothingInjected, run_has, running_engine, tuned, until
from tests.support.interposed_store import interposed
from tests.support.stores import on_every_store


@workflow(name="report")
async def report(ctx: Any, day: str) -> str:
    return day


@workflow(name="other")
async def other(ctx: Any) -> None:
    pass


def engine_with(store: StateStore, clock: Any, *schedules: Schedule, config: EngineConfig = FAST) -> Engine:
    return Engine(
        store=store,
        workflows=[workflow_definition(report), workflow_definition(other)],
        injector=NothingInjected(),
        transport=InProcessTransport(),
        config=config,
        clock=clock,
        codec=Codec(),
        schedules=schedules,
        queues=[Queue("q", concurrency=1)],
    )


def hourly(**options: Any) -> Schedule:
    declared: dict[str, Any] = {"key": "hourly", "workflow": report, "input": "today", "every": "1h"}
    return Schedule(**declared | options)


async def run_ids(store: StateStore) -> list[str]:
    return sorted(run.id for run in await store.list_runs(RunQuery()))


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@on_every_store
async def test_the_first_start_fires_no_past_window(store: StateStore, clock: HandClock) -> None:
    scheduler = engine_with(store, clock, hourly()).scheduler
    clock.move(minutes=30)
    await scheduler.fire()
    assert await run_ids(store) == []
    clock.move(minutes=29)
    assert await scheduler.fire() <= timedelta(minutes=1)
    assert await run_ids(store) == []
    clock.move(minutes=1)
    await scheduler.fire()
    bucket = int(clock.now().timestamp()) // 3600
    assert await run_ids(store) == [f"sched:hourly:{bucket}"]


@on_every_store
async def test_many_workers_that_look_at_once_start_one_run_for_a_window(store: StateStore, clock: HandClock) -> None:
    schedulers = [engine_with(store, clock, hourly()).scheduler for _ in range(8)]
    await asyncio.gather(*(scheduler.fire() for scheduler in schedulers))
    for _ in range(3):
        clock.move(hours=1)
        await asyncio.gather(*(scheduler.fire() for scheduler in schedulers))
    assert len(await run_ids(store)) == 3


@on_every_store
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_worker_that_dies_while_it_fires_leaves_each_window_fired_once(
    store: StateStore, clock: HandClock, moment: Moment
) -> None:
    """At every write: the run, and that the window is passed, are there both or neither."""
    for number in itertools.count(1):
        fuse, schedule = Fuse(number, moment), hourly(key=f"s{number}", backfill=1)
        await engine_with(store, clock, schedule).scheduler.fire()
        clock.move(hours=2)
        with suppress(ProcessDied):
            await engine_with(crashing(store, fuse), clock, schedule).scheduler.fire()
        await engine_with(store, clock, schedule).scheduler.fire()
        assert len([each for each in await run_ids(store) if each.startswith(f"sched:s{number}:")]) == 2
        if not fuse.blown:
            break
    # Two runs, the state, and the commit.
    assert number == 5


@on_every_store
async def test_a_window_whose_run_was_deleted_does_not_fire_again(store: StateStore, clock: HandClock) -> None:
    scheduler = engine_with(store, clock, hourly(backfill=5)).scheduler
    await scheduler.fire()
    clock.move(hours=1)
    await scheduler.fire()
    (run_id,) = await run_ids(store)
    assert await store.delete_run(run_id)
    await scheduler.fire()
    await engine_with(store, clock, hourly(backfill=5)).scheduler.fire()
    assert await run_ids(store) == []


@on_every_store
async def test_after_a_time_without_workers_the_latest_window_fires_and_as_many_before_as_backfill_says(
    store: StateStore, clock: HandClock
) -> None:
    scheduler = engine_with(store, clock, hourly(backfill=1), hourly(key="bare")).scheduler
    await scheduler.fire()
    clock.move(hours=10)
    await scheduler.fire()
    bucket = int(clock.now().timestamp()) // 3600
    assert await run_ids(store) == [f"sched:bare:{bucket}", f"sched:hourly:{bucket - 1}", f"sched:hourly:{bucket}"]


@on_every_store
async def test_a_window_is_left_out_while_the_last_run_lives_whatever_its_status(
    store: StateStore, clock: HandClock
) -> None:
    """Pending, blocked and cancelling runs are alive too."""
    scheduler = engine_with(store, clock, hourly(overlap="skip")).scheduler
    await scheduler.fire()
    clock.move(hours=1)
    await scheduler.fire()
    (first,) = await run_ids(store)
    for status in LIVE_STATUSES:
        await store.update_run(first, {"status": status})
        clock.move(hours=1)
        await scheduler.fire()
        assert await run_ids(store) == [first]
    await store.update_run(first, {"status": RunStatus.FAILED})
    await scheduler.fire()
    assert await run_ids(store) == [first], "a window that was left out is not made up for"
    clock.move(hours=1)
    await scheduler.fire()
    assert len(await run_ids(store)) == 2


@on_every_store
async def test_a_window_is_left_out_while_the_run_that_continued_an_earlier_one_lives(
    store: StateStore, clock: HandClock
) -> None:
    """A chain is one run to its schedule, however often it goes on as a new one."""

    @workflow(name="poller")
    async def poller(ctx: WorkflowContext) -> None:
        if not ctx.run_id.endswith("~2"):
            ctx.continue_as_new()
        await ctx.wait_for_signal(f"stop:{ctx.run_id}")

    schedule = Schedule(key="poll", workflow=poller, every="1h", overlap="skip")
    async with running_engine(store, poller, clock=clock) as engine:
        scheduler = Scheduler(engine._kernel, [schedule])
        await scheduler.fire()
        clock.move(hours=1)
        await scheduler.fire()
        first = f"sched:poll:{schedule.bucket(clock.now())}"
        await until(run_has(store, f"{first}~2", RunStatus.SUSPENDED))
        for _ in range(2):
            clock.move(hours=1)
            await scheduler.fire()
        assert await run_ids(store) == [first, f"{first}~1", f"{first}~2"]
        await engine.signal(f"stop:{first}~2")
        await until(run_has(store, f"{first}~2", RunStatus.COMPLETED))
        clock.move(hours=1)
        await scheduler.fire()
        assert f"sched:poll:{schedule.bucket(clock.now())}" in await run_ids(store)


@on_every_store
@pytest.mark.parametrize("lives", ["window", "trigger"])
async def test_a_window_is_left_out_while_any_run_of_the_schedule_lives(
    store: StateStore, clock: HandClock, lives: str
) -> None:
    """Not only the one that was started last: a trigger that has ended hides no run before it."""
    scheduler = engine_with(store, clock, hourly(overlap="skip")).scheduler
    await scheduler.fire()
    clock.move(hours=1)
    if lives == "window":
        await scheduler.fire()
    else:
        await scheduler.trigger("hourly")
    (alive,) = await run_ids(store)
    ended = await scheduler.trigger("hourly")
    await store.update_run(ended, {"status": RunStatus.COMPLETED})
    clock.move(hours=1)
    await scheduler.fire()
    assert await run_ids(store) == sorted([alive, ended])
    await store.update_run(alive, {"status": RunStatus.COMPLETED})
    clock.move(hours=1)
    await scheduler.fire()
    assert len(await run_ids(store)) == 3


@on_every_store
async def test_runs_that_are_not_of_the_schedule_leave_no_window_out(store: StateStore, clock: HandClock) -> None:
    """The same workflow, started by others: by hand, by another schedule, and in another namespace."""
    engine = engine_with(store, clock, hourly(overlap="skip"), hourly(key="hourly2", paused=True))
    acme = engine_with(store, clock, hourly(overlap="skip"), config=tuned(FAST, namespace="acme")).scheduler
    await engine.scheduler.fire()
    await acme.fire()
    await WorkflowService(engine.kernel).start(report, "by hand", tags=["hourly"])
    await engine.scheduler.trigger("hourly2")
    await acme.trigger("hourly")
    before = await run_ids(store)
    clock.move(hours=1)
    await engine.scheduler.fire()
    assert len(await run_ids(store)) == len(before) + 1


@on_every_store
async def test_a_run_of_a_schedule_has_its_tags_and_one_by_which_it_is_found(
    store: StateStore, clock: HandClock
) -> None:
    engine = engine_with(store, clock, hourly(tags=("daily", "mail")))
    run = await store.find_run(await engine.scheduler.trigger("hourly"))
    assert run is not None
    assert run.tags == ("daily", "mail", "schedule:hourly")
    assert [each.id for each in await store.list_runs(RunQuery(tag="schedule:hourly"))] == [run.id]
    with pytest.raises(InputValidationError, match="a tag must not begin with 'schedule:'"):
        await WorkflowService(engine.kernel).start(report, "today", tags=["schedule:hourly"])


@on_every_store
async def test_schedules_that_no_module_declares_are_fired_by_who_asks_for_it(
    store: StateStore, clock: HandClock
) -> None:
    """They are kept by their keys: two callers fire a window once, and a declared one of the same key is the same."""
    engine = engine_with(store, clock, hourly())
    stored = [hourly(), hourly(key="customer-7", every="30 min")]
    for scheduler in (engine.scheduler, engine.scheduler.for_schedules(stored)):
        await scheduler.fire()
    clock.move(hours=1)
    looks = [engine.scheduler.for_schedules(stored).fire() for _ in range(4)]
    assert await asyncio.gather(*looks) == [timedelta(seconds=10)] * 4
    await engine.scheduler.fire()
    assert [each.split(":")[1] for each in await run_ids(store)] == ["customer-7", "hourly"]
    with pytest.raises(ScheduleNotFoundError):
        await engine.scheduler.trigger("customer-7")
    with pytest.raises(DefinitionError, match="must be unique, got 'hourly' twice"):
        engine.scheduler.for_schedules([hourly(), hourly()])


@on_every_store
async def test_jitter_blocks_nobody_and_a_window_fires_once_its_offset_has_passed(
    store: StateStore, clock: HandClock
) -> None:
    late = hourly(jitter="50 min")
    scheduler = engine_with(store, clock, late).scheduler
    await scheduler.fire()
    window = next(late.windows_after(clock.now()))
    clock.moment = late.fires_at(window) - timedelta(seconds=1)
    assert await scheduler.fire() == timedelta(seconds=1)
    assert await run_ids(store) == []
    clock.move(seconds=1)
    await scheduler.fire()
    await scheduler.fire()
    assert await run_ids(store) == [f"sched:hourly:{late.bucket(window)}"]


@on_every_store
async def test_windows_pass_without_a_run_while_a_schedule_is_paused(store: StateStore, clock: HandClock) -> None:
    scheduler = engine_with(store, clock, hourly(), hourly(key="declared", paused=True)).scheduler
    await scheduler.fire()
    await scheduler.pause("hourly")
    for _ in range(3):
        clock.move(hours=1)
        await scheduler.fire()
    clock.move(minutes=10)
    await scheduler.resume("hourly")
    await scheduler.fire()
    assert await run_ids(store) == []
    clock.move(hours=1)
    await scheduler.fire()
    assert len(await run_ids(store)) == 1


@on_every_store
async def test_windows_that_nobody_looked_at_while_a_schedule_was_paused_do_not_fire_when_it_is_resumed(
    store: StateStore, clock: HandClock
) -> None:
    """Every worker was down, or busy: the row still stands at the window before the pause."""
    scheduler = engine_with(store, clock, hourly(backfill=5)).scheduler
    await scheduler.fire()
    await scheduler.pause("hourly")
    clock.move(hours=3, minutes=10)
    await scheduler.resume("hourly")
    await scheduler.fire()
    assert await run_ids(store) == []
    (info,) = await scheduler.listing()
    assert info.last_fire_at is None
    clock.move(minutes=50)
    await scheduler.fire()
    assert len(await run_ids(store)) == 1


@on_every_store
async def test_resuming_a_schedule_that_is_not_paused_loses_no_window(store: StateStore, clock: HandClock) -> None:
    scheduler = engine_with(store, clock, hourly()).scheduler
    await scheduler.fire()
    clock.move(hours=1)
    await scheduler.resume("hourly")
    await scheduler.fire()
    assert len(await run_ids(store)) == 1


@on_every_store
async def test_a_schedule_that_is_paused_again_stays_paused_and_knows_its_last_window(
    store: StateStore, clock: HandClock
) -> None:
    scheduler = engine_with(store, clock, hourly()).scheduler
    await scheduler.fire()
    clock.move(hours=1)
    await scheduler.fire()
    (started,) = await run_ids(store)
    for _ in range(2):
        await scheduler.pause("hourly")
    (info,) = await scheduler.listing()
    assert (info.paused, info.next_fire_at, info.last_run_id) == (True, None, started)
    assert info.last_fire_at == clock.now()


@on_every_store
async def test_a_schedule_that_is_paused_between_a_look_and_its_transaction_does_not_fire(
    store: StateStore, clock: HandClock
) -> None:
    operator = engine_with(store, clock, hourly()).scheduler
    await operator.fire()
    paused = False

    async def pause_first(name: str, call: "partial[Awaitable[Any]]") -> Any:
        nonlocal paused
        if name == "transaction" and not paused:
            paused = True
            await operator.pause("hourly")
        return await call()

    clock.move(hours=1)
    await engine_with(interposed(store, pause_first), clock, hourly()).scheduler.fire()
    assert paused
    assert await run_ids(store) == []


@on_every_store
async def test_a_schedule_that_is_paused_while_a_window_fires_stays_paused(store: StateStore, clock: HandClock) -> None:
    """The worker saves how far it has come, and must not save over the pause that came while it was at it."""
    operator = engine_with(store, clock, hourly()).scheduler
    await operator.fire()
    pausing: list[asyncio.Task[None]] = []

    async def pause_meanwhile(name: str, call: "partial[Awaitable[Any]]") -> Any:
        if name == "save_schedule" and not pausing:
            pausing.append(asyncio.create_task(operator.pause("hourly")))
            # It waits for the name that the worker holds: here it does not end, however long this waits.
            done, _ = await asyncio.wait(pausing, timeout=0.3)
            assert not done
        return await call()

    clock.move(hours=1)
    await engine_with(interposed(store, pause_meanwhile), clock, hourly()).scheduler.fire()
    await asyncio.gather(*pausing)
    (info,) = await operator.listing()
    assert info.paused
    assert info.last_run_id == (await run_ids(store))[0]


@on_every_store
async def test_a_window_that_another_worker_fires_between_a_look_and_its_transaction_fires_once(
    store: StateStore, clock: HandClock
) -> None:
    """Even if its run is deleted before the second worker gets to it: the row is read again under the lock."""
    other_worker = engine_with(store, clock, hourly()).scheduler
    await other_worker.fire()
    overtaken = False

    async def overtake(name: str, call: "partial[Awaitable[Any]]") -> Any:
        nonlocal overtaken
        if name == "transaction" and not overtaken:
            overtaken = True
            await other_worker.fire()
            (run_id,) = await run_ids(store)
            assert await store.delete_run(run_id)
        return await call()

    clock.move(hours=1)
    await engine_with(interposed(store, overtake), clock, hourly()).scheduler.fire()
    assert overtaken
    assert await run_ids(store) == []


@on_every_store
async def test_a_clock_that_jumps_back_fires_no_window_twice_and_goes_on_when_it_has_caught_up(
    store: StateStore, clock: HandClock
) -> None:
    scheduler = engine_with(store, clock, hourly(backfill=5)).scheduler
    await scheduler.fire()
    clock.move(hours=2)
    await scheduler.fire()
    fired = await run_ids(store)
    for run_id in fired:
        assert await store.delete_run(run_id)
    clock.move(hours=-2)
    for _ in range(4):
        rest = await scheduler.fire()
        assert timedelta(0) < rest <= timedelta(seconds=10)
        clock.move(minutes=30)
    assert await run_ids(store) == []
    clock.move(hours=1)
    await scheduler.fire()
    assert len(await run_ids(store)) == 1


@on_every_store
async def test_a_schedule_that_a_wrong_clock_moved_far_ahead_is_told_of_once_and_comes_back_when_it_is_resumed(
    store: StateStore, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = engine_with(store, clock, hourly()).scheduler
    await scheduler.fire()
    right = clock.now()
    clock.move(days=400)
    await scheduler.fire()
    ahead = clock.now()
    clock.moment = right
    for _ in range(3):
        clock.move(hours=1)
        await scheduler.fire()
    assert len(await run_ids(store)) == 1
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert f"schedule 'hourly' will not fire before {ahead.isoformat()}" in warnings[0]
    assert "pause and resume" in warnings[0]
    await scheduler.pause("hourly")
    await scheduler.resume("hourly")
    clock.move(hours=1)
    await scheduler.fire()
    assert len(await run_ids(store)) == 2
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


@on_every_store
async def test_a_schedule_fires_on_the_night_on_which_the_clocks_of_chatham_are_put_back(
    store: StateStore, clock: HandClock
) -> None:
    """At 3:45 they go back to 2:45; the search for the window before 14:05 UTC, 2:50 there, once had no end."""
    clock.moment = datetime(2026, 4, 4, 10, tzinfo=UTC)
    chatham = Schedule(key="c", workflow=other, cron="0 */2 * * *", timezone="Pacific/Chatham", backfill=5)
    scheduler = engine_with(store, clock, chatham).scheduler
    await scheduler.fire()
    clock.move(hours=4, minutes=5)
    await scheduler.fire()
    windows = [datetime(2026, 4, 4, 10, 15, tzinfo=UTC), datetime(2026, 4, 4, 12, 15, tzinfo=UTC)]
    assert await run_ids(store) == [f"sched:c:{chatham.bucket(window)}" for window in windows]
    (info,) = await scheduler.listing()
    assert info.next_fire_at == datetime(2026, 4, 4, 15, 15, tzinfo=UTC), "four o'clock, with the hour that came twice"


@on_every_store
async def test_a_schedule_that_has_no_window_left_is_listed_and_disturbs_nobody(
    store: StateStore, clock: HandClock
) -> None:
    clock.moment = datetime(9999, 12, 31, 22, 30, tzinfo=UTC)
    scheduler = engine_with(
        store, clock, hourly(key="a"), Schedule(key="b", workflow=other, cron="0 * * * *")
    ).scheduler
    await scheduler.fire()
    clock.move(minutes=45)
    assert await scheduler.fire() == timedelta(seconds=10)
    assert len(await run_ids(store)) == 2
    assert [info.next_fire_at for info in await scheduler.listing()] == [None, None]


@on_every_store
async def test_a_schedule_beyond_the_end_of_the_listing_is_known_by_its_row(
    store: StateStore, clock: HandClock
) -> None:
    """A thousand rows are listed, and those of other namespaces and of removed schedules count too."""

    async def list_others(name: str, call: "partial[Awaitable[Any]]") -> Any:
        others = [
            ScheduleState(id=f"a{number:04}", last_window=clock.now(), updated_at=clock.now()) for number in (1, 2)
        ]
        return others if name == "list_schedules" else await call()

    scheduler = engine_with(interposed(store, list_others), clock, hourly()).scheduler
    await scheduler.fire()
    await scheduler.pause("hourly")
    (info,) = await scheduler.listing()
    assert info.paused


async def test_a_look_at_many_schedules_lets_others_run_between_them(clock: HandClock) -> None:
    scheduler = engine_with(MemoryStateStore(), clock, *(hourly(key=f"k{number}") for number in range(50))).scheduler
    await scheduler.fire()
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    await scheduler.fire()
    counting.cancel()
    assert turns >= 50


@on_every_store
async def test_a_schedule_can_be_triggered_beside_its_windows(store: StateStore, clock: HandClock) -> None:
    engine = engine_with(store, clock, hourly(overlap="skip", paused=True))
    run_id = await engine.scheduler.trigger("hourly")
    assert run_id.startswith("sched:hourly:manual:")
    run = await store.find_run(run_id)
    assert run is not None
    assert (run.workflow, run.input, run.status) == ("report", "today", RunStatus.PENDING)
    (info,) = await engine.scheduler.listing()
    assert info.last_run_id == run_id
    with pytest.raises(ScheduleNotFoundError):
        await engine.scheduler.trigger("yearly")


@on_every_store
async def test_the_listing_tells_the_last_and_the_next_fire(store: StateStore, clock: HandClock) -> None:
    scheduler = engine_with(store, clock, hourly(), hourly(key="paused", paused=True)).scheduler
    noon = clock.now()
    clock.move(minutes=20)
    await scheduler.fire()
    (new, _) = await scheduler.listing()
    assert (new.last_fire_at, new.next_fire_at) == (None, noon + timedelta(hours=1)), "it was seen at 12:20, not fired"
    clock.move(hours=1)
    await scheduler.fire()
    first, paused = await scheduler.listing()
    assert (first.last_fire_at, first.next_fire_at) == (noon + timedelta(hours=1), noon + timedelta(hours=2))
    assert first.last_run_id == (await run_ids(store))[0]
    assert (paused.paused, paused.next_fire_at, paused.last_run_id) == (True, None, None)
    clock.move(hours=1, minutes=5)
    (late, _) = await scheduler.listing()
    assert late.next_fire_at == clock.now(), "the window of 14:00 is due, and no worker has looked"


@on_every_store
async def test_a_schedule_that_cannot_be_fired_keeps_no_other_from_firing(store: StateStore, clock: HandClock) -> None:
    engine = engine_with(store, clock, hourly(key="a"), hourly(key="b"))
    await engine.scheduler.fire()
    clock.move(hours=1)
    broken = engine.scheduler._schedules["a"]  # as if its input had become one that cannot be stored
    object.__setattr__(broken, "input", float("nan"))
    await engine.scheduler.fire()
    assert [run_id.split(":")[1] for run_id in await run_ids(store)] == ["b"]


@on_every_store
async def test_two_namespaces_have_schedules_of_their_own_under_one_key(store: StateStore, clock: HandClock) -> None:
    schedulers = [
        engine_with(store, clock, hourly(), config=tuned(FAST, namespace=name)).scheduler
        for name in (None, "default", "acme")
    ]
    for scheduler in schedulers:
        await scheduler.fire()
    clock.move(hours=1)
    for scheduler in schedulers:
        await scheduler.fire()
    bucket = int(clock.now().timestamp()) // 3600
    assert await run_ids(store) == [f"sched:hourly:{bucket}", f"sched@4.acme:hourly:{bucket}"]


@pytest.mark.parametrize("wrong", [{"workflow": "unknown"}, {"workflow": other}, {"input": 7}])
def test_a_schedule_of_an_unknown_workflow_or_with_a_wrong_input_is_refused_at_the_start(wrong: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="workflow"):
        engine_with(MemoryStateStore(), HandClock(), hourly(**wrong))


async def test_a_scheduled_run_waits_in_the_queue_that_its_schedule_names(clock: HandClock) -> None:
    store = MemoryStateStore()
    scheduler = engine_with(store, clock, hourly(queue="q", fairness_key="k", priority=3)).scheduler
    run = await store.find_run(await scheduler.trigger("hourly"))
    assert run is not None
    assert (run.queue, run.fairness_key, run.priority) == ("q", "k", 3)
    assert [load.queue.id for load in await store.list_queues(clock.now())] == ["q"]
    assert await store.claim_runs("t", now=clock.now(), until=clock.now(), limit=1) == []


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"queue": "r"}, "declared: 'q'"),
        ({"fairness_key": "k"}, "together with queue"),
        ({"priority": 2**40}, "32 bits"),
        ({"tags": ("",)}, "a tag must be"),
    ],
)
def test_a_schedule_whose_runs_could_not_be_started_is_refused_at_the_start(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputValidationError, match=reason):
        engine_with(MemoryStateStore(), HandClock(), hourly(**wrong))


def test_two_schedules_of_one_key_are_refused() -> None:
    with pytest.raises(DefinitionError, match="hourly"):
        engine_with(MemoryStateStore(), HandClock(), hourly(), hourly())


@on_every_store
async def test_a_worker_fires_schedules_by_itself(store: StateStore) -> None:
    engine = engine_with(store, SystemClock(), hourly(every="50ms"))
    worker = Worker(engine)
    await worker.start()
    try:

        async def three_have_ended() -> bool:
            return await store.count_runs(RunQuery(status=RunStatus.COMPLETED)) >= 3

        await until(three_have_ended)
    finally:
        await worker.stop()


async def test_a_look_at_the_schedules_that_fails_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database may be away when a window comes, or when the worker starts."""
    monkeypatch.setattr(upkeep, "_FAILURE_PAUSE", timedelta(milliseconds=5))
    looks = 0

    async def fail_twice(name: str, call: "partial[Awaitable[Any]]") -> Any:
        nonlocal looks
        if name == "list_schedules":
            looks += 1
            if looks in (1, 4):
                raise OSError("the database is away")
        return await call()

    store = MemoryStateStore()
    worker = Worker(engine_with(interposed(store, fail_twice), SystemClock(), hourly(every="50ms")))
    await worker.start()
    try:

        async def went_on() -> bool:
            return looks > 4 and await store.count_runs(RunQuery(status=RunStatus.COMPLETED)) >= 3

        await until(went_on)
        assert worker.health().alive
    finally:
        await worker.stop()


async def test_schedules_fire_while_every_place_of_the_worker_is_taken() -> None:
    store, entered = MemoryStateStore(), asyncio.Event()

    @workflow(name="other")
    async def hang(ctx: Any) -> None:
        entered.set()
        await asyncio.Event().wait()

    config = tuned(FAST, concurrency=1, shutdown_timeout=timedelta(0))
    engine = Engine(
        store=store,
        workflows=[workflow_definition(report), workflow_definition(hang)],
        injector=NothingInjected(),
        transport=InProcessTransport(),
        config=config,
        clock=SystemClock(),
        codec=Codec(),
        schedules=[hourly(every="50ms")],
    )
    worker = Worker(engine)
    await WorkflowService(engine.kernel).start(hang)
    await worker.start()
    try:
        await entered.wait()

        async def two_wait() -> bool:
            return await store.count_runs(RunQuery(workflow="report", status=RunStatus.PENDING)) >= 2

        await until(two_wait)
    finally:
        await worker.stop()


def test_input_errors_are_of_the_kind_that_start_raises() -> None:
    with pytest.raises(InputValidationError):
        engine_with(MemoryStateStore(), HandClock(), hourly(input=7))
