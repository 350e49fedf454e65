"""Fires schedules: every worker looks for due windows, and the database decides which one starts the run of a window.

A row holds the progress of a schedule. One transaction locks the schedule's name, reads the row, creates the run and
advances the row. So after a crash, a window is either fired and passed, or neither. The row remembers the window even
after its run was deleted.
"""

import asyncio
import logging
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.engine.core.conflict import retry_conflicts
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.core.subscription import Refusal
from fastapi_durable.engine.core.tracing import current_traceparent
from fastapi_durable.engine.runs.create import (
    admit,
    admit_or_refuse,
    callers_workflow,
    names_of_beginning,
    new_run,
    report,
)
from fastapi_durable.engine.runs.input import encode_input
from fastapi_durable.engine.runs.labels import schedule_tag
from fastapi_durable.engine.runs.namespaces import namespace_of
from fastapi_durable.engine.runs.queues import know_queue, place_in_queue
from fastapi_durable.engine.runs.start_validation import checked_priority, checked_tags
from fastapi_durable.engine.upkeep.schedule import NoScheduledInput, Schedule
from fastapi_durable.model.errors import DefinitionError, ScheduleNotFoundError
from fastapi_durable.model.records import LIVE_STATUSES, ErrorRecord, Run, RunQuery, ScheduleState
from fastapi_durable.model.reserved import SCHEDULE_RUN, engine_id, scoped
from fastapi_durable.store.base import StoreTransaction

_log = logging.getLogger("fastapi_durable")

_LONGEST_REST: Final = timedelta(seconds=10)
"""Longest pause between two reads of the rows. Other processes may resume or advance a schedule."""

_CLOCKS_APART: Final = timedelta(hours=1)
"""Largest plausible difference between clocks. If a schedule is further ahead, this clock is wrong, or the clock that
fired it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleInfo:
    """A schedule and its state.

    Attributes:
        paused: Whether its declaration or an operator pauses it.
        last_fire_at: The latest window that was fired or skipped. None: no window since the schedule was first seen or
            resumed.
        next_fire_at: The next window, with its jitter. None while the schedule is paused, or if no window follows.
        refusal: Why the latest due window started no run, if too many runs of a singleton key were alive.
    """

    schedule: Schedule
    paused: bool
    last_fire_at: datetime | None
    last_run_id: str | None
    next_fire_at: datetime | None
    refusal: ErrorRecord | None = None


class Scheduler:
    """The schedules of a module. Inject it as `SchedulerDep`."""

    def __init__(self, kernel: Kernel, schedules: Sequence[Schedule]) -> None:
        self._kernel = kernel
        self._namespace = namespace_of(kernel.config)
        self._schedules: dict[str, Schedule] = {}
        self._ahead: set[str] = set()
        for schedule in schedules:
            if schedule.key in self._schedules:
                raise DefinitionError(f"the key of a schedule must be unique, got {schedule.key!r} twice")
            self._schedules[schedule.key] = schedule
            # Find schedules with an unknown workflow or a wrong input when the application starts.
            self._run_of(schedule, "checked")

    def __bool__(self) -> bool:
        return bool(self._schedules)

    def for_schedules(self, schedules: Sequence[Schedule]) -> "Scheduler":
        """Return a scheduler of the same module for other schedules, such as ones that the application stores.

        Workers do not fire these schedules. Call `fire` to do so. The database keeps the state of each one by its key,
        as for declared schedules.

        Args:
            schedules: The schedules.

        Raises:
            DefinitionError: two schedules have the same key, or one names a workflow that is not registered.
            InputValidationError: an input or an option is refused.
        """
        return Scheduler(self._kernel, schedules)

    async def fire(self) -> timedelta:
        """Start the runs of all windows that are due. A schedule that fails does not stop the others.

        Each window starts one run, however many processes call this method.

        Returns:
            How long nothing will be due, 10 seconds at most.
        """
        states = await self._states()
        rest = _LONGEST_REST
        for key, schedule in self._schedules.items():
            try:
                state = states.get(key)
                if state is None or schedule.due_windows(state.last_window, self._kernel.clock.now()):
                    state = await self._fire(schedule)
                self._warn_of_clock(schedule, state)
                next_fire = self._next_fire(schedule, state)
                if next_fire is not None:
                    rest = min(rest, next_fire - self._kernel.clock.now())
            except Exception:
                _log.exception("schedule %r could not be fired; the worker tries again", schedule.key)
                rest = min(rest, timedelta(seconds=1))
            # Computing windows takes a fraction of a millisecond. For a thousand schedules that would be noticeable.
            await asyncio.sleep(0)
        return max(rest, timedelta(0))

    async def listing(self) -> list[ScheduleInfo]:
        """Return the schedules with their states, in the order of their declaration."""
        states = await self._states()
        return [self._info(schedule, states.get(key)) for key, schedule in self._schedules.items()]

    async def trigger(self, key: str) -> str:
        """Start a run of a schedule now, in addition to its windows.

        Args:
            key: Key of the schedule.

        Returns:
            The id of the run.

        Raises:
            ScheduleNotFoundError: no schedule of this module has the key.
            SingletonQueueFullError: too many runs of the workflow's singleton key are alive.
        """
        schedule = self._get(key)

        definition, run = self._run_of(schedule, f"manual:{uuid.uuid4().hex[:8]}", current_traceparent())

        async def start() -> None:
            async with self._kernel.store.transaction() as transaction:
                state = await self._locked(transaction, schedule, names_of_beginning(definition, run))
                await admit(transaction, definition, run)
                await self._save(transaction, replace(state, last_run_id=run.id, refusal=None))

        await know_queue(self._kernel, self._namespace, schedule.queue or "")
        await retry_conflicts(self._kernel.clock, start)
        self._kernel.notifications.work_available()
        return run.id

    async def pause(self, key: str) -> None:
        """Pause a schedule: its windows start no runs, on any worker, until `resume`.

        Args:
            key: Key of the schedule.

        Raises:
            ScheduleNotFoundError: no schedule of this module has the key.
        """
        await self._set_paused(self._get(key), paused=True)

    async def resume(self, key: str) -> None:
        """Resume a schedule. It fires from its next window on, and does not make up for windows that passed.

        Args:
            key: Key of the schedule.

        Raises:
            ScheduleNotFoundError: no schedule of this module has the key.
        """
        await self._set_paused(self._get(key), paused=False)

    async def _fire(self, schedule: Schedule) -> ScheduleState:
        state, started, refused = await retry_conflicts(self._kernel.clock, lambda: self._fire_once(schedule))
        for refusal in refused:
            report(self._kernel, refusal)
        for run_id in started:
            _log.info("schedule %r started run %s", schedule.key, run_id)
        if started:
            self._kernel.notifications.work_available()
        return state

    async def _fire_once(self, schedule: Schedule) -> tuple[ScheduleState, list[str], list[Refusal]]:
        started: list[str] = []
        refused: list[Refusal] = []
        # Every run of the schedule has the same input, so it passes the same gate.
        gates = names_of_beginning(*self._run_of(schedule, "any"))
        async with self._kernel.store.transaction() as transaction:
            state = await self._locked(transaction, schedule, gates)
            for window in schedule.due_windows(state.last_window, self._kernel.clock.now()):
                # A skipped window counts as passed, like a fired one. It is not fired later.
                state = replace(state, last_window=window)
                if schedule.paused or state.paused or await self._overlaps(transaction, schedule):
                    continue
                definition, run = self._run_of(schedule, str(schedule.bucket(window)))
                admitted = await admit_or_refuse(transaction, definition, run)
                if isinstance(admitted, Refusal):
                    refused.append(admitted)
                    state = replace(state, refusal=admitted.error)
                    continue
                state = replace(state, last_run_id=run.id, refusal=None)
                started += [run.id] if admitted.created else []
            await self._save(transaction, state)
        return state, started, refused

    async def _set_paused(self, schedule: Schedule, *, paused: bool) -> None:
        async def save() -> None:
            async with self._kernel.store.transaction() as transaction:
                state = await self._locked(transaction, schedule)
                if state.paused and not paused:
                    # Windows that passed during the pause do not fire now, even if no worker noted them. A schedule
                    # that a wrong clock advanced into the future is set back.
                    state = replace(state, last_window=self._kernel.clock.now())
                await self._save(transaction, replace(state, paused=paused))

        await retry_conflicts(self._kernel.clock, save)

    async def _locked(
        self, transaction: StoreTransaction, schedule: Schedule, gates: Iterable[str] = ()
    ) -> ScheduleState:
        """Return the state of a schedule, locked. The state of a new schedule begins now."""
        schedule_id = self._id(schedule)
        for name in sorted([f"schedule:{schedule_id}", *gates]):
            await transaction.lock_name(name)
        state = await transaction.find_schedule(schedule_id)
        now = self._kernel.clock.now()
        return state or ScheduleState(id=schedule_id, last_window=now, updated_at=now)

    async def _save(self, transaction: StoreTransaction, state: ScheduleState) -> None:
        await transaction.save_schedule(replace(state, updated_at=self._kernel.clock.now()))

    async def _overlaps(self, transaction: StoreTransaction, schedule: Schedule) -> bool:
        """Return whether to skip a window, because a run of the schedule has not ended."""
        if schedule.overlap == "allow":
            return False
        live = RunQuery(
            workflow=self._kernel.registry.resolve(schedule.workflow).name,
            namespace=self._namespace,
            tag=schedule_tag(schedule.key),
            statuses=LIVE_STATUSES,
        )
        return await transaction.count_runs(live, at_most=1) > 0

    def _run_of(
        self, schedule: Schedule, occasion: str, traceparent: str | None = None
    ) -> tuple[WorkflowDefinition, Run]:
        definition = callers_workflow(self._kernel, schedule.workflow)
        given = schedule.input is not NoScheduledInput
        encoded = encode_input(self._kernel.codec, definition, schedule.input if given else None, given=given)
        place = place_in_queue(self._kernel.queues, schedule.queue, schedule.fairness_key)
        return definition, new_run(
            self._kernel,
            definition,
            encoded,
            run_id=engine_id(SCHEDULE_RUN, self._namespace, schedule.key, occasion),
            namespace=self._namespace,
            tags=(*checked_tags(schedule.tags), schedule_tag(schedule.key)),
            priority=checked_priority(schedule.priority),
            place=place,
            traceparent=traceparent,
        )

    async def _states(self) -> dict[str, ScheduleState]:
        """Return the states of the schedules by key, without those that no worker has seen yet."""
        store = self._kernel.store
        listed = {state.id: state for state in await store.list_schedules()}
        states: dict[str, ScheduleState] = {}
        for key, schedule in self._schedules.items():
            schedule_id = self._id(schedule)
            # The listing is limited, and also contains rows of other namespaces and of schedules that are no longer
            # declared.
            state = listed.get(schedule_id) or await store.find_schedule(schedule_id)
            if state is not None:
                states[key] = state
        return states

    def _info(self, schedule: Schedule, state: ScheduleState | None) -> ScheduleInfo:
        paused = schedule.paused or (state is not None and state.paused)
        next_fire = None if paused else self._next_fire(schedule, state)
        return ScheduleInfo(
            schedule=schedule,
            paused=paused,
            last_fire_at=None if state is None else _last_fire(schedule, state),
            last_run_id=None if state is None else state.last_run_id,
            next_fire_at=None if next_fire is None else max(self._kernel.clock.now(), next_fire),
            refusal=None if state is None else state.refusal,
        )

    def _next_fire(self, schedule: Schedule, state: ScheduleState | None) -> datetime | None:
        window = schedule.window_after(self._kernel.clock.now() if state is None else state.last_window)
        return None if window is None else schedule.fires_at(window)

    def _warn_of_clock(self, schedule: Schedule, state: ScheduleState) -> None:
        """Log once, each time it happens, that a schedule's last window is in the future, so that it does not fire
        until then.
        """
        if state.last_window - self._kernel.clock.now() <= _CLOCKS_APART:
            self._ahead.discard(schedule.key)
        elif schedule.key not in self._ahead:
            self._ahead.add(schedule.key)
            _log.warning(
                "schedule %r will not fire before %s: a worker's clock was ahead and fired it up to then, or this "
                "worker's clock is behind. Once the clocks are right, pause and resume the schedule",
                schedule.key,
                state.last_window.isoformat(),
            )

    def _get(self, key: str) -> Schedule:
        if key not in self._schedules:
            raise ScheduleNotFoundError(key)
        return self._schedules[key]

    def _id(self, schedule: Schedule) -> str:
        return scoped(self._namespace, schedule.key)


def _last_fire(schedule: Schedule, state: ScheduleState) -> datetime | None:
    """Return the last window of the schedule. None if it was seen first, or resumed, since its last window."""
    return state.last_window if schedule.window_until(state.last_window) == state.last_window else None
