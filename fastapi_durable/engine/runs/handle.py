"""A started run, seen from outside."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from fastapi_durable.declare.codec import Codec
from fastapi_durable.engine.core.live_workers import LiveWorkers
from fastapi_durable.engine.core.notifications import SELDOM, Notifications
from fastapi_durable.engine.runs.chain import head_of, may_have_gone_on
from fastapi_durable.engine.runs.unserved import Unserved
from fastapi_durable.model.clock import Clock
from fastapi_durable.model.duration import Duration, parse_duration
from fastapi_durable.model.errors import (
    ResultTimeoutError,
    RunCancelledError,
    RunDeadError,
    RunFailedError,
    RunNotCommittedError,
    RunNotFoundError,
)
from fastapi_durable.model.records import Run, RunStatus
from fastapi_durable.store.base import StateStore

Output = TypeVar("Output")

_FIRST_POLL = timedelta(milliseconds=50)


class RunHandle(Generic[Output]):
    """Refers to a run by its id. A handle holds no connection, and works in any process.

    Args:
        is_open: Whether the transaction that started the run is open.

    Attributes:
        run_id: The id of the run.
        created: Whether the call that returned this handle created the run. False: the run existed.
    """

    def __init__(
        self,
        run_id: str,
        *,
        created: bool,
        output_type: Any,
        store: StateStore,
        clock: Clock,
        codec: Codec,
        notifications: Notifications,
        workers: LiveWorkers,
        is_open: Callable[[], bool] = lambda: False,
    ) -> None:
        self.run_id = run_id
        self.created = created
        self._output_type = output_type
        self._store = store
        self._clock = clock
        self._codec = codec
        self._notifications = notifications
        self._workers = workers
        self._is_open = is_open

    async def run(self) -> Run:
        """Return the run as it is stored now.

        Raises:
            RunNotFoundError: the run was deleted.
            RunNotCommittedError: the transaction that started the run is open.
        """
        self._refuse_uncommitted()
        run = await self._store.find_run(self.run_id)
        if run is None:
            raise RunNotFoundError(self.run_id)
        return run

    async def status(self) -> RunStatus:
        """Return the status that the run has now.

        Raises:
            RunNotFoundError: the run was deleted.
            RunNotCommittedError: the transaction that started the run is open.
        """
        return (await self.run()).status

    async def result(self, timeout: Duration | None = None) -> Output:
        """Wait until the run has ended, and return its output.

        If the run continues as a new run, the handle waits for the last one.

        Args:
            timeout: How long to wait. None: no limit.

        Returns:
            The output of the run.

        Raises:
            RunFailedError: the run failed.
            RunCancelledError: the run was cancelled.
            RunDeadError: the run is dead.
            ResultTimeoutError: the run has not ended after `timeout`. It continues.
            NoWorkerError: no live worker can drive the run; see `no_worker_after`. It stays, and a worker that starts
                drives it.
            RunNotFoundError: no run has this id.
            RunNotCommittedError: the transaction that started the run is open.
            SerializationError: the output does not fit the declared type.
        """
        self._refuse_uncommitted()
        limit = None if timeout is None else parse_duration(timeout)
        deadline = None if limit is None else self._clock.now() + limit
        run = await self._finished(self.run_id, limit, deadline)
        while may_have_gone_on(run):
            head = await head_of(self._store, run.id)
            if head is None or head.id == run.id:
                break
            # One timeout for the whole chain, because a run may continue as new runs without end.
            run = await self._finished(head.id, limit, deadline)
        match run.status:
            case RunStatus.FAILED:
                raise RunFailedError(run.id, run.workflow, run.error)
            case RunStatus.CANCELLED:
                raise RunCancelledError(run.id, run.workflow, run.error)
            case RunStatus.DEAD:
                raise RunDeadError(run.id, run.workflow, run.error)
        output: Output = self._codec.decode(run.output, self._output_type, what=f"the result of run {run.id!r}")
        return output

    def _refuse_uncommitted(self) -> None:
        if self._is_open():
            raise RunNotCommittedError(self.run_id)

    async def _finished(self, run_id: str, timeout: timedelta | None, deadline: datetime | None) -> Run:
        """Told by this process when the run ends here; a slowing poll finds out when it ends elsewhere."""
        unserved = Unserved(self._store, self._clock, self._workers)
        with self._notifications.watch_run(run_id) as watch:
            # If this process drives the run, a notification will come.
            look = run_id not in self._notifications.driven_here
            look = look or (deadline is not None and deadline <= self._clock.now())
            poll = _FIRST_POLL if look else SELDOM
            while True:
                if watch.run is not None:
                    return watch.run
                watch.forget()
                if look:
                    run = await self._store.find_run(run_id)
                    if run is None:
                        raise RunNotFoundError(run_id)
                    if run.status.is_terminal:
                        return run
                    if deadline is not None and deadline <= self._clock.now():
                        raise ResultTimeoutError(run.id, run.status, timeout or timedelta(0))
                    await unserved.refuse(run)
                look = True
                wait = poll if deadline is None else max(min(poll, deadline - self._clock.now()), timedelta(0))
                if not await watch.wait(wait):
                    poll = min(poll * 2, SELDOM)
