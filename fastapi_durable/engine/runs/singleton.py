"""Singletons: of all runs of a workflow with the same key, at most `limit` are under way at a time.

The right to be under way is a row: a waiter `singleton:<gate>:slot:<n>` that belongs to the run. A token has one owner,
so the database itself keeps the limit, whoever gets there first. Slots go with the run's other waiters in the
transaction that ends it, however it ends. A run that gets none leaves `singleton:<gate>:queue:<creation>:<id>` and
suspends; the ending that frees a slot wakes the first of them. Both sides hold the gate's name, so no wake is lost.
"""

from datetime import timedelta
from typing import Any

from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.declare.signature import NoInput
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.model.clock import Clock, to_millis
from fastapi_durable.model.errors import InputValidationError, LeaseLostError, SingletonQueueFullError
from fastapi_durable.model.records import LIVE_STATUSES, Json, Run, RunQuery, RunStatus, SignalWaiter
from fastapi_durable.model.reserved import SINGLETON
from fastapi_durable.store.base import StoreTransaction

SINGLETON_TAG = str(SINGLETON)

_KEY_LIMIT = 200
_SEQ = -1
"""No position of a body: nothing is ever delivered to these waiters."""

_LOOK_AGAIN = timedelta(seconds=30)
"""The net beneath the wake, for a run whose predecessor was removed without ending."""


def singleton_tag(codec: Codec, definition: WorkflowDefinition, input: Json) -> str | None:
    """The tag that a run of this encoded input gets; None if the workflow is no singleton.

    Raises:
        InputValidationError: the key cannot be made, or cannot be stored.
    """
    if definition.singleton is None:
        return None
    key_of = definition.singleton.key
    try:
        if definition.input_type is NoInput:
            key: Any = key_of(None)
        else:
            key = key_of(codec.decode(input, definition.input_type, what=f"the input of {definition.name!r}"))
    except Exception as error:
        raise InputValidationError(f"the singleton key of workflow {definition.name!r} failed: {error}") from error
    text = str(key)
    if not text or len(text) > _KEY_LIMIT or not text.isprintable():
        raise InputValidationError(
            f"a singleton key has 1 to {_KEY_LIMIT} printable characters, {text[:80]!r} of workflow "
            f"{definition.name!r} does not"
        )
    return f"{SINGLETON_TAG}{text}"


def gate_of(run: Run) -> str | None:
    """Names what the run has to pass: its namespace, workflow and key; None if it is no singleton."""
    if not run.tags:
        return None
    tag = next((tag for tag in run.tags if tag.startswith(SINGLETON_TAG)), None)
    if tag is None:
        return None
    # The lengths keep two names from running into one another.
    parts = (run.namespace, run.workflow, tag.removeprefix(SINGLETON_TAG))
    return SINGLETON_TAG + ":".join(f"{len(part)}.{part}" for part in parts)


async def check_depth(transaction: StoreTransaction, definition: WorkflowDefinition, run: Run) -> None:
    """Refuse one more run if the queue is full; the caller holds the gate's name.

    Raises:
        SingletonQueueFullError: it is, and no run of this id exists.
    """
    singleton = definition.singleton
    if singleton is None or singleton.max_queue_depth is None or await transaction.find_run(run.id) is not None:
        return
    tag = next(tag for tag in run.tags if tag.startswith(SINGLETON_TAG))
    alive = await transaction.count_runs(
        RunQuery(workflow=run.workflow, tag=tag, namespace=run.namespace, statuses=LIVE_STATUSES)
    )
    if alive >= singleton.limit + singleton.max_queue_depth:
        raise SingletonQueueFullError(run.workflow, tag.removeprefix(SINGLETON_TAG), alive)


async def pass_gate(kernel: Kernel, run: Run, token: str, gate: str, limit: int) -> bool:
    """Take a slot for a claimed run, or suspend it until one is free.

    Returns:
        Whether the run may go on. False: it waits, and its lease is released.

    Raises:
        LeaseLostError: the run is not leased under `token` any more.
    """
    slots, queue = f"{gate}:slot:", f"{gate}:queue:"
    if await kernel.store.list_signal_waiters(prefix=slots, run_ids=[run.id], limit=1):
        return True
    place = SignalWaiter(token=f"{queue}{to_millis(run.created_at):015d}:{run.id}", run_id=run.id, seq=_SEQ)
    async with kernel.store.transaction(timeout=kernel.config.transaction_timeout) as transaction:
        await transaction.lock_name(gate)
        stored = await transaction.lock_run(run.id)
        if stored is None or stored.locked_by != token:
            raise LeaseLostError(run.id)
        taken = {waiter.token for waiter in await transaction.list_signal_waiters(prefix=slots)}
        free = limit - len(taken)
        if free > 0:
            # The longest waiting come first; who comes new does not overtake them.
            first = await transaction.list_signal_waiters(prefix=queue, limit=free)
            if sum(waiter.token.encode() < place.token.encode() for waiter in first) < free:
                number = next(number for number in range(len(taken) + 1) if f"{slots}{number}" not in taken)
                await transaction.put_signal_waiter(SignalWaiter(token=f"{slots}{number}", run_id=run.id, seq=_SEQ))
                await transaction.remove_signal_waiter(place)
                return True
        if stored.status is not RunStatus.RUNNING:
            # It is being cancelled, and never began: there is nothing that it would do.
            return True
        await transaction.put_signal_waiter(place)
        now = kernel.clock.now()
        await transaction.update_run(
            run.id,
            {
                "status": RunStatus.SUSPENDED,
                "wake_at": now + _LOOK_AGAIN,
                "locked_by": None,
                "locked_until": None,
                "updated_at": now,
            },
            statuses=(RunStatus.RUNNING,),
            token=token,
        )
        return False


async def leave_gate(transaction: StoreTransaction, clock: Clock, run: Run) -> None:
    """Wake the run that has waited longest; part of the transaction that ends `run`, after its waiters are gone."""
    gate = gate_of(run)
    if gate is None:
        return
    for waiter in await transaction.list_signal_waiters(prefix=f"{gate}:queue:", limit=1):
        await transaction.wake_run(waiter.run_id, now=clock.now())


async def transfer_slot(transaction: StoreTransaction, run: Run, successor: Run) -> None:
    """Let the run that continues this one keep its slot; part of the transaction that continues it.

    Called before the waiters of `run` are removed.
    """
    gate = gate_of(run)
    if gate is None:
        return
    for waiter in await transaction.list_signal_waiters(prefix=f"{gate}:slot:", run_ids=[run.id]):
        await transaction.remove_signal_waiter(waiter)
        await transaction.put_signal_waiter(SignalWaiter(token=waiter.token, run_id=successor.id, seq=_SEQ))
