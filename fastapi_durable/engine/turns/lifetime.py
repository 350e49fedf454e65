"""The lifetime of one turn: its tasks, when they rest, and how the turn ends before its body does.

A call is `under way` from its beginning to its end. A call that can only wait `park`s, and continues when its delivery
or its moment has come. When every call under way is parked, nothing in this process can advance the body. Then the turn
ends by raising `Interrupt` in all of them. A cancel, a lost lease and a stopping worker end the turn in the same way,
at once or at the next call.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from types import CodeType
from typing import Any, NoReturn, TypeVar

from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.failure import named
from fastapi_durable.engine.turns.body_task import body_task
from fastapi_durable.engine.turns.foreign_await import ForeignAwait, Origin, origin_of
from fastapi_durable.engine.turns.live_waits import LiveWaits
from fastapi_durable.engine.turns.outcome import Ended, Ending, Interrupt
from fastapi_durable.engine.turns.place import place_of_code
from fastapi_durable.engine.turns.position import used_too_late
from fastapi_durable.engine.turns.quiescence import TO_BE_CANCELLED, Parked, Quiescence, Rank, retrieve
from fastapi_durable.model.records import Run

T = TypeVar("T")

_UNWIND_TIMEOUT = 5.0
"""Seconds that an interrupted body's `finally` blocks get. They get the same again after they were cancelled."""

_REFUSALS_AT_MOST = 1000
"""After so many refused calls, the body evidently catches the interruption as an error and repeats the call."""

_log = logging.getLogger("fastapi_durable")


class Lifetime:
    """Runs the body, and knows whether the turn is still open.

    Args:
        run: The run of the turn.
        look: Reads deliveries to the run, and returns whether there were any.
        is_cancelling: Whether the run is being cancelled, so that coming to rest ends its forward execution.

    Attributes:
        ended: Why the turn is over. None: it is open.
        calls: The calls of the body that are under way.
        tasks: The tasks of the body.
    """

    def __init__(self, run: Run, kernel: Kernel, look: Callable[[], Awaitable[bool]], *, is_cancelling: bool) -> None:
        self.ended: Ended | None = None
        self.calls = Quiescence(self._come_to_rest, self._keep_going)
        self.tasks = self.calls.tasks
        self._run = run
        self._kernel = kernel
        self._look = look
        self._waits: LiveWaits | None = None
        self._is_cancelling = is_cancelling
        self._body: asyncio.Task[Any] | None = None
        self._body_over: asyncio.Future[None] | None = None
        self._interrupted = False
        self._is_given_up = False
        self._finishing: set[asyncio.Task[Any]] = set()
        self._code: CodeType | None = None
        self._refusals = 0
        self._impatience: asyncio.TimerHandle | None = None

    async def spend(self, body: Callable[[], Awaitable[Any]], judge: Callable[[asyncio.Task[Any]], T]) -> T:
        """Run the body until it returns, raises, or is interrupted, and leave no task of it behind.

        Args:
            judge: Returns the outcome of the ended body, before its branches are cancelled.
        """

        async def run_body() -> Any:
            # The body reports its end in its last step. The callback runs one step later, and serves a task that never
            # gets here.
            task.remove_done_callback(self._let_go)
            try:
                return await body()
            except (SystemExit, KeyboardInterrupt) as error:
                # asyncio would end the event loop with it, and so every other run of the process.
                raise RuntimeError(f"the workflow's body was ended by {named(error)}") from error
            finally:
                self._let_go(task)

        self._body = task = body_task(run_body(), self.tasks, name=f"durable run {self._run.id}")
        self.calls.watch(task)
        try:
            self._body_over = asyncio.get_running_loop().create_future()
            task.add_done_callback(self._let_go)
            await self._body_over
            retrieve(self._body)
            outcome = judge(self._body)
            await self._cancel_branches()
        except asyncio.CancelledError:
            await self._unwind()
            raise
        finally:
            if self._waits is not None:
                self._waits.close()
            if self._impatience is not None:
                self._impatience.cancel()
        return outcome

    @property
    def place_of_body(self) -> str | None:
        """Return where the body's function begins, as `file:line`. None if it was not called."""
        return place_of_code(self._code)

    @property
    def is_body_over(self) -> bool:
        """Whether the body has returned or raised, so that the driver writes the ending."""
        return self._body is not None and self._body.done()

    @property
    def was_interrupted(self) -> bool:
        """Whether the body was interrupted, so that its result or error means nothing.

        A body that was to stop at its next call, and ended without another call, has ended by itself.
        """
        return self._interrupted and self.ended is not None

    def watched(self, body: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """Return the body's coroutine, which the current task is about to await. The log reports its first foreign
        wait.

        The log reports one wait for each workflow and process. After that, the waits are not checked.
        """
        self._code = getattr(body, "cr_code", None)
        file = "" if self._code is None else self._code.co_filename
        is_own = origin_of(file) in (Origin.CONTEXT, Origin.LIBRARY)
        if not is_own and self._run.workflow not in self._kernel.told_of_foreign_awaits:
            self.tasks.watch(body, self._tell_of_foreign_await)
        return body

    # For the calls of the body

    def refuse_cancelled(self) -> None:
        """Raise the cancel by which the current task cancelled itself, before the call does anything.

        Raises:
            CancelledError: the current task cancelled itself.
        """
        task = asyncio.current_task()
        if task in self.tasks.self_cancelled:
            # Raise it once: a body that catches it continues until the cancel itself comes.
            self.tasks.self_cancelled.discard(task)
            raise asyncio.CancelledError("the body cancelled its own task")

    def check_open(self) -> None:
        """Interrupt the caller if the turn is over."""
        if self.ended is not None:
            self._interrupt()

    async def turn_away(self) -> NoReturn:
        """Interrupt a call that has just entered a turn that is over."""
        self.calls.leave()
        if self._refusals > _REFUSALS_AT_MOST:
            self._leave_body()
            await asyncio.get_running_loop().create_future()
        self._interrupt()

    def refuse_call(self) -> None:
        """Interrupt a call that comes after the end. Return if too many interruptions had no effect."""
        if self._body is not None and self._body.done() and not self.calls.knows(asyncio.current_task()):
            raise used_too_late(self._run.id)
        self._refusals += 1
        if self._refusals <= _REFUSALS_AT_MOST:
            self._interrupt()

    async def park(self, until: datetime | None, seq: int | None = None) -> None:
        """Wait until a moment, or for a delivery to a position. An `Interrupt` moves the wait to a later turn.

        It may return before either has come.

        Args:
            until: The moment. None: only a delivery ends the wait.
            seq: The position. None: only the moment ends the wait.
        """
        self.check_open()
        await self.calls.park(until, seq)
        self.check_open()

    async def park_until_rest(self, rank: Rank) -> None:
        """Wait until the body would rest, and calls of a lower rank have continued."""
        self.check_open()
        await self.calls.park_until_rest(rank)
        self.check_open()

    async def await_cancel(self) -> NoReturn:
        """Wait for the body's cancel, as in an earlier turn. When the body would rest, raise it anyway.

        Raises:
            CancelledError: in any case.
        """
        self.check_open()
        await self.calls.park_until_rest(TO_BE_CANCELLED)
        raise asyncio.CancelledError

    async def hold(self) -> NoReturn:
        """Wait for the end of the turn."""
        while True:
            await self.park(None)

    def end(self, ended: Ended) -> NoReturn:
        """End the turn from within a call. The first ending counts."""
        self._end(ended)
        self._interrupt()

    async def finish(self, write: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Complete a write, even if its call is cancelled meanwhile. Then raise the cancel.

        A step whose result is being stored was executed. Without its row, a run that fails or is cancelled would not
        undo it. The lease limits the wait. A turn that was aborted, or has lost its lease, abandons the write: the run
        starts again from the stored history.
        """
        writing = asyncio.create_task(write())
        self._finishing.add(writing)
        writing.add_done_callback(self._finishing.discard)
        writing.add_done_callback(retrieve)
        cancel: asyncio.CancelledError | None = None
        while not writing.done():
            try:
                await asyncio.wait({writing})
            except asyncio.CancelledError as error:
                if self._is_given_up:
                    writing.cancel()
                    raise
                cancel = error
        if cancel is not None:
            raise cancel
        return writing.result()

    # For the driver

    def hear(self) -> None:
        """Note a delivery to the run. A parked call that waits for it continues while other calls are under way."""
        if self.ended is None:
            self._live_waits().hear()

    def cut_short(self) -> None:
        """Stop now, so that the driver reads the run again. It was cancelled."""
        if self._end(Ended(Ending.CUT_SHORT)):
            self.calls.cancel_all()

    def lose_lease(self) -> None:
        """Stop at once and write nothing more, because another worker may own the run."""
        self._is_given_up = True
        if self._end(Ended(Ending.LEASE_LOST)):
            self.calls.cancel_all()

    @property
    def lost_lease(self) -> bool:
        """Whether the turn ended because its lease cannot be held."""
        return self.ended is not None and self.ended.ending is Ending.LEASE_LOST

    def release(self) -> None:
        """Stop at the next call, so that another worker can continue from there."""
        if self.calls.is_quiet:
            self._end(Ended(Ending.RELEASED))
        else:
            self.ended = self.ended or Ended(Ending.RELEASED)

    def abort(self) -> None:
        """Stop now, whatever calls are under way."""
        self._is_given_up = True
        self._end(Ended(Ending.RELEASED))
        self.calls.cancel_all()

    # Inside

    def _interrupt(self) -> NoReturn:
        self._interrupted = True
        raise Interrupt

    def _tell_of_foreign_await(self, found: ForeignAwait) -> None:
        told = self._kernel.told_of_foreign_awaits
        if self._run.workflow in told:
            return
        told.add(self._run.workflow)
        _log.warning(
            "the body of workflow %r awaits %s at %s:%d. Nothing records it: every replay does it again, and a run "
            "that leaves memory does not wait for it. Move it into a step, `await ctx.step(...)`. (Logged once per "
            "workflow.)",
            self._run.workflow,
            found.awaited,
            found.file,
            found.line,
        )

    def _keep_going(self, parked: Parked | None) -> None:
        if self.ended is None:
            self._live_waits().keep_going(parked)

    def _live_waits(self) -> LiveWaits:
        """Return the live waits, created on first use because most turns need none."""
        if self._waits is None:
            kernel = self._kernel
            self._waits = LiveWaits(self.calls, kernel.clock, kernel.config.poll_interval, self._look)
        return self._waits

    def _end(self, ended: Ended) -> bool:
        """End the turn and interrupt all parked calls. Return False if the turn was over already."""
        if self.ended is None:
            self.ended = ended
        elif self.ended.ending is not Ending.RELEASED:
            return False
        self._interrupted = True
        if self._waits is not None:
            self._waits.close()
        self.calls.interrupt()
        if self._impatience is None:
            self._impatience = asyncio.get_running_loop().call_later(_UNWIND_TIMEOUT, self._lose_patience)
        return True

    def _come_to_rest(self, wake_at: datetime | None) -> None:
        if self.ended is not None:
            # The turn was released while a call was under way.
            self._end(self.ended)
        elif self._is_cancelling:
            self._end(Ended(Ending.CANCELLED))
        else:
            self._end(Ended(Ending.SUSPENDED, wake_at=wake_at))

    def _lose_patience(self) -> None:
        self.calls.cancel_all()
        self._impatience = asyncio.get_running_loop().call_later(_UNWIND_TIMEOUT, self._lose_all_patience)

    def _lose_all_patience(self) -> None:
        if self.calls.is_idle:
            self._leave_body()
        else:
            # A step that does not end still works here. No other worker may begin it before the lease has expired.
            self._lose_patience()

    def _leave_body(self) -> None:
        """Abandon a body that catches the interruption and everything else that would end it.

        It would repeat its call forever, or occupy the run's slot and lease. Nothing can end its task, so the event
        loop must not wait for the task when it closes.
        """
        body = self._body
        if body is None or body.done() or body in self._kernel.left_behind:
            return
        _log.error(
            "run %s of %s: the workflow body swallowed the engine's suspend signal (a BaseException), and continued. "
            "Re-raise it from `except BaseException` and a bare `except`, or catch Exception",
            self._run.id,
            self._run.workflow,
        )
        self._kernel.left_behind.add(body)
        asyncio._unregister_task(body)
        body._log_destroy_pending = False  # type: ignore[attr-defined]
        self._let_go(body)

    def _let_go(self, _: asyncio.Task[Any]) -> None:
        if self._body_over is not None and not self._body_over.done():
            self._body_over.set_result(None)

    async def _cancel_branches(self) -> None:
        """Leave no task of the body behind."""
        if self.ended is None:
            self.ended = Ended(Ending.SUSPENDED)
        branches = [task for task in self.calls.unfinished_tasks if task is not self._body]
        for task in branches:
            task.cancel()
        if branches:
            # Nothing can end work in a thread. Wait for it, because it must be undone if the run fails.
            threads = self._kernel.threads
            grace = threads.grace.total_seconds() if threads.work_for(self._run.id) else 0
            await asyncio.wait(branches, timeout=_UNWIND_TIMEOUT + grace)
            while self._finishing and not self._is_given_up:
                await asyncio.wait(self._finishing)
                await asyncio.wait(branches, timeout=_UNWIND_TIMEOUT)

    async def _unwind(self) -> None:
        self.abort()
        if self._body is not None:
            self._body.add_done_callback(retrieve)
            await asyncio.wait({self._body}, timeout=_UNWIND_TIMEOUT)
        await self._cancel_branches()
