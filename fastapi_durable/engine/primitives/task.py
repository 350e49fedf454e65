"""`ctx.task`: hand work to somebody outside, then wait until he reports its end.

The dispatch is a step: at least once, with an idempotency key. The end is a signal on the task's token that holds a
completion, as the ending of a child does. It may come before the dispatch is recorded.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from fastapi_durable.declare.definition import StepDefinition, StepPolicy
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.primitives.signal import deliver_or_buffer, signal_lock, wait_for_signal
from fastapi_durable.engine.primitives.step import run_step
from fastapi_durable.engine.runs.completion import completion, failure_of
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import RunNotFoundError, RunStateError, TaskFailedError
from fastapi_durable.model.records import ErrorRecord, Json, RunStatus
from fastapi_durable.model.reserved import TASK


class TaskTicket(BaseModel, frozen=True):
    """What the dispatch of a task is given: with `run_id` and `name`, `complete_task` finds the way back."""

    run_id: str
    name: str
    token: str
    step_id: str


def task_token(run_id: str, name: str) -> str:
    """The signal token of a task."""
    return f"{TASK}{run_id}:{name}"


async def run_task(
    turn: Turn,
    positions: tuple[int, int | None, int],
    name: str,
    dispatch: StepDefinition,
    policy: StepPolicy,
    declared: Any,
    timeout: timedelta | None,
) -> Any:
    """Dispatch once recorded, then the reported result.

    Args:
        positions: Of the dispatch, of the deadline, of the wait.

    Raises:
        StepFailedError: it could not be dispatched.
        TaskFailedError: `fail_task` was called.
        SignalTimeoutError: nobody reported in time.
    """
    dispatch_seq, deadline_seq, seq = positions
    token = task_token(turn.run.id, name)
    ticket = TaskTicket(run_id=turn.run.id, name=name, token=token, step_id=turn.step_id(dispatch_seq))
    await run_step(turn, dispatch_seq, replace(dispatch, name=f"task:dispatch:{name}"), policy, ticket)
    ended = await wait_for_signal(turn, deadline_seq, seq, token, Any, timeout)
    if failure := failure_of(ended):
        raise turn.failed(seq, TaskFailedError(turn.run.id, name, failure))
    value = ended.get("value") if isinstance(ended, dict) else ended
    return turn.kernel.codec.decode(value, declared, what=f"the result of task {name!r}")


async def end_task(
    kernel: Kernel, run_id: str, name: str, *, value: Json = None, error: ErrorRecord | None = None
) -> bool:
    """Report the end of a task; False if it was reported before.

    Raises:
        RunNotFoundError: no run has this id.
        RunStateError: the run has ended.
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
                raise RunStateError(run_id, run.status, f"told of the end of task {name!r}")
            received = await transaction.find_latest_checkpoint_by_name(run_id, f"signal:{token}")
            if received is not None and received.status.is_finished:
                return False
            now = kernel.clock.now()
            if await transaction.find_signal_waiter(token) is None:
                # The token is the id as well: while one report is kept, another one is not.
                return await transaction.buffer_signal(token, ended, now=now, signal_id=token)
            await deliver_or_buffer(transaction, token, ended, now=now, signal_id=token, place=place)
    if place.run is None:
        kernel.notifications.work_available()
    return True
