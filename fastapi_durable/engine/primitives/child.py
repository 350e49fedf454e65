"""`ctx.child` and `ctx.start_child`: runs that belong to a run.

Creating a child and recording that it was created is one transaction, so a crash neither loses nor doubles it. The
parent leaves a waiter on the child's token; the transaction that ends the child, however it ends, records the ending in
the parent's history and wakes it.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from fastapi_durable.engine.primitives.child_run import (
    ChildRequest,
    Created,
    Joined,
    Refused,
    Taken,
    adopt,
    new_child,
    resolve_child,
)
from fastapi_durable.engine.primitives.primitive import Primitive
from fastapi_durable.engine.primitives.wait import TAKEN_CODE, LockedWait
from fastapi_durable.engine.runs.completion import child_token, completion, failure_of, value_of
from fastapi_durable.engine.runs.create import QUEUE_FULL, names_of_beginning
from fastapi_durable.engine.runs.lineage import names_of_waiting, waits_for
from fastapi_durable.engine.runs.queues import know_queue, place_in_queue
from fastapi_durable.engine.runs.retries import has_better_retry, success_of_retry
from fastapi_durable.engine.turns.own_run import own_run
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import ChildFailedError, RunIdTakenError, SignalTokenTakenError
from fastapi_durable.model.records import (
    Checkpoint,
    CheckpointStatus,
    ErrorRecord,
    Json,
    Run,
    RunStatus,
    SignalWaiter,
)
from fastapi_durable.store.base import StoreTransaction

_OTHER_CODE = "run_id_taken"


class Child(LockedWait[Any]):
    """Starts the child, or joins an existing run of its id, and returns its result.

    Raises:
        ChildFailedError: it failed, was cancelled, timed out or died.
    """

    def __init__(self, turn: Turn, seq: int, request: ChildRequest) -> None:
        super().__init__(turn, seq, f"signal:{child_token(request.run_id)}")
        self._request = request

    async def act(self) -> Checkpoint:
        if self.begun is None:
            await _know_queue(self.turn, self._request)
        return await super().act()

    async def receive(self) -> Checkpoint | None:
        received = await super().receive()
        if received is None:
            # The child may have been created, so notify the workers.
            self.turn.kernel.notifications.work_available()
        return received

    def locks(self) -> Sequence[str]:
        request = self._request
        wanted = new_child(self.turn, self.seq, request)
        return sorted(
            [*names_of_waiting(self.turn.run, request.run_id), *names_of_beginning(request.definition, wanted)]
        )

    @property
    def waiter(self) -> SignalWaiter:
        group = self._request.parallel_group
        token = child_token(self._request.run_id)
        return SignalWaiter(token=token, run_id=self.turn.run.id, seq=self.seq, parallel_group=group)

    async def take(self, transaction: StoreTransaction) -> Checkpoint | None:
        """Make sure that the child exists. Record its ending if it has one, or else leave a waiter for it."""
        turn, request = self.turn, self._request

        async def settle(
            status: CheckpointStatus, *, output: Json = None, error: ErrorRecord | None = None
        ) -> Checkpoint:
            return await self.record_in(transaction, self.row(status, output=output, error=error))

        match await resolve_child(turn, transaction, request, new_child(turn, self.seq, request)):
            case Taken():
                return await settle(CheckpointStatus.FAILED, error=_taken(request))
            case Refused(refusal):
                return await settle(CheckpointStatus.COMPLETED, output=completion(RunStatus.FAILED, None, refusal))
            case Joined(child):
                if self.begun is None and (waiting := await waits_for(transaction, child, turn.run)) is not None:
                    cycle = completion(RunStatus.FAILED, None, _cycle(child, waiting, turn.run))
                    return await settle(CheckpointStatus.COMPLETED, output=cycle)
                await adopt(turn, transaction, self.seq, child)
                if (ending := await _ending(transaction, child)) is not None:
                    return await settle(CheckpointStatus.COMPLETED, output=ending)
            case Created(child):
                pass
        # The child may be a later run of the chain of the requested id.
        waiter = replace(self.waiter, token=child_token(child.id))
        other = await transaction.find_signal_waiter(waiter.token)
        if other is not None and other != waiter:
            error = ErrorRecord(message=f"run {other.run_id!r} already waits for run {child.id!r}", code=TAKEN_CODE)
            return await settle(CheckpointStatus.FAILED, output=other.run_id, error=error)
        await transaction.put_signal_waiter(waiter)
        if self.begun is None:
            group = request.parallel_group
            placeholder = self.row(CheckpointStatus.RUNNING, input=request.input, parallel_group=group)
            await self.record_in(transaction, placeholder)
        return None

    def returns(self, output: Json) -> Any:
        request = self._request
        if failure := failure_of(output):
            raise self.turn.history.failed(self.seq, ChildFailedError(request.run_id, request.definition.name, failure))
        return self.turn.kernel.codec.decode(
            value_of(output), request.definition.output_type, what=f"the result of child {request.run_id!r}"
        )

    def raises(self, recorded: Checkpoint) -> Exception:
        if recorded.error is not None and recorded.error.code == TAKEN_CODE:
            return SignalTokenTakenError(child_token(self._request.run_id), str(recorded.output))
        return RunIdTakenError(self._request.run_id, self._request.definition.name)


async def _ending(transaction: StoreTransaction, child: Run) -> dict[str, Any] | None:
    """Return how the child ended. None if it is live, or if a retry of it may still succeed."""
    if not child.status.is_terminal:
        return None
    if child.status is not RunStatus.COMPLETED:
        if (retry := await success_of_retry(transaction, child)) is not None:
            child = retry
        elif await has_better_retry(transaction, child):
            return None
    return completion(child.status, child.output, child.error)


class SpawnedChild(Primitive[str]):
    """Starts the child, unless a run of its id exists, and returns the id without waiting.

    Raises:
        ChildFailedError: the child belongs to a bounded singleton, and no more runs of its key may wait.
    """

    def __init__(self, turn: Turn, seq: int, request: ChildRequest) -> None:
        super().__init__(turn, seq, f"spawn:{request.run_id}")
        self._request = request

    async def act(self) -> Checkpoint:
        await _know_queue(self.turn, self._request)
        recorded = await self.commit(self._spawn)
        self.turn.kernel.notifications.work_available()
        return recorded

    async def _spawn(self) -> Checkpoint:
        turn, request = self.turn, self._request
        wanted = new_child(turn, self.seq, request)
        async with turn.transaction() as transaction:
            for lock in sorted([child_token(request.run_id), *names_of_beginning(request.definition, wanted)]):
                await transaction.lock_name(lock)
            await own_run(turn, transaction)
            match await resolve_child(turn, transaction, request, wanted):
                case Taken():
                    row = self.row(CheckpointStatus.FAILED, error=_taken(request))
                case Refused(refusal):
                    row = self.row(CheckpointStatus.FAILED, error=refusal)
                case Joined(child):
                    await adopt(turn, transaction, self.seq, child)
                    row = self.row(CheckpointStatus.COMPLETED, output=child.id)
                case Created(child):
                    row = self.row(CheckpointStatus.COMPLETED, output=child.id)
            return await self.record_in(transaction, row)

    def returns(self, _: Json) -> str:
        return self._request.run_id

    def raises(self, recorded: Checkpoint) -> Exception:
        request = self._request
        if recorded.error is not None and recorded.error.code == QUEUE_FULL:
            return ChildFailedError(request.run_id, request.definition.name, recorded.error)
        return RunIdTakenError(request.run_id, request.definition.name)


async def _know_queue(turn: Turn, request: ChildRequest) -> None:
    """Check the queue before the child exists. A replay does not check again, so removing a queue later fails no
    run.
    """
    queue, _ = place_in_queue(turn.kernel.queues, request.queue, request.fairness_key)
    await turn.persist(partial(know_queue, turn.kernel, turn.run.namespace, queue))


def _cycle(child: Run, waiting: Run, run: Run) -> ErrorRecord:
    who = f"run {waiting.id!r}" if waiting.id == child.id else f"run {waiting.id!r}, a retry of {child.id!r},"
    message = f"{who} itself waits for the end of {run.id!r}, so neither would end"
    return ErrorRecord(message=message, code="child_cycle", retryable=False)


def _taken(request: ChildRequest) -> ErrorRecord:
    """Recorded, so that a body which caught the error takes the same branch on every replay."""
    return ErrorRecord(message=f"the run id {request.run_id!r} is already used", code=_OTHER_CODE, retryable=False)
