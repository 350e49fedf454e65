"""Sending operations to entities: from a workflow, with or without an answer, and from outside.

Creating the entity, sending the operation, and recording that it was sent are one transaction. It locks the entity's
token, then the entity, then the caller, as the answer does on its way back.
"""

from dataclasses import dataclass
from typing import Any

from fastapi_durable.declare.signature import NO_DEFAULT, NoInput
from fastapi_durable.engine.core.conflict import retry_conflicts
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.primitives.entity_message import WORKFLOW, EntityLife, Message, entity_run_id
from fastapi_durable.engine.primitives.primitive import Primitive
from fastapi_durable.engine.primitives.signal import deliver_or_buffer, signal_lock
from fastapi_durable.engine.primitives.wait import Wait
from fastapi_durable.engine.runs.completion import completion, failure_of, value_of
from fastapi_durable.engine.runs.create import engine_run
from fastapi_durable.engine.runs.namespaces import namespace_of
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import EntityOperationError, InputValidationError, RunStateError, SerializationError
from fastapi_durable.model.records import (
    Checkpoint,
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
    """An operation as the caller requests it. `arg` is encoded."""

    entity: str
    key: str
    operation: str
    arg: Json
    output_type: Any

    @property
    def sent(self) -> Json:
        """Return the operation as the caller's history records it."""
        return {"op": self.operation, "arg": self.arg}


def checked_call(kernel: Kernel, entity: str, key: str, operation: str, arg: Any, *, given: bool) -> Call:
    """Return the call, checked as far as this engine knows the entity. The entity itself refuses an unknown operation.

    Raises:
        InputValidationError: the key cannot be stored, or the input does not fit the operation.
    """
    checked_text("the name of an entity", entity)
    checked_text("the key of an entity", key)
    derived_run_id(
        entity_run_id(namespace_of(kernel.config), entity, key), f"entity {entity[:80]!r}", "Give it a shorter key."
    )
    definition = kernel.entities.get(entity)
    known = None if definition is None else definition.operations.get(operation)
    label = f"the input of operation {operation!r} of entity {entity!r}"
    if known is not None and not given and known.default is not NO_DEFAULT:
        arg, given = known.default, True
    if known is not None and (known.input_type is NoInput) == given:
        raise InputValidationError(f"{label} must be {'left out, got one' if given else 'given, got none'}")
    declared = Any if known is None or not given else known.input_type
    try:
        encoded = kernel.codec.encode(arg if given else None, declared, what=label)
    except SerializationError as error:
        raise InputValidationError(str(error)) from error
    output_type = Any if known is None else known.output_type
    return Call(entity=entity, key=key, operation=operation, arg=encoded, output_type=output_type)


class EntityCall(Wait[Any]):
    """Sends an operation and waits for its result.

    Raises:
        EntityOperationError: the operation failed. The entity's state did not change.
    """

    def __init__(self, turn: Turn, seq: int, call: Call) -> None:
        self._reply = f"entityreply:{turn.history.positions.step_id(seq)}"
        super().__init__(turn, seq, f"signal:{self._reply}")
        self._call = call

    @property
    def waiter(self) -> SignalWaiter:
        return SignalWaiter(token=self._reply, run_id=self.turn.run.id, seq=self.seq)

    async def receive(self) -> Checkpoint | None:
        """See `Wait`. The waiter is stored together with the operation."""
        if self.begun is None:
            self.begun = await self._send()
            self.turn.history.add(self.begun)
            self.turn.kernel.notifications.work_available()
        return self.begun if self.begun.status.is_finished else None

    async def _send(self) -> Checkpoint:
        turn, call = self.turn, self._call
        run_id = entity_run_id(turn.run.namespace, call.entity, call.key)
        async with turn.transaction() as transaction:
            await transaction.lock_name(signal_lock(run_id))
            await transaction.lock_name(signal_lock(self._reply))
            sent = await transaction.find_checkpoint(turn.run.id, self.seq)
            if sent is not None:
                # An earlier try of this call wrote it. Its commit was not confirmed.
                return sent
            sender = turn.history.positions.step_id(self.seq)
            ended = await _send(turn.kernel, transaction, run_id, turn.run.namespace, call, sender, reply=self._reply)
            if ended is not None:
                output = completion(ended.status, None, _ended(ended))
                row = self.row(CheckpointStatus.COMPLETED, input=call.sent, output=output)
            else:
                row = self.row(CheckpointStatus.RUNNING, input=call.sent)
                await transaction.put_signal_waiter(self.waiter)
            return await self.record_in(transaction, row)

    def returns(self, output: Json) -> Any:
        call = self._call
        if failure := failure_of(output):
            raise self.turn.history.failed(
                self.seq, EntityOperationError(call.entity, call.key, call.operation, failure)
            )
        label = f"the result of operation {call.operation!r} of entity {call.entity!r}"
        return self.turn.kernel.codec.decode(value_of(output), call.output_type, what=label)


class EntitySignal(Primitive[None]):
    """Sends an operation without waiting for its result.

    Raises:
        EntityOperationError: an operator ended the entity.
    """

    def __init__(self, turn: Turn, seq: int, call: Call) -> None:
        super().__init__(turn, seq, f"entitysig:{call.entity}:{call.key}")
        self._call = call

    async def act(self) -> Checkpoint:
        recorded = await self.commit(self._send)
        self.turn.kernel.notifications.work_available()
        return recorded

    async def _send(self) -> Checkpoint:
        turn, call = self.turn, self._call
        run_id = entity_run_id(turn.run.namespace, call.entity, call.key)
        async with turn.transaction() as transaction:
            await transaction.lock_name(signal_lock(run_id))
            sent = await transaction.find_checkpoint(turn.run.id, self.seq)
            if sent is not None:
                return sent
            sender = turn.history.positions.step_id(self.seq)
            ended = await _send(turn.kernel, transaction, run_id, turn.run.namespace, call, sender)
            if ended is not None:
                row = self.row(CheckpointStatus.FAILED, input=call.sent, error=_ended(ended))
            else:
                row = self.row(CheckpointStatus.COMPLETED, input=call.sent)
            return await self.record_in(transaction, row)

    def returns(self, _: Json) -> None:
        """Nothing."""

    def raises(self, recorded: Checkpoint) -> Exception:
        call, error = self._call, recorded.error or ErrorRecord(message="not sent")
        return EntityOperationError(call.entity, call.key, call.operation, error)


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
            ended = await _send(kernel, transaction, run_id, namespace, call, operation_id, operation_id=operation_id)
            if ended is not None:
                raise RunStateError(
                    run_id,
                    ended.status,
                    "sent an operation. Delete it, and the next operation creates the entity again",
                )

    await retry_conflicts(kernel.clock, send)
    kernel.notifications.work_available()


async def _send(
    kernel: Kernel,
    transaction: StoreTransaction,
    run_id: str,
    namespace: str,
    call: Call,
    sender: str,
    *,
    reply: str | None = None,
    operation_id: str | None = None,
) -> Run | None:
    """Create the entity if needed, and send it the operation. Return the entity's run if that has ended."""
    now = kernel.clock.now()
    life = EntityLife(name=call.entity, key=call.key)
    created = engine_run(kernel, WORKFLOW, life.model_dump(mode="json"), run_id=run_id, namespace=namespace)
    run, _ = await transaction.create_run(created)
    if run.status.is_terminal:
        return run
    message = Message(op=call.operation, arg=call.arg, reply=reply, id=operation_id, call=sender)
    payload = message.model_dump(mode="json", exclude_none=True)
    await deliver_or_buffer(transaction, run_id, payload, namespace=namespace, now=now, signal_id=operation_id)
    return None


def _ended(run: Run) -> ErrorRecord:
    return ErrorRecord(message=f"the entity {run.id!r} is {run.status}", code=_ENDED, retryable=False)
