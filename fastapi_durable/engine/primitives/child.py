"""`ctx.child`, `ctx.start_child` and `ctx.all`: runs that belong to a run.

Creating a child and recording that it was created is one transaction, so a crash neither loses nor doubles it. The
parent leaves a waiter on the child's token; the transaction that ends the child, however it ends, records the ending in
the parent's history and wakes it.
"""

import asyncio
from collections.abc import Sequence
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
from fastapi_durable.engine.runs.cancellation import cancel_all
from fastapi_durable.engine.runs.completion import child_token, completion, failure_of
from fastapi_durable.engine.runs.create import QUEUE_FULL, names_of_beginning
from fastapi_durable.engine.runs.lineage import names_of_waiting, waits_for
from fastapi_durable.engine.runs.queues import know_queue, place_in_queue
from fastapi_durable.engine.runs.retries import has_better_retry, success_of_retry
from fastapi_durable.engine.turns.own_run import own_run
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import ChildFailedError, GatherError, RunIdTakenError, SignalTokenTakenError
from fastapi_durable.model.records import (
    Checkpoint,
    CheckpointKind,
    CheckpointStatus,
    ErrorRecord,
    Json,
    Run,
    RunStatus,
    SignalWaiter,
)
from fastapi_durable.store.base import StoreTransaction

_TAKEN_CODE = "signal_token_taken"
_OTHER_CODE = "run_id_taken"

_VERDICT = "all:first_failure"


async def run_child(turn: Turn, seq: int, request: ChildRequest) -> Any:
    """Start the child, or join a run of its id, and return its result.

    Raises:
        ChildFailedError: it failed, was cancelled, timed out or died.
    """
    name = f"signal:{child_token(request.run_id)}"
    async with turn.under_way():
        recorded = await turn.recorded(seq, CheckpointKind.SIGNAL, name)
        if recorded is None or not recorded.status.is_finished:
            if recorded is None:
                await _seat(turn, request)
            turn.put_waiters = True
            recorded = await turn.persist(lambda: _await_child(turn, seq, name, request))
            if recorded is None:
                turn.kernel.notifications.work_available()
                await turn.park(None)
            turn.remember(recorded)
        _refuse_other(recorded, request)
        if recorded.error is not None and recorded.error.code == _TAKEN_CODE:
            raise turn.failed(seq, SignalTokenTakenError(child_token(request.run_id), str(recorded.output)))
        if failure := failure_of(recorded.output):
            raise turn.failed(seq, ChildFailedError(request.run_id, request.definition.name, failure))
        value = recorded.output.get("value") if isinstance(recorded.output, dict) else recorded.output
        return turn.kernel.codec.decode(
            value, request.definition.output_type, what=f"the result of child {request.run_id!r}"
        )


async def _await_child(turn: Turn, seq: int, name: str, request: ChildRequest) -> Checkpoint | None:
    """Make sure that the child exists; return its ending if it has one, else leave a waiter for it."""
    async with turn.kernel.store.transaction(timeout=turn.kernel.config.transaction_timeout) as transaction:

        async def settle(
            status: CheckpointStatus, *, output: Json = None, error: ErrorRecord | None = None
        ) -> Checkpoint:
            checkpoint = turn.checkpoint(seq, CheckpointKind.SIGNAL, name, status, output=output, error=error)
            return (await transaction.record_checkpoint(checkpoint, token=turn.token)).checkpoint

        wanted = new_child(turn, seq, request)
        names = [*names_of_waiting(turn.run, request.run_id), *names_of_beginning(request.definition, wanted)]
        for lock in sorted(names):
            await transaction.lock_name(lock)
        await own_run(turn, transaction)
        stored = await transaction.find_checkpoint(turn.run.id, seq)
        if stored is not None and stored.status.is_finished:
            return stored
        match await resolve_child(turn, transaction, request, wanted):
            case Taken():
                return await settle(CheckpointStatus.FAILED, error=_taken(request))
            case Refused(refusal):
                return await settle(CheckpointStatus.COMPLETED, output=completion(RunStatus.FAILED, None, refusal))
            case Joined(child):
                if stored is None and (waiting := await waits_for(transaction, child, turn.run)) is not None:
                    cycle = completion(RunStatus.FAILED, None, _cycle(child, waiting, turn.run))
                    return await settle(CheckpointStatus.COMPLETED, output=cycle)
                await adopt(turn, transaction, seq, child)
                if (ending := await _ending(transaction, child)) is not None:
                    return await settle(CheckpointStatus.COMPLETED, output=ending)
            case Created(child):
                pass
        waiter = SignalWaiter(
            token=child_token(child.id), run_id=turn.run.id, seq=seq, parallel_group=request.parallel_group
        )
        other = await transaction.find_signal_waiter(waiter.token)
        if other is not None and other != waiter:
            error = ErrorRecord(message=f"run {other.run_id!r} awaits {child.id!r} already", code=_TAKEN_CODE)
            return await settle(CheckpointStatus.FAILED, output=other.run_id, error=error)
        await transaction.put_signal_waiter(waiter)
        if stored is None:
            placeholder = turn.checkpoint(
                seq,
                CheckpointKind.SIGNAL,
                name,
                CheckpointStatus.RUNNING,
                input=request.input,
                parallel_group=request.parallel_group,
            )
            await transaction.record_checkpoint(placeholder, token=turn.token)
        return None


async def _ending(transaction: StoreTransaction, child: Run) -> dict[str, Any] | None:
    """How the child ended, unless it lives, or a retry of it may still bring a success."""
    if not child.status.is_terminal:
        return None
    if child.status is not RunStatus.COMPLETED:
        if (retry := await success_of_retry(transaction, child)) is not None:
            child = retry
        elif await has_better_retry(transaction, child):
            return None
    return completion(child.status, child.output, child.error)


async def spawn_child(turn: Turn, seq: int, request: ChildRequest) -> str:
    """Start the child, unless a run of its id exists, and return the id without waiting.

    Raises:
        ChildFailedError: it is one of a bounded singleton, and no more of its key may wait.
    """
    name = f"spawn:{request.run_id}"
    async with turn.under_way():
        recorded = await turn.recorded(seq, CheckpointKind.LOCAL, name)
        if recorded is None:
            await _seat(turn, request)
            recorded = await turn.persist(lambda: _spawn(turn, seq, name, request))
            turn.remember(recorded)
            turn.kernel.notifications.work_available()
        _refuse_other(recorded, request)
        if recorded.error is not None and recorded.error.code == QUEUE_FULL:
            raise turn.failed(seq, ChildFailedError(request.run_id, request.definition.name, recorded.error))
        return request.run_id


async def _spawn(turn: Turn, seq: int, name: str, request: ChildRequest) -> Checkpoint:
    async with turn.kernel.store.transaction(timeout=turn.kernel.config.transaction_timeout) as transaction:
        wanted = new_child(turn, seq, request)
        for lock in sorted([child_token(request.run_id), *names_of_beginning(request.definition, wanted)]):
            await transaction.lock_name(lock)
        await own_run(turn, transaction)
        status, output, error = CheckpointStatus.FAILED, None, None
        match await resolve_child(turn, transaction, request, wanted):
            case Taken():
                error = _taken(request)
            case Refused(refusal):
                error = refusal
            case Joined(child):
                await adopt(turn, transaction, seq, child)
                status, output = CheckpointStatus.COMPLETED, child.id
            case Created(child):
                status, output = CheckpointStatus.COMPLETED, child.id
        checkpoint = turn.checkpoint(seq, CheckpointKind.LOCAL, name, status, output=output, error=error)
        return (await transaction.record_checkpoint(checkpoint, token=turn.token)).checkpoint


async def run_children(turn: Turn, positions: Sequence[int], requests: Sequence[ChildRequest]) -> list[Any]:
    """Run children side by side and wait for all; their results in the order of the inputs.

    Raises:
        GatherError: one or more failed.
    """
    return results_of(await asyncio.gather(*_tasks(turn, positions, requests), return_exceptions=True))


async def run_children_fail_fast(
    turn: Turn, positions: Sequence[int], verdict_seq: int, requests: Sequence[ChildRequest]
) -> list[Any]:
    """Run children side by side; at the first failure cancel the others.

    Which failure was the first is recorded, since a replay finds the cancelled ones failed as well.

    Raises:
        GatherError: holds the first failure.
    """
    children = _tasks(turn, positions, requests)
    if not children:
        return []
    async with turn.under_way():
        verdict = await turn.recorded(verdict_seq, CheckpointKind.LOCAL, _VERDICT)
    if verdict is None:
        done, pending = await asyncio.wait(children, return_when=asyncio.FIRST_EXCEPTION)
        failed = [index for index, child in enumerate(children) if child in done and _has_failed(child)]
        if not failed:
            return results_of(await asyncio.gather(*children, return_exceptions=True))
        for child in pending:
            child.cancel()
        async with turn.under_way():
            verdict = await turn.record(
                turn.checkpoint(
                    verdict_seq, CheckpointKind.LOCAL, _VERDICT, CheckpointStatus.COMPLETED, output=failed[0]
                )
            )
    first = int(verdict.output)
    for index, child in enumerate(children):
        if index != first:
            child.cancel()
    outcomes = await asyncio.gather(*children, return_exceptions=True)
    async with turn.under_way():
        # Repeated on a replay, which makes good what a crash right after the verdict left undone.
        kernel = turn.kernel
        await turn.persist(
            lambda: cancel_all(kernel, [request.run_id for index, request in enumerate(requests) if index != first])
        )
    failure = outcomes[first]
    if not isinstance(failure, ChildFailedError):
        return results_of(outcomes)
    raise GatherError({first: failure}, total=len(requests))


def results_of(outcomes: Sequence[Any]) -> list[Any]:
    """The outcomes of `asyncio.gather(..., return_exceptions=True)`, or one error for all that failed.

    Raises:
        GatherError: one or more are exceptions.
    """
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
            raise outcome
    failures = {index: outcome for index, outcome in enumerate(outcomes) if isinstance(outcome, Exception)}
    if failures:
        raise GatherError(failures, total=len(outcomes))
    return list(outcomes)


def _tasks(turn: Turn, positions: Sequence[int], requests: Sequence[ChildRequest]) -> list[asyncio.Task[Any]]:
    return [
        asyncio.create_task(run_child(turn, seq, request)) for seq, request in zip(positions, requests, strict=True)
    ]


def _has_failed(child: asyncio.Task[Any]) -> bool:
    return not child.cancelled() and isinstance(child.exception(), ChildFailedError)


async def _seat(turn: Turn, request: ChildRequest) -> None:
    """Before the child exists: a replay does not ask again, so a queue that is given up later fails no run."""
    queue, _ = place_in_queue(turn.kernel.queues, request.queue, request.fairness_key)
    await turn.persist(lambda: know_queue(turn.kernel, turn.run.namespace, queue))


def _cycle(child: Run, waiting: Run, run: Run) -> ErrorRecord:
    who = f"run {waiting.id!r}" if waiting.id == child.id else f"run {waiting.id!r}, a retry of {child.id!r},"
    message = f"{who} itself waits for the end of {run.id!r}, so neither would end"
    return ErrorRecord(message=message, code="child_cycle", retryable=False)


def _taken(request: ChildRequest) -> ErrorRecord:
    """Recorded, so that a body which caught the error takes the same branch on every replay."""
    return ErrorRecord(message=f"the id {request.run_id!r} is taken", code=_OTHER_CODE, retryable=False)


def _refuse_other(recorded: Checkpoint, request: ChildRequest) -> None:
    if recorded.error is not None and recorded.error.code == _OTHER_CODE:
        raise RunIdTakenError(request.run_id, request.definition.name)
