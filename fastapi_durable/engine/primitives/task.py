"""`ctx.task`: hand work to another system, then wait until it reports the end.

The dispatch is a step: it is executed at least once, with an idempotency key. The end is a signal on the task's token
with a completion, as for a child. It may come before the dispatch is recorded.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from fastapi_durable.declare.definition import StepDefinition, StepPolicy
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.primitives.signal import Signal, deliver_or_buffer, signal_lock
from fastapi_durable.engine.primitives.step import Step
from fastapi_durable.engine.runs.awaited_type import refuse_misfit
from fastapi_durable.engine.runs.completion import completion, failure_of, value_of
from fastapi_durable.engine.runs.delivery import tell_receiver
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import RunNotFoundError, RunStateError, TaskFailedError
from fastapi_durable.model.records import Checkpoint, ErrorRecord, Json, RunStatus
from fastapi_durable.model.reserved import TASK
from fastapi_durable.store.base import StoreTransaction


class TaskTicket(BaseModel, frozen=True):
    """The input of a task's dispatch. Pass `run_id` and `name` back to `complete_task`."""

    run_id: str
    name: str
    token: str
    step_id: str


def task_token(run_id: str, name: str) -> str:
    """The signal token of a task."""
    return f"{TASK}{run_id}:{name}"


class Task(Signal):
    """Dispatches the work, then waits for the reported result.

    Args:
        dispatch_seq, seq, deadline_seq: Positions of the dispatch, of the wait, and of its deadline.
        dispatch, policy: The step that dispatches.
        declared: The type of the result.

    Raises:
        StepFailedError: the dispatch failed.
        TaskFailedError: `fail_task` was called.
        SignalTimeoutError: the end was not reported in time.
    """

    def __init__(
        self,
        turn: Turn,
        dispatch_seq: int,
        seq: int,
        name: str,
        dispatch: StepDefinition,
        policy: StepPolicy,
        declared: Any,
        deadline_seq: int | None,
        timeout: timedelta | None,
    ) -> None:
        token = task_token(turn.run.id, name)
        super().__init__(turn, seq, token, declared, deadline_seq, timeout, tells_type=True)
        step_id = turn.history.positions.step_id(dispatch_seq)
        ticket = TaskTicket(run_id=turn.run.id, name=name, token=token, step_id=step_id)
        self._task = name
        self._dispatch = Step(turn, dispatch_seq, replace(dispatch, name=f"task:dispatch:{name}"), policy, ticket)

    async def perform(self) -> Any:
        """See `Primitive`. The dispatch comes first."""
        await self._dispatch.perform()
        return await super().perform()

    async def keep(self, transaction: StoreTransaction, late: Checkpoint) -> None:
        """Keep nothing: a run uses the name of a task once, so no other wait can come."""

    def returns(self, output: Json) -> Any:
        if failure := failure_of(output):
            raise self.turn.history.failed(self.seq, TaskFailedError(self.turn.run.id, self._task, failure))
        return self.turn.kernel.codec.decode(
            value_of(output), self._declared, what=f"the result of task {self._task!r}"
        )


async def end_task(
    kernel: Kernel, run_id: str, name: str, *, value: Json = None, error: ErrorRecord | None = None
) -> bool:
    """Report the end of a task. Return False if it was reported before.

    Raises:
        RunNotFoundError: no run has this id.
        RunStateError: the run has ended.
        SerializationError: the run waits for the result, and it does not fit what the call declares.
    """
    token = task_token(run_id, name)
    status = RunStatus.COMPLETED if error is None else RunStatus.FAILED
    ended = completion(status, value, error)
    with kernel.local_worker.place() as place:
        async with kernel.store.transaction(timeout=kernel.config.transaction_timeout) as transaction:
            await transaction.lock_name(signal_lock(token))
            run = await transaction.lock_run(run_id)
            if run is None:
                raise RunNotFoundError(run_id)
            if run.status.is_terminal:
                raise RunStateError(run_id, run.status, f"sent the end of task {name!r}")
            received = await transaction.find_latest_checkpoint_by_name(run_id, f"signal:{token}")
            if received is not None and received.status.is_finished:
                return False
            now = kernel.clock.now()
            waiter = await transaction.find_signal_waiter(token)
            if waiter is None:
                # The token is also the signal's id, so only one report can be kept.
                return await transaction.buffer_signal(token, ended, now=now, signal_id=token)
            if error is None:
                waiting = await transaction.find_checkpoint(run_id, waiter.seq)
                refuse_misfit(kernel.codec, waiting, value, what=f"the result of task {name!r}")
            receiver = await deliver_or_buffer(
                transaction, token, ended, namespace=run.namespace, now=now, signal_id=token, place=place
            )
    if receiver is not None:
        tell_receiver(kernel.notifications, receiver, place)
    return True
