"""Two things that are done to one run, one after the other: what comes of it."""

from collections.abc import Awaitable, Callable

import pytest

from fastapi_durable.model.errors import RunStateError
from fastapi_durable.model.records import Run, RunStatus
from tests.features import catalogue
from tests.features.world import World
from tests.support.engine_rig import run_has, until

TIMEOUT = "execution_timeout"


async def status_of(world: World, run: Run) -> RunStatus | None:
    found = await world.store.find_run(run.id)
    return None if found is None else found.status


async def code_of(world: World, run: Run) -> str | None:
    found = await world.store.find_run(run.id)
    return None if found is None or found.error is None else found.error.code


async def fork_whole(world: World, run: Run) -> Run:
    return await world.service.fork(run.id, from_step=0)


async def completes(world: World, run: Run) -> None:
    await world.finish()
    assert await status_of(world, run) is RunStatus.COMPLETED


async def cancelled_is_not_retried(world: World, run: Run) -> None:
    await catalogue.cancel(world, run)
    with pytest.raises(RunStateError):
        await world.service.retry(run.id)
    assert await status_of(world, run) is RunStatus.CANCELLED


async def fork_of_a_cancelled_one_is_a_run_of_its_own(world: World, run: Run) -> None:
    await catalogue.cancel(world, run)
    await completes(world, await fork_whole(world, run))
    assert await status_of(world, run) is RunStatus.CANCELLED


async def time_passes_by_a_cancelled_one(world: World, run: Run) -> None:
    await catalogue.cancel(world, run)
    world.clock.move(days=3)
    await until(world.is_quiet)
    assert await code_of(world, run) != TIMEOUT


async def dead_stays_dead_when_cancelled(world: World, run: Run) -> None:
    await catalogue.die(world, run)
    assert (await world.service.cancel(run.id)).status is RunStatus.DEAD


async def cancelled_is_forgotten(world: World, run: Run) -> None:
    await catalogue.cancel(world, run)
    await catalogue.forget(world, run)


async def blocked_is_cancelled(world: World, run: Run) -> None:
    await catalogue.block(world)
    await world.service.cancel(run.id)
    await catalogue.deploy(world)
    await until(run_has(world.store, run.id, RunStatus.CANCELLED))
    assert "after" not in world.done


async def retried_is_forked(world: World, run: Run) -> None:
    await world.finish()
    await catalogue.retry(world, run)
    await catalogue.fork(world, run)
    assert world.done["end"] == 2


async def retried_has_its_time_anew(world: World, run: Run) -> None:
    await world.finish()
    world.clock.move(days=3)
    await catalogue.retry(world, run)
    assert await status_of(world, run) is RunStatus.COMPLETED


async def dead_is_retried(world: World, run: Run) -> None:
    await catalogue.die(world, run)
    await world.service.retry(run.id)
    world.explodes = 0
    await completes(world, run)
    assert world.letters == [run.id]


async def retried_is_forgotten(world: World, run: Run) -> None:
    await world.finish()
    await catalogue.retry(world, run)
    await catalogue.forget(world, run)


async def blocked_is_retried(world: World, run: Run) -> None:
    await catalogue.block(world)
    await world.service.retry(run.id)
    await catalogue.deploy(world)
    world.explodes = 0
    await completes(world, run)


async def fork_of_a_late_one_has_its_own_time(world: World, run: Run) -> None:
    await catalogue.time_up(world, run)
    await completes(world, await fork_whole(world, run))


async def fork_of_a_dead_one_lives(world: World, run: Run) -> None:
    await catalogue.die(world, run)
    await completes(world, await fork_whole(world, run))
    assert world.letters == [run.id]


async def fork_outlives_its_source(world: World, run: Run) -> None:
    await world.finish()
    fork = await fork_whole(world, run)
    await world.stands()
    await catalogue.sweep_all(world)
    assert await status_of(world, run) is None
    await completes(world, fork)


async def fork_of_a_blocked_one_goes_on_with_it(world: World, run: Run) -> None:
    await catalogue.block(world)
    fork = await fork_whole(world, run)
    await catalogue.deploy(world)
    await completes(world, fork)
    assert await status_of(world, run) is RunStatus.COMPLETED


async def time_passes_by_a_dead_one(world: World, run: Run) -> None:
    await catalogue.die(world, run)
    world.clock.move(days=3)
    await until(world.is_quiet)
    assert await status_of(world, run) is RunStatus.DEAD


async def late_is_forgotten(world: World, run: Run) -> None:
    await catalogue.time_up(world, run)
    await catalogue.forget(world, run)


async def time_of_a_blocked_one_is_up(world: World, run: Run) -> None:
    await catalogue.block(world)
    world.clock.move(days=3)
    await catalogue.deploy(world)
    await until(run_has(world.store, run.id, RunStatus.CANCELLED))
    assert await code_of(world, run) == TIMEOUT
    assert "after" not in world.done


async def dead_is_forgotten(world: World, run: Run) -> None:
    await catalogue.die(world, run)
    # The letter, too, has ended then.
    await world.finish()
    await catalogue.forget(world, run)


async def blocked_is_not_forgotten(world: World, run: Run) -> None:
    await catalogue.block(world)
    await catalogue.sweep_all(world)
    assert await status_of(world, run) is RunStatus.BLOCKED
    await catalogue.deploy(world)
    await completes(world, run)


async def paused_is_cancelled(world: World, run: Run) -> None:
    await catalogue.pause(world, run)
    await catalogue.cancel(world, run)
    with pytest.raises(RunStateError):
        await world.service.resume(run.id)
    assert "after" not in world.done


async def paused_fails_and_is_retried(world: World, run: Run) -> None:
    await catalogue.pause(world, run)
    await world.service.resume(run.id)
    await world.finish()
    with pytest.raises(RunStateError):
        await world.service.pause(run.id)
    await catalogue.retry(world, run)
    assert await status_of(world, run) is RunStatus.COMPLETED


async def fork_of_a_paused_one_goes_on(world: World, run: Run) -> None:
    await catalogue.pause(world, run)
    fork = await fork_whole(world, run)
    await until(run_has(world.store, fork.id, RunStatus.SUSPENDED))
    await world.service.signal(f"gate:{fork.id}", "said")
    await until(run_has(world.store, fork.id, RunStatus.COMPLETED))
    assert await status_of(world, run) is RunStatus.SUSPENDED
    await world.service.resume(run.id)
    await completes(world, run)


async def time_of_a_paused_one_is_up(world: World, run: Run) -> None:
    await catalogue.pause(world, run)
    await catalogue.time_up(world, run)
    assert "after" not in world.done


async def dead_is_not_paused(world: World, run: Run) -> None:
    await catalogue.die(world, run)
    with pytest.raises(RunStateError):
        await world.service.pause(run.id)


async def paused_is_not_forgotten(world: World, run: Run) -> None:
    await catalogue.pause(world, run)
    await catalogue.sweep_all(world)
    await world.service.resume(run.id)
    await completes(world, run)


async def blocked_stays_paused_after_the_deploy(world: World, run: Run) -> None:
    await world.service.pause(run.id)
    await catalogue.block(world)
    await catalogue.deploy(world)
    await until(world.is_quiet)
    assert await status_of(world, run) is RunStatus.SUSPENDED
    assert "after" not in world.done
    await world.service.resume(run.id)
    await completes(world, run)


PAIRS: dict[tuple[str, str], Callable[[World, Run], Awaitable[None]]] = {
    ("cancel", "retry"): cancelled_is_not_retried,
    ("cancel", "fork"): fork_of_a_cancelled_one_is_a_run_of_its_own,
    ("cancel", "timeout"): time_passes_by_a_cancelled_one,
    ("cancel", "dead letter"): dead_stays_dead_when_cancelled,
    ("cancel", "retention"): cancelled_is_forgotten,
    ("cancel", "blocked"): blocked_is_cancelled,
    ("retry", "fork"): retried_is_forked,
    ("retry", "timeout"): retried_has_its_time_anew,
    ("retry", "dead letter"): dead_is_retried,
    ("retry", "retention"): retried_is_forgotten,
    ("retry", "blocked"): blocked_is_retried,
    ("fork", "timeout"): fork_of_a_late_one_has_its_own_time,
    ("fork", "dead letter"): fork_of_a_dead_one_lives,
    ("fork", "retention"): fork_outlives_its_source,
    ("fork", "blocked"): fork_of_a_blocked_one_goes_on_with_it,
    ("timeout", "dead letter"): time_passes_by_a_dead_one,
    ("timeout", "retention"): late_is_forgotten,
    ("timeout", "blocked"): time_of_a_blocked_one_is_up,
    ("dead letter", "retention"): dead_is_forgotten,
    ("cancel", "pause"): paused_is_cancelled,
    ("retry", "pause"): paused_fails_and_is_retried,
    ("fork", "pause"): fork_of_a_paused_one_goes_on,
    ("timeout", "pause"): time_of_a_paused_one_is_up,
    ("dead letter", "pause"): dead_is_not_paused,
    ("retention", "pause"): paused_is_not_forgotten,
    ("blocked", "pause"): blocked_stays_paused_after_the_deploy,
    ("retention", "blocked"): blocked_is_not_forgotten,
}
