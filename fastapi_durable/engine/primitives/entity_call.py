"""Sending operations to entities: from a workflow, with or without an answer, and from outside.

Creating the entity, sending the operation, and recording that it was sent are one transaction. It locks the entity's
token, then the entity, then the caller, as the answer does on its way back.
"""

from dataclasses import dataclass
from typing import Any

from fastapi_durable.declare.signature import NoInput
from fastapi_durable.engine.core.conflict import retry_conflicts
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.primitives.entity_message import WORKFLOW, EntityLife, Message, entity_run_id
from fastapi_durable.engine.primitives.signal import deliver_or_buffer, signal_lock
from fastapi_durable.engine.runs.completion import completion, failure_of
from fastapi_durable.engine.runs.create import engine_run
from fastapi_durable.engine.runs.namespaces import namespace_of
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import EntityOperationError, InputValidationError, RunStateError, SerializationError
from fastapi_durable.model.records import (
    Checkpoint,
    CheckpointKind,
    CheckpointStatus,
    ErrorRecord,
    Json,
    Run,
    SignalWaiter,
)
from fastapi_durable.model.reserved import checked_text
from fastapi_durable.model.run_ids import derived_run_id
from fastapi_durable.store.base import StoreTransaction

_ENDED = "entity_ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An operation as it is asked for; `arg` is encoded."""

    entity: str
    key: str
    operation: str
    arg: Json
    output_type: Any


def checked_call(kernel: Kernel, entity: str, key: str, operation: str, arg: Any, *, given: bool) -> Call:
    """The call, checked as far as this engine knows the entity. One that it does not know is the entity's to judge.

    Raises:
        InputValidationError: the key cannot be part of an id, or `arg` does not fit the operation.
    """
    checked_text("the name of an entity", entity)
    checked_text("the key of an entity", key)
    derived_run_id(
        entity_run_id(namespace_of(kernel.config), entity, key), f"entity {entity[:80]!r}", "Give it a shorter key."
    )
    definition = kernel.entities.get(entity)
    known = None if definition is None else definition.operations.get(operation)
    label = f"the input of operation {operation!r} of entity {entity!r}"
    if known is not None and (known.input_type is NoInput) == given:
        raise InputValidationError(f"{label}: it takes {'no' if given else 'an'} input")
    declared = Any if known is None or not given else known.input_type
    try:
        encoded = kernel.codec.encode(arg if given else None, declared, what=label)
        if known is not None and given:
            kernel.codec.decode(encoded, declared, what=label)
    except SerializationError as error:
        raise InputValidationError(str(error)) from error
    output_type = Any if known is None else known.output_type
    return Call(entity=entity, key=key, operation=operation, arg=encoded, output_type=output_type)


async def call_entity(turn: Turn, seq: int, call: Call) -> Any:
    """Send an operation and wait for its result.

    Raises:
        EntityOperationError: it failed; the entity's state is what it was before.
    """
    reply = f"entityreply:{turn.step_id(seq)}"
    name = f"signal:{reply}"
    async with turn.under_way():
        recorded = await turn.recorded(seq, CheckpointKind.SIGNAL, name)
        if recorded is None:
            turn.put_waiters = True
            recorded = await turn.persist(lambda: _ask(turn, seq, name, reply, call))
            turn.remember(recorded)
            turn.kernel.notifications.work_available()
        if not recorded.status.is_finished:
            turn.put_waiters = True
            await turn.park(None)
        if failure := failure_of(recorded.output):
            raise turn.failed(seq, EntityOperationError(call.entity, call.key, call.operation, failure))
        value = recorded.output.get("value") if isinstance(recorded.output, dict) else recorded.output
        label = f"the result of operation {call.operation!r} of entity {call.entity!r}"
        return turn.kernel.codec.decode(value, call.output_type, what=label)


async def _ask(turn: Turn, seq: int, name: str, reply: str, call: Call) -> Checkpoint:
    run_id = entity_run_id(turn.run.namespace, call.entity, call.key)
    async with turn.kernel.store.transaction(timeout=turn.kernel.config.transaction_timeout) as transaction:
        await transaction.lock_name(signal_lock(run_id))
        await transaction.lock_name(signal_lock(reply))
        sent = await transaction.find_checkpoint(turn.run.id, seq)
        if sent is not None:
            # By this very call, whose commit was not heard of.
            return sent
        ended = await _send(turn.kernel, transaction, run_id, turn.run.namespace, call, reply=reply)
        input = {"op": call.operation, "arg": call.arg}
        if ended is not None:
            checkpoint = turn.checkpoint(
                seq,
                CheckpointKind.SIGNAL,
                name,
                CheckpointStatus.COMPLETED,
                input=input,
                output=completion(ended.status, None, _ended(ended)),
            )
        else:
            checkpoint = turn.checkpoint(seq, CheckpointKind.SIGNAL, name, CheckpointStatus.RUNNING, input=input)
            await transaction.put_signal_waiter(SignalWaiter(token=reply, run_id=turn.run.id, seq=seq))
        return (await transaction.record_checkpoint(checkpoint, token=turn.token)).checkpoint


async def signal_entity(turn: Turn, seq: int, call: Call) -> None:
    """Send an operation and go on.

    Raises:
        EntityOperationError: an operator ended the entity.
    """
    name = f"entitysig:{call.entity}:{call.key}"
    async with turn.under_way():
        recorded = await turn.recorded(seq, CheckpointKind.LOCAL, name)
        if recorded is None:
            recorded = await turn.persist(lambda: _tell(turn, seq, name, call))
            turn.remember(recorded)
            turn.kernel.notifications.work_available()
        if recorded.error is not None:
            raise turn.failed(seq, EntityOperationError(call.entity, call.key, call.operation, recorded.error))


async def _tell(turn: Turn, seq: int, name: str, call: Call) -> Checkpoint:
    run_id = entity_run_id(turn.run.namespace, call.entity, call.key)
    async with turn.kernel.store.transaction(timeout=turn.kernel.config.transaction_timeout) as transaction:
        await transaction.lock_name(signal_lock(run_id))
        sent = await transaction.find_checkpoint(turn.run.id, seq)
        if sent is not None:
            return sent
        ended = await _send(turn.kernel, transaction, run_id, turn.run.namespace, call)
        checkpoint = turn.checkpoint(
            seq,
            CheckpointKind.LOCAL,
            name,
            CheckpointStatus.COMPLETED if ended is None else CheckpointStatus.FAILED,
            input={"op": call.operation, "arg": call.arg},
            error=None if ended is None else _ended(ended),
        )
        return (await transaction.record_checkpoint(checkpoint, token=turn.token)).checkpoint


async def signal_from_outside(kernel: Kernel, call: Call, operation_id: str) -> None:
    """Send an operation from outside a workflow.

    Raises:
        RunStateError: an operator ended the entity.
    """
    namespace = namespace_of(kernel.config)
    run_id = entity_run_id(namespace, call.entity, call.key)

    async def send() -> None:
        async with kernel.store.transaction(timeout=kernel.config.transaction_timeout) as transaction:
            await transaction.lock_name(signal_lock(run_id))
            ended = await _send(kernel, transaction, run_id, namespace, call, operation_id=operation_id)
            if ended is not None:
                raise RunStateError(run_id, ended.status, "given an operation: delete it, and the next one begins anew")

    await retry_conflicts(kernel.clock, send)
    kernel.notifications.work_available()


async def _send(
    kernel: Kernel,
    transaction: StoreTransaction,
    run_id: str,
    namespace: str,
    call: Call,
    *,
    reply: str | None = None,
    operation_id: str | None = None,
) -> Run | None:
    """Create the entity if need be, and hand it the operation; the entity's run instead if that has ended."""
    now = kernel.clock.now()
    life = EntityLife(name=call.entity, key=call.key)
    created = engine_run(kernel, WORKFLOW, life.model_dump(mode="json"), run_id=run_id, namespace=namespace)
    run, _ = await transaction.create_run(created)
    if run.status.is_terminal:
        return run
    message = Message(op=call.operation, arg=call.arg, reply=reply, id=operation_id)
    payload = message.model_dump(mode="json", exclude_none=True)
    await deliver_or_buffer(transaction, run_id, payload, now=now, signal_id=operation_id)
    return None


def _ended(run: Run) -> ErrorRecord:
    return ErrorRecord(message=f"the entity {run.id!r} is {run.status}", code=_ENDED, retryable=False)
