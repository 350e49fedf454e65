"""Singletons: of all runs of a workflow with the same key, at most `limit` are under way at the same time.

A slot is a row: a waiter `singleton:<gate>:slot:<n>` that belongs to the run. A token has one owner, so the database
itself keeps the limit. Slots are removed with the run's other waiters, in the transaction that ends the run. A run
without a slot leaves `singleton:<gate>:queue:<creation>:<id>` and suspends. The ending that frees a slot wakes the
first waiting run that still sleeps. A run that passes the gate and leaves slots free wakes the next one. Both sides
hold the gate's name, so no wake-up is lost.
"""

from datetime import datetime, timedelta
from typing import Any

from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.declare.signature import NoInput
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.model.clock import Clock, to_millis
from fastapi_durable.model.errors import InputValidationError, LeaseLostError, SingletonQueueFullError
from fastapi_durable.model.records import LIVE_STATUSES, Json, Run, RunQuery, RunStatus, SignalWaiter
from fastapi_durable.model.reserved import SINGLETON
from fastapi_durable.model.text import fits_index, index_rule
from fastapi_durable.store.base import StoreTransaction

SINGLETON_TAG = str(SINGLETON)

_KEY_LIMIT = 200
_SEQ = -1
"""Not a position of a body, because nothing is delivered to these waiters."""

_LOOK_AGAIN = timedelta(seconds=30)
"""Poll interval of a waiting run, in case its predecessor was removed without ending."""

_LOOKED_AT = 100
"""Maximum number of waiting runs that one transaction reads."""


def singleton_tag(codec: Codec, definition: WorkflowDefinition, input: Json) -> str | None:
    """Return the tag of a run with this encoded input. None if the workflow is not a singleton.

    Raises:
        InputValidationError: the key cannot be computed from the input, or cannot be stored.
    """
    if definition.singleton is None:
        return None
    key_of = definition.singleton.key
    try:
        if definition.input_type is NoInput:
            key: Any = key_of(None)
        else:
            key = key_of(codec.decode(input, definition.input_type, what=f"the input of {definition.name!r}"))
        text = str(key)
    except Exception as error:
        raise InputValidationError(
            f"the singleton key function of workflow {definition.name!r} failed: {error}"
        ) from error
    if not fits_index(text, _KEY_LIMIT):
        raise InputValidationError(
            f"the singleton key of workflow {definition.name!r} must be {index_rule(_KEY_LIMIT)}, got {text[:80]!r}"
        )
    return f"{SINGLETON_TAG}{text}"


def gate_of(run: Run) -> str | None:
    """Return the name of the gate that the run must pass: namespace, workflow and key. None if it is not a
    singleton.
    """
    if not run.tags:
        return None
    tag = next((tag for tag in run.tags if tag.startswith(SINGLETON_TAG)), None)
    if tag is None:
        return None
    # The lengths make the name unambiguous.
    parts = (run.namespace, run.workflow, tag.removeprefix(SINGLETON_TAG))
    return SINGLETON_TAG + ":".join(f"{len(part)}.{part}" for part in parts)


def key_waited_for(token: str) -> str | None:
    """Return the key for whose slot the run of this waiter queues. None for other waiters, such as that of a slot."""
    if not token.startswith(SINGLETON_TAG):
        return None
    rest, part = token.removeprefix(SINGLETON_TAG), ""
    for _ in range(3):
        length, _, rest = rest.partition(".")
        if not length.isdecimal():
            return None
        part, rest = rest[: int(length)], rest[int(length) + 1 :]
    return part if rest.startswith("queue:") else None


async def check_depth(transaction: StoreTransaction, definition: WorkflowDefinition, run: Run) -> None:
    """Refuse another run if the queue is full. The caller holds the gate's name.

    Raises:
        SingletonQueueFullError: the queue is full, and no run of this id exists.
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
        Whether the run may continue. False: it waits, and its lease is released.

    Raises:
        LeaseLostError: the run is not leased under `token` any more.
    """
    slots, queue = f"{gate}:slot:", f"{gate}:queue:"
    if await kernel.store.list_signal_waiters(prefix=slots, run_ids=[run.id], limit=1):
        return True
    place = SignalWaiter(token=f"{queue}{to_millis(run.created_at):015d}:{run.id}", run_id=run.id, seq=_SEQ)
    woken = False
    async with kernel.store.transaction(timeout=kernel.config.transaction_timeout) as transaction:
        await transaction.lock_name(gate)
        stored = await transaction.lock_run(run.id)
        if stored is None or stored.locked_by != token:
            raise LeaseLostError(run.id)
        taken = {waiter.token for waiter in await transaction.list_signal_waiters(prefix=slots)}
        free = limit - len(taken)
        # Runs that have waited longer come first. A newer run does not overtake them.
        passes = free > 0 and await _waiting_before(transaction, queue, place, at_most=free) < free
        if passes:
            number = next(number for number in range(len(taken) + 1) if f"{slots}{number}" not in taken)
            await transaction.put_signal_waiter(SignalWaiter(token=f"{slots}{number}", run_id=run.id, seq=_SEQ))
            await transaction.remove_signal_waiter(place)
            # Wake the next run if a slot is still free. No ending announces a slot that a deploy added, or a slot whose
            # wake-up reached a run that was awake already. The wake-up is part of this transaction, so a crash after
            # the commit cannot lose it.
            woken = free > 1 and await _wake_next(transaction, gate, kernel.clock.now())
        elif stored.status is RunStatus.RUNNING:
            await _queue_up(transaction, kernel.clock, place, token)
        else:
            # The run is being cancelled and never began, so there is nothing to undo.
            passes = True
    if woken:
        kernel.notifications.work_available()
    return passes


async def _queue_up(transaction: StoreTransaction, clock: Clock, place: SignalWaiter, token: str) -> None:
    """Store the run's place in the queue, and suspend the run."""
    await transaction.put_signal_waiter(place)
    now = clock.now()
    await transaction.update_run(
        place.run_id,
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


async def _waiting_before(transaction: StoreTransaction, queue: str, place: SignalWaiter, *, at_most: int) -> int:
    """Return how many runs before `place` in the queue can continue. Counting stops at `at_most`.

    A blocked or paused run keeps its place, but does not keep a slot empty meanwhile.
    """
    count = 0
    for waiter in await transaction.list_signal_waiters(prefix=queue, limit=_LOOKED_AT):
        if count == at_most or waiter.token.encode() >= place.token.encode():
            break
        run = await transaction.find_run(waiter.run_id)
        if run is not None and run.status is not RunStatus.BLOCKED and not run.is_paused:
            count += 1
    return count


async def _wake_next(transaction: StoreTransaction, gate: str, now: datetime) -> bool:
    """Wake the run that has waited longest and still sleeps. The caller holds the gate's name.

    A run that is awake comes to the gate anyway. A second wake-up for it would leave another slot empty.
    """
    for waiter in await transaction.list_signal_waiters(prefix=f"{gate}:queue:", limit=_LOOKED_AT):
        run = await transaction.find_run(waiter.run_id)
        sleeps = run is not None and run.status is RunStatus.SUSPENDED and (run.wake_at is None or run.wake_at > now)
        if run is not None and sleeps and not run.is_paused:
            return await transaction.wake_run(run.id, now=now)
    return False


async def leave_gate(transaction: StoreTransaction, clock: Clock, run: Run) -> None:
    """Wake one run that waits for a slot, in the transaction that ends `run`, after its waiters are removed."""
    gate = gate_of(run)
    if gate is not None:
        await _wake_next(transaction, gate, clock.now())


async def transfer_slot(transaction: StoreTransaction, run: Run, successor: Run) -> None:
    """Transfer the slot of a run to the run that continues it, in the same transaction.

    Call this before the waiters of `run` are removed.
    """
    gate = gate_of(run)
    if gate is None:
        return
    for waiter in await transaction.list_signal_waiters(prefix=f"{gate}:slot:", run_ids=[run.id]):
        await transaction.remove_signal_waiter(waiter)
        await transaction.put_signal_waiter(SignalWaiter(token=waiter.token, run_id=successor.id, seq=_SEQ))
