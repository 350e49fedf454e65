"""Drives one claimed run: turn after turn until it ends, rests, or is lost.

What each ending writes is one guarded update that also releases the lease. If the guard fails, another worker owns the
run, or something was delivered since the turn read the history; then the driver looks again and goes on or stops.
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from fastapi_durable.codec import Codec
from fastapi_durable.definition import NoInput, WorkflowDefinition
from fastapi_durable.engine.context import WorkflowContext
from fastapi_durable.engine.failure import error_record
from fastapi_durable.engine.notifications import Notifications
from fastapi_durable.engine.registry import WorkflowRegistry
from fastapi_durable.engine.settlement import settle_run
from fastapi_durable.engine.turn import Ended, Ending, Interrupt, Raised, Returned, Services, Turn
from fastapi_durable.errors import SerializationError
from fastapi_durable.model import ErrorRecord, Run, RunChanges, RunStatus

_log = logging.getLogger("fastapi_durable")

_DRIVEN = (RunStatus.RUNNING, RunStatus.CANCELLING)


class RunDriver:
    """Owns one run under one lease, from its claim to its release."""

    def __init__(
        self,
        run: Run,
        token: str,
        *,
        services: Services,
        registry: WorkflowRegistry,
        notifications: Notifications,
    ) -> None:
        self.run = run
        self.token = token
        self._services = services
        self._registry = registry
        self._notifications = notifications
        self._turn: Turn | None = None
        self._lost = False
        self._stopping: Callable[[Turn], None] | None = None

    async def drive(self) -> None:
        """Run turns until this worker has nothing more to do for the run."""
        definition = self._registry.find(self.run.workflow, self.run.workflow_version)
        if definition is None:
            await self._hand_back()
            return
        if self._is_poisonous():
            await self._bury()
            return
        while True:
            if self._is_stopping():
                await self._hand_back()
                return
            history = await self._services.store.list_checkpoints(self.run.id)
            turn = Turn(self.run, self.token, history, self._services)
            self._turn = turn
            if self._is_lost():
                return
            if self._is_stopping():
                # Asked while the history was read, when there was no turn to tell.
                await self._hand_back()
                return
            outcome = await turn.execute(partial(_call_body, definition, turn))
            try:
                if await self._finish(turn, definition, outcome):
                    return
            except Interrupt:
                # The ending itself could not be written: the lease was lost meanwhile, or the store refused.
                if turn.ended is not None and turn.ended.error is not None:
                    raise turn.ended.error from None
                return

    def _is_lost(self) -> bool:
        return self._lost

    def _is_stopping(self) -> bool:
        return self._stopping is not None

    def lose_lease(self) -> None:
        """The lease could not be renewed: stop at once."""
        self._lost = True
        if self._turn is not None:
            self._turn.lose_lease()

    def release(self) -> None:
        """Stop at the next checkpoint and hand the run back."""
        self._stop(Turn.release)

    def abort(self) -> None:
        """Stop now and hand the run back."""
        self._stop(Turn.abort)

    def _stop(self, how: Callable[[Turn], None]) -> None:
        self._stopping = how
        if self._turn is not None:
            how(self._turn)

    async def _finish(self, turn: Turn, definition: WorkflowDefinition, outcome: Any) -> bool:
        """Write what the turn came to; False if the run wants another turn at once."""
        match outcome:
            case Returned(value):
                await self._complete(turn, definition, value)
            case Raised(error):
                await self._fail(turn, error)
            case Ended(Ending.SUSPENDED, wake_at):
                changes: RunChanges = {"status": RunStatus.SUSPENDED, "wake_at": wake_at, "error": None}
                if not await turn.persist(lambda: self._release(changes, wake_count=self.run.wake_count)):
                    return not await self._still_mine()
                if wake_at is not None:
                    self._notifications.wake_planned(wake_at)
            case Ended(Ending.DIVERGED, error=error):
                _log.error("%s", error)
                await self._block(error_record(error, retryable=True) if error else None)
            case Ended(Ending.RELEASED):
                await self._hand_back()
            case Ended(Ending.ABANDONED, error=Exception() as error):
                raise error
            case Ended(Ending.LEASE_LOST):
                _log.warning("run %s: lost its lease to another worker; this turn wrote nothing more", self.run.id)
        return True

    async def _complete(self, turn: Turn, definition: WorkflowDefinition, value: Any) -> None:
        try:
            output = self._services.codec.encode(
                value, definition.output_type, what=f"the result of workflow {definition.name!r}"
            )
        except SerializationError as error:
            await self._fail(turn, error)
            return
        if await self._settle(turn, RunStatus.COMPLETED, output=output):
            _log.info("run %s of %s completed", self.run.id, self.run.workflow)

    async def _fail(self, turn: Turn, error: Exception) -> None:
        record = error_record(error)
        if await self._settle(turn, RunStatus.FAILED, error=record):
            _log.warning("run %s of %s failed: %s", self.run.id, self.run.workflow, record.message)

    async def _settle(
        self, turn: Turn | None, status: RunStatus, *, output: Any = None, error: ErrorRecord | None = None
    ) -> bool:
        def settle() -> Awaitable[bool]:
            return settle_run(
                self._services.store,
                self._services.clock,
                self.run,
                status,
                output=output,
                error=error,
                statuses=_DRIVEN,
                token=self.token,
                waiters=turn is None or turn.put_waiters,
            )

        settled = await (settle() if turn is None else turn.persist(settle))
        if settled:
            self._notifications.run_finished(self.run.id)
        return settled

    async def _release(self, changes: RunChanges, *, wake_count: int | None = None) -> bool:
        changes = {**changes, "locked_by": None, "locked_until": None, "updated_at": self._services.clock.now()}
        return await self._services.store.update_run(
            self.run.id, changes, statuses=(RunStatus.RUNNING,), token=self.token, wake_count=wake_count
        )

    async def _hand_back(self) -> None:
        """Let another worker, or this one after a restart, go on at once."""
        await self._release({"status": RunStatus.PENDING})

    async def _block(self, error: ErrorRecord | None) -> None:
        wake_at = self._services.clock.now() + self._services.config.blocked_poll
        await self._release({"status": RunStatus.BLOCKED, "error": error, "wake_at": wake_at})

    async def _still_mine(self) -> bool:
        """Whether the run is still leased to this driver; if so, its present state is taken over."""
        run = await self._services.store.find_run(self.run.id)
        if run is None or run.locked_by != self.token or run.status is not RunStatus.RUNNING:
            return False
        self.run = run
        return True

    def _is_poisonous(self) -> bool:
        limit = self._services.config.max_recovery_attempts
        return limit is not None and (self.run.recovery_attempts or 0) > limit

    async def _bury(self) -> None:
        attempts = self.run.recovery_attempts or 0
        message = f"the process that drove the run died {attempts} times without progress"
        error = ErrorRecord(message=message, code="max_recovery_attempts", retryable=False)
        if await self._settle(None, RunStatus.DEAD, error=error):
            _log.error("run %s of %s is dead: %s", self.run.id, self.run.workflow, message)


async def _call_body(definition: WorkflowDefinition, turn: Turn) -> Any:
    codec: Codec = turn.services.codec
    context = WorkflowContext(turn)
    async with turn.services.injector.provide(definition.function) as dependencies:
        if definition.input_type is NoInput:
            return await definition.function(context, **dependencies)
        value = codec.decode(turn.run.input, definition.input_type, what=f"the input of run {turn.run.id!r}")
        return await definition.function(context, value, **dependencies)
