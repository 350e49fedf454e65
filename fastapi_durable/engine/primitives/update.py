"""`ctx.on_update` and `update`: a value that a run accepts at a named point, after a validator has checked it.

A sender who waits for the answer gives the update an id. The row that receives the update stores the id, and the run
shows its answer as a value under it. So an answer outlives a crash, and is found whatever process the sender is in.

An update is a signal on a token of the run's chain. The transaction that delivers it checks under the run's lock that
the run is alive. So an update is either refused, or kept for a run that can still receive it: this run, or the one that
it continues as.
"""

import inspect
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi_durable.declare.definition import UpdateValidator, step_definition
from fastapi_durable.declare.signature import NoInput
from fastapi_durable.engine.core.conflict import retry_conflicts
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.primitives.run_event import ShownValue
from fastapi_durable.engine.primitives.signal import Signal, deliver_or_buffer, signal_lock
from fastapi_durable.engine.runs.chain import head_of, successor_of
from fastapi_durable.engine.runs.delivery import delivery_id_of, tell_receiver, with_delivery_id
from fastapi_durable.engine.runs.failure import error_record
from fastapi_durable.engine.runs.namespaces import is_visible
from fastapi_durable.engine.turns.body_task import is_interruption
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import SerializationError, StoreConflictError
from fastapi_durable.model.records import BufferedSignal, Checkpoint, Json, Run, RunStatus
from fastapi_durable.model.reserved import UPDATE
from fastapi_durable.model.run_ids import root_of

_HOPS_AT_MOST = 50
"""How often an update is sent on to the next run, if the run continues as a new run during the validation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateResult:
    """The result of an update.

    Attributes:
        accepted: Whether the update was accepted.
        reason: Why it was refused. None: it was accepted.
        received: Whether the run waited for it, and continues. False: it is kept until the run calls `ctx.on_update`.
        answered: Whether the run answered within the time that the sender waited.
        answer: What `answer=` of `ctx.on_update` returned. None without an answer.
    """

    accepted: bool
    reason: str | None = None
    received: bool = False
    answered: bool = False
    answer: Any = None


@dataclass(frozen=True, slots=True)
class ReceivedUpdate:
    """The value of an update, and its id if the sender waits for an answer."""

    value: Any
    id: str | None


class Update(Signal):
    """The next update on a token, with its id."""

    def input_of(self, signal: BufferedSignal, /) -> Json:
        return with_delivery_id(None, signal.signal_id)

    def result(self, recorded: Checkpoint) -> Any:
        return ReceivedUpdate(super().result(recorded), delivery_id_of(recorded))


class Answer(ShownValue):
    """The answer to an update, as the value of its id; `output` is a completion."""

    def __init__(self, turn: Turn, seq: int, update_id: str, output: Json) -> None:
        super().__init__(turn, seq, answer_key(update_id), output)


def answer_key(update_id: str) -> str:
    """The key of the value by which an update is answered. The id is random, so a body sets no such key by chance."""
    return f"{UPDATE}{update_id}"


def update_token(run_id: str, name: str) -> str:
    """Return the signal token of an update. It belongs to the whole chain, so an update kept for one run is kept for
    the next one.
    """
    return f"{UPDATE}{root_of(run_id)}:{name}"


async def offer_update(kernel: Kernel, run_id: str, name: str, arg: Json, update_id: str | None = None) -> UpdateResult:
    """Validate an update, and deliver it to the run that is meant, or keep it for that run."""
    for _ in range(_HOPS_AT_MOST):
        run = await head_of(kernel.store, run_id)
        if run is None or not is_visible(kernel.config, run):
            return UpdateResult(accepted=False, reason=f"no run has the id {run_id!r}")
        if reason := _cannot_receive(run) or await _refusal_of(kernel, run, name, arg):
            return UpdateResult(accepted=False, reason=reason)
        try:
            result = await retry_conflicts(kernel.clock, partial(_deliver, kernel, run.id, name, arg, update_id))
        except SerializationError as error:
            return UpdateResult(accepted=False, reason=str(error))
        if result is not None:
            return result
    raise StoreConflictError(
        f"run {run_id!r} continued as a new run each time update {name!r} was sent to it. Send it again"
    )


async def _refusal_of(kernel: Kernel, run: Run, name: str, arg: Json) -> str | None:
    validator = kernel.update_validators.get((run.workflow, name))
    if validator is None:
        definition = kernel.registry.find(run.workflow, run.workflow_version)
        validator = None if definition is None else definition.updates.get(name)
    return None if validator is None else await _verdict(kernel, validator, name, arg)


async def _deliver(kernel: Kernel, run_id: str, name: str, arg: Json, update_id: str | None) -> UpdateResult | None:
    """Hand over or keep a validated update, if the run still lives; None if it continued as a new run meanwhile.

    Raises:
        SerializationError: the run waits for the update, and it does not fit what the call declares.

    The run stays locked until the update is kept. If the run continues after this transaction, the new run finds the
    update. If it continued before, this transaction finds the run ended.
    """
    token = update_token(run_id, name)
    with kernel.local_worker.place() as place:
        async with kernel.store.transaction(timeout=kernel.config.transaction_timeout) as transaction:
            await transaction.lock_name(signal_lock(token))
            run = await transaction.lock_run(run_id)
            if run is None:
                return UpdateResult(accepted=False, reason=f"no run has the id {run_id!r}")
            if await successor_of(transaction, run) is not None:
                return None
            if reason := _cannot_receive(run):
                return UpdateResult(accepted=False, reason=reason)
            now = kernel.clock.now()
            receiver = await deliver_or_buffer(
                transaction,
                token,
                arg,
                namespace=run.namespace,
                now=now,
                place=place,
                codec=kernel.codec,
                what=f"update {name!r}",
                delivery_id=update_id,
            )
    if receiver is not None:
        tell_receiver(kernel.notifications, receiver, place)
    return UpdateResult(accepted=True, received=receiver is not None)


def _cannot_receive(run: Run) -> str | None:
    if run.status.is_terminal or run.status is RunStatus.CANCELLING:
        return f"run {run.id!r} is {run.status} and accepts no updates"
    return None


async def _verdict(kernel: Kernel, validator: UpdateValidator, name: str, arg: Json) -> str | None:
    """Return the validator's verdict. The type of its parameter is checked first."""
    definition = step_definition(validator)
    try:
        value = kernel.codec.decode(arg, definition.input_type, what=f"update {name!r}")
        verdict: Any = validator() if definition.input_type is NoInput else validator(value)
        if inspect.isawaitable(verdict):
            verdict = await verdict
    except SerializationError as error:
        return str(error)
    except BaseException as error:
        if is_interruption(error):
            raise
        return error_record(error).message
    return verdict or None
