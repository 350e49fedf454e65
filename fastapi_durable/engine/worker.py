"""The worker: claims runs that are due, and drives many of them at a time in one event loop."""

import asyncio
import contextvars
import itertools
import logging
import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from fastapi_durable.declare.concurrency import Slots
from fastapi_durable.engine.core.dispatch import Reservation
from fastapi_durable.engine.driver import RunDriver
from fastapi_durable.engine.engine import Engine
from fastapi_durable.engine.turns.body_task import TaskGuard
from fastapi_durable.engine.upkeep.lease_keeper import LeaseKeeper
from fastapi_durable.engine.upkeep.leases import HeldLeases
from fastapi_durable.engine.upkeep.renewal import LeaseRenewal
from fastapi_durable.model.errors import StoreUnavailableError
from fastapi_durable.model.records import Lease, Run, RunStatus

_log = logging.getLogger("fastapi_durable")

_LONGEST_BACKOFF = timedelta(seconds=10)
_ADAPTATION = timedelta(milliseconds=250)
_LATE_COMMIT = (timedelta(milliseconds=100), timedelta(seconds=1))
"""Pauses between reads of a run whose commit was not confirmed. PostgreSQL completes or rolls back a cancelled commit
by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHealth:
    """How the worker is doing.

    Attributes:
        alive: Whether its loops run.
        last_poll_at: Time of the last successful poll. None: not yet. A worker without a free slot does not poll.
        poll_overdue: For how long its polls have failed. Zero if the last poll succeeded.
        in_flight: Number of runs that it drives now.
        last_error: Why the last poll failed. None after a success.
    """

    alive: bool
    last_poll_at: datetime | None
    poll_overdue: timedelta
    in_flight: int
    last_error: str | None


class Worker:
    """Drives the runs of one engine. Start it once, and stop it once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._config = engine.config
        self._places = Slots(engine.config.concurrency)
        self._drivers: dict[str, RunDriver] = {}
        self._turns: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._held_leases = HeldLeases()
        self._renewal = LeaseRenewal(engine.kernel, self._held_leases, self)
        self._slot_free = asyncio.Event()
        self._reserved: set[str] = set()
        self._held = 0
        self._found_too_many = False
        self._token_base = f"{uuid.uuid4().hex}."
        self._token_numbers = itertools.count()
        self._draining = False
        self._task_guard: TaskGuard | None = None
        self._claiming: asyncio.Task[list[Run]] | None = None
        self._claimed_at: datetime | None = None
        self._served = ""
        self._queues_first = False
        self._queue_opens_at: datetime | None = None
        self._hinted: set[str] = set()
        self._hint = asyncio.Event()
        engine.notifications.on_run_cancelled(self._look_at)
        engine.notifications.on_pause(self._pause)
        engine.notifications.on_hint(self._hear_hint)
        engine.notifications.on_delivery(self._hear_of)
        self._last_poll_at: datetime | None = None
        self._poll_due_at: datetime | None = None
        self._last_error: str | None = None
        self._upkeep = engine.upkeep(in_flight=lambda: len(self._drivers), concurrency=lambda: self._places.number)
        self._keeper = LeaseKeeper(engine.kernel, self._held_leases, beat=self._upkeep.beat_if_late)

    async def start(self) -> None:
        """Begin to poll for work. Declare the queues before (`Engine.declare_queues`).

        Raises:
            RuntimeError: it was started before.
        """
        if self._loops:
            raise RuntimeError("the worker was started already")
        await self._engine.transport.start()
        self._task_guard = TaskGuard.hold()
        # Runs must not inherit the context of the code that started the application: a request, a test, a trace.
        context = contextvars.Context()
        loops = {
            "claims": self._claim_forever(),
            "renewal": self._renewal.go_on(),
            "cancels": self._confirm_hints_forever(),
            **self._upkeep.loops(),
        }
        if self._places.bounds is not None:
            loops["adaptation"] = self._adapt_forever()
        for name, loop in loops.items():
            self._loops.append(asyncio.create_task(loop, name=f"durable {name}", context=context))
        self._keeper.start()
        self._engine.dispatcher = self

    async def stop(self, timeout: timedelta | None = None) -> None:
        """Stop polling, let turns reach their next checkpoint, and hand back unfinished runs.

        After `timeout` (by default the engine's `shutdown_timeout`) the turns are ended where they are. Their runs
        continue elsewhere from the last checkpoint.
        """
        limit = self._config.shutdown_timeout if timeout is None else timeout
        clock = asyncio.get_running_loop().time
        deadline = clock() + limit.total_seconds()
        self._draining = True
        for driver in list(self._drivers.values()):
            driver.release()
        await _cancelled(self._loops[:1])
        if self._claiming is not None and not self._claiming.done():
            await asyncio.wait({self._claiming}, timeout=deadline - clock())
            await _cancelled([self._claiming])
        await self._reservations_end(max(0, deadline - clock()))
        if self._turns:
            await asyncio.wait(self._turns, timeout=max(0, deadline - clock()))
        # Work in a thread may continue until the process exits. Its run continues elsewhere.
        self._engine.kernel.threads.give_up()
        for driver in list(self._drivers.values()):
            driver.abort()
        if self._turns:
            await asyncio.wait(self._turns, timeout=1 + limit.total_seconds() / 10)
        await _cancelled([*self._turns, *self._loops])
        # Renew leases to the last, so that no other worker begins a step that still runs here.
        await self._keeper.stop()
        if self._loops:
            await self._upkeep.farewell()
        self._engine.kernel.threads.close()
        await self._engine.transport.stop()
        if self._task_guard is not None:
            self._task_guard.release()
            self._task_guard = None

    def health(self) -> WorkerHealth:
        """Return a snapshot. It costs nothing."""
        due = self._poll_due_at
        return WorkerHealth(
            alive=bool(self._loops) and not any(loop.done() for loop in self._loops),
            last_poll_at=self._last_poll_at,
            poll_overdue=timedelta(0) if due is None else self._engine.clock.now() - due,
            in_flight=len(self._drivers),
            last_error=self._last_error,
        )

    def reserve(self) -> Reservation | None:
        """See `Dispatcher`."""
        if self._draining or self._free_places() <= 0:
            return None
        reservation = Reservation(self._new_token(), self._engine.clock.now() + self._config.lease)
        self._reserved.add(reservation.token)
        self._held_leases.expect(reservation.token, reservation.until)
        return reservation

    def may_drive(self, run: Run) -> bool:
        """See `Dispatcher`."""
        is_known = self._engine.registry.find(run.workflow, run.workflow_version) is not None
        return is_known and not run.queue and self._config.namespace in (None, run.namespace)

    def use(self, reservation: Reservation, run: Run, *, is_new: bool) -> None:
        """See `Dispatcher`."""
        self._reserved.discard(reservation.token)
        until = self._held_leases.expect_no_more(reservation.token) or reservation.until
        self._drive(self._engine.driver(run, reservation.token, is_new=is_new), until)
        self._slot_free.set()

    def give_back(self, reservation: Reservation) -> None:
        """See `Dispatcher`."""
        self._reserved.discard(reservation.token)
        self._held_leases.expect_no_more(reservation.token)
        self._slot_free.set()

    def find_out(self, reservation: Reservation, run_id: str, *, unheard: bool) -> None:
        """See `Dispatcher`."""
        looking = asyncio.create_task(
            self._find_out(reservation, run_id, unheard=unheard), context=contextvars.Context()
        )
        self._turns.add(looking)
        looking.add_done_callback(self._turns.discard)

    async def _find_out(self, reservation: Reservation, run_id: str, *, unheard: bool) -> None:
        """Read the run, because a committed lease would otherwise block it, undriven, until the lease expires."""
        run = await self._leased_run(reservation, run_id)
        if run is not None:
            self.use(reservation, run, is_new=False)
            return
        # Free the slot before the later reads, so that callers that are often cancelled cannot occupy every slot.
        self.give_back(reservation)
        for pause in _LATE_COMMIT if unheard else ():
            await asyncio.sleep(pause.total_seconds())
            run = await self._leased_run(reservation, run_id)
            if run is not None:
                self._drive_or_release(self._engine.driver(run, reservation.token), reservation.until)
                return

    async def _leased_run(self, reservation: Reservation, run_id: str) -> Run | None:
        """Return the run, if it is leased under the reservation."""
        clock, run = self._engine.clock, None
        while clock.now() < reservation.until:
            try:
                run = await self._engine.store.find_run(run_id)
            except StoreUnavailableError:
                await clock.sleep(self._config.poll_interval)
            except Exception:
                _log.exception("run %s could not be handed over. A worker takes it when its lease expires", run_id)
                break
            else:
                break
        return run if run is not None and run.locked_by == reservation.token else None

    async def _reservations_end(self, seconds: float) -> None:
        """Wait until no more runs are being leased to this worker."""
        try:
            async with asyncio.timeout(seconds):
                while self._reserved:
                    self._slot_free.clear()
                    await self._slot_free.wait()
        except TimeoutError:
            _log.warning(
                "%s runs are still being leased; they are taken up when their lease expires", len(self._reserved)
            )

    def _free_places(self) -> int:
        return self._places.free(len(self._drivers) + len(self._reserved) + self._held)

    def _hold_places(self, free: int) -> None:
        """Reserve the slots for the poll that begins now, if the last poll found more runs than it had slots for.

        Otherwise runs that begin in this process may take the slots meanwhile. At most every second poll reserves
        slots, so that neither kind of run starves.
        """
        self._held, self._found_too_many = (free if self._found_too_many else 0), False

    def _new_token(self) -> str:
        # The random part is unique among all workers, and the number within this worker.
        return f"{self._config.instance_id}:{self._token_base}{next(self._token_numbers):x}"

    async def _claim_forever(self) -> None:
        notifications = self._engine.notifications
        failures = 0
        while True:
            free = self._free_places()
            if free <= 0:
                self._slot_free.clear()
                await self._slot_free.wait()
                continue
            # Before the poll, so that work that appears during it causes another poll.
            notifications.take_work()
            self._poll_due_at = self._poll_due_at or self._engine.clock.now()
            # Otherwise, after the event loop was blocked, this poll would claim this worker's own runs as abandoned.
            await self._renewal.catch_up()
            self._hold_places(free)
            try:
                # A stop does not cancel it: runs that the store has leased by then must be handed back.
                self._claiming = asyncio.create_task(self._claim(free), name="durable claim")
                claimed = await asyncio.shield(self._claiming)
            except Exception as error:
                failures += 1
                self._last_error = f"{type(error).__name__}: {error}"
                delay = min(self._config.poll_interval * 2 ** min(failures, 10), _LONGEST_BACKOFF)
                level = logging.ERROR if failures == 1 else logging.WARNING
                _log.log(level, "looking for work failed (%s in a row), next try in %s: %s", failures, delay, error)
                await self._back_off(delay * (0.5 + random.random() / 2))  # noqa: S311 (jitter)
                continue
            if failures:
                _log.info("looking for work succeeds again")
            failures = 0
            self._last_error = None
            self._poll_due_at = None
            self._last_poll_at = self._engine.clock.now()
            if len(claimed) < free:
                await self._wait_for_work()

    async def _back_off(self, delay: timedelta) -> None:
        """Wait after a failed poll. A notification of work ends a long wait."""
        least = min(delay, self._config.poll_interval)
        await asyncio.sleep(least.total_seconds())
        try:
            async with asyncio.timeout((delay - least).total_seconds()):
                await self._engine.notifications.wait_for_work()
        except TimeoutError:
            pass

    async def _claim(self, limit: int) -> list[Run]:
        """Claim runs from the queues and from outside them. The order alternates, so that neither starves."""
        self._claimed_at = self._engine.clock.now()
        sources = [self._claim_unqueued]
        if self._engine.has_queues:
            self._queues_first = not self._queues_first
            sources.insert(0 if self._queues_first else 1, self._claim_queued)
        claimed: list[Run] = []
        try:
            for source in sources:
                claimed += await source(limit - len(claimed))
        finally:
            self._held = 0
        return claimed

    async def _claim_unqueued(self, limit: int) -> list[Run]:
        with self._new_claim() as (token, now, until):
            claimed = await self._engine.store.claim_runs(
                token,
                now=now,
                until=until,
                limit=limit,
                workflows=self._engine.registry.keys,
                namespace=self._config.namespace,
                after=self._served,
            )
            self._drive_all(claimed, token, until)
        if claimed:
            # The next claim begins after the namespace that was served last.
            before = [run.namespace for run in claimed if run.namespace <= self._served]
            self._served = max(before or [run.namespace for run in claimed])
        return claimed

    async def _claim_queued(self, limit: int) -> list[Run]:
        in_flight = Counter((driver.run.namespace, driver.run.queue) for driver in self._drivers.values())
        with self._new_claim() as (token, now, until):
            claim = await self._engine.store.claim_queued_runs(
                token,
                now=now,
                until=until,
                limit=limit,
                workflows=self._engine.registry.keys,
                namespace=self._config.namespace,
                in_flight=in_flight,
            )
            self._drive_all(claim.runs, token, until)
        if claim.again_at is not None and claim.again_at != self._queue_opens_at:
            # Plan each wake-up once: every poll reports it again while a rate is used up.
            self._engine.notifications.wake_planned(claim.again_at)
            self._queue_opens_at = claim.again_at
        return claim.runs

    @contextmanager
    def _new_claim(self) -> Iterator[tuple[str, datetime, datetime]]:
        """Yield a token, and the time of a claim under it. While the block is open, its leases are renewed like held
        leases.
        """
        now, token = self._engine.clock.now(), self._new_token()
        until = now + self._config.lease
        self._held_leases.expect(token, until)
        try:
            yield token, now, until
        finally:
            self._held_leases.expect_no_more(token)

    def _drive_all(self, claimed: list[Run], token: str, until: datetime) -> None:
        # Drive it before anything else is awaited: a stop hands back only runs that are driven.
        until = self._held_leases.expect_no_more(token) or until
        for run in claimed:
            driver = self._engine.driver(run, token)
            self._held = max(0, self._held - 1)
            if not self._drive_or_release(driver, until):
                self._found_too_many = True

    def _drive_or_release(self, driver: RunDriver, until: datetime) -> bool:
        """Drive a leased run if there is a free slot. Otherwise release its lease and return False."""
        if self._free_places() <= 0:
            self._work_on(driver, driver.release_run)
            return False
        self._drive(driver, until)
        return True

    async def _wait_for_work(self) -> None:
        """Wait for a notification of work, the next planned wake-up, or the poll interval."""
        clock, notifications = self._engine.clock, self._engine.notifications
        now = clock.now()
        # Jitter keeps many workers from polling at the same moment. It only shortens the wait: if the process of a
        # sleeping run is gone, the other workers must find the run within the interval.
        wait = self._config.poll_interval * (0.75 + random.random() / 4)  # noqa: S311 (jitter)
        # Counted from the last poll, which has not seen a wake-up that came later.
        if (wake := notifications.next_wake(self._claimed_at or now)) is not None:
            wait = min(wait, wake - now)
        try:
            async with asyncio.timeout(wait.total_seconds()):
                await notifications.wait_for_work()
        except TimeoutError:
            pass

    def _drive(self, driver: RunDriver, until: datetime) -> None:
        run_id = driver.run.id
        if (predecessor := self._drivers.get(run_id)) is not None:
            # Its lease expired, and this worker claimed the run again. Two turns of one run must not continue.
            predecessor.lose_lease()
        self._drivers[run_id] = driver
        self._held_leases.hold(driver.lease, until)
        driver.holds_lease = partial(self._renewal.is_held, driver.lease)
        driver.when_settled = partial(self._free_place, driver)
        self._engine.notifications.driven_here.add(run_id)
        if self._draining:
            # The run was claimed while the worker stopped, so it is handed back untouched.
            driver.release()

        def finished() -> None:
            self._free_place(driver)
            if driver.run.queue:
                # Its slot in the queue is free, however the turn ended.
                self._engine.notifications.work_available()

        self._work_on(driver, driver.drive, finished)

    def _work_on(
        self, driver: RunDriver, work: Callable[[], Awaitable[None]], finished: Callable[[], None] = lambda: None
    ) -> None:
        def end(task: asyncio.Task[None]) -> None:
            self._turns.discard(task)
            finished()

        name = f"durable turn {driver.run.id}"
        task = asyncio.create_task(self._guarded(driver, work), name=name, context=contextvars.Context())
        self._turns.add(task)
        task.add_done_callback(end)

    def _free_place(self, driver: RunDriver) -> None:
        run_id = driver.run.id
        # The run may have been claimed again meanwhile, with another driver.
        if self._drivers.get(run_id) is driver:
            del self._drivers[run_id]
            self._engine.notifications.driven_here.discard(run_id)
            self._held_leases.drop(driver.lease)
        self._slot_free.set()

    def _look_at(self, run_id: str) -> None:
        """Stop a run that was cancelled in this process now, before its next write is refused."""
        driver = self._drivers.get(run_id)
        if driver is not None:
            driver.look_again()

    def _pause(self, run_id: str) -> None:
        """Stop a run that was paused in this process at its next call."""
        driver = self._drivers.get(run_id)
        if driver is not None:
            driver.release()

    def _hear_hint(self, run_id: str) -> None:
        """Check a run that was reported as cancelled or paused. Its turn ends only if the store confirms that."""
        if run_id in self._drivers:
            self._hinted.add(run_id)
            self._hint.set()

    async def _confirm_hints_forever(self) -> None:
        while True:
            await self._hint.wait()
            self._hint.clear()
            while self._hinted:
                driver = self._drivers.get(self._hinted.pop())
                if driver is None:
                    continue
                try:
                    await driver.look_if_held_up()
                except Exception as error:  # the next renewal of the lease reports it
                    _log.warning("run %s may have been cancelled or paused: %s", driver.run.id, repr(error))

    def _hear_of(self, run_id: str) -> None:
        """Pass a delivery to the turn of its run, which may continue at once."""
        driver = self._drivers.get(run_id)
        if driver is not None:
            driver.hear()

    async def _guarded(self, driver: RunDriver, work: Callable[[], Awaitable[None]]) -> None:
        """A failing run must not stop the others. Its lease expires, and a worker tries it again."""
        try:
            await work()
        except Exception:
            _log.exception("driving run %s failed; it is taken up again when its lease expires", driver.run.id)

    async def _adapt_forever(self) -> None:
        """Measure how late the event loop fires a timer, and adapt the number of slots."""
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            await asyncio.sleep(_ADAPTATION.total_seconds())
            lag = timedelta(seconds=clock() - began) - _ADAPTATION
            if self._places.adapt(lag, len(self._drivers) + len(self._reserved)):
                self._slot_free.set()

    # For the renewals, see `Holder`

    def leases(self) -> list[Lease]:
        """See `Holder`."""
        return [driver.lease for driver in self._drivers.values()]

    def lose(self, lease: Lease) -> None:
        """See `Holder`."""
        if (driver := self._driver_under(lease)) is not None:
            driver.lose_lease()

    def look_again(self, lease: Lease) -> None:
        """See `Holder`."""
        driver = self._driver_under(lease)
        if driver is not None and driver.run.status is not RunStatus.CANCELLING:
            self._hear_hint(lease.run_id)

    def _driver_under(self, lease: Lease) -> RunDriver | None:
        driver = self._drivers.get(lease.run_id)
        return driver if driver is not None and driver.token == lease.token else None


async def _cancelled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)
