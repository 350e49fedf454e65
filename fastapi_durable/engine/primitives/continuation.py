"""`ctx.continue_as_new`: end a run and start the next one with an empty history, in one transaction.

The new run takes over everything that belongs to the chain: namespace, tags, attributes, priority, parent and expiry. A
waiting parent now waits for the new run. A singleton run with the same key keeps its slot. With another key, it frees
the slot, and waits for one of the new key before its first turn. Accepted updates that were not received yet are kept
under the chain's name, so the same commit gives them to the new run.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.engine.runs.chain import lead_chain
from fastapi_durable.engine.runs.completion import child_token
from fastapi_durable.engine.runs.create import run_like
from fastapi_durable.engine.runs.operator_log import is_trace
from fastapi_durable.engine.runs.settlement import ending, lock_waiting_runs
from fastapi_durable.engine.runs.singleton import gate_of, leave_gate, transfer_slot
from fastapi_durable.model.clock import Clock
from fastapi_durable.model.records import Json, Run, RunChanges, RunStatus, SignalWaiter
from fastapi_durable.model.run_ids import next_run_id
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.port.checkpoints import PreparedCheckpoint


async def continue_run(
    store: StateStore,
    clock: Clock,
    run: Run,
    definition: WorkflowDefinition,
    input: Json,
    tags: Collection[str],
    token: str,
    checkpoints: Sequence[PreparedCheckpoint],
) -> bool:
    """Complete `run` and create its successor. Return False if the run has changed since the caller read it.

    Args:
        checkpoints: What the run recorded last, stored by the same commit.
    """
    gate = gate_of(run)
    moves = gate is not None and gate != gate_of(replace(run, workflow=definition.name, tags=tuple(tags)))
    async with store.transaction() as transaction:
        await transaction.lock_name(child_token(run.id))
        if gate is not None and moves:
            # Lock the gate, like every ending that frees a slot: a run that comes to the gate meanwhile must not miss
            # its wake-up.
            await transaction.lock_name(gate)
        await lock_waiting_runs(transaction, run.id)
        stored = await transaction.lock_run(run.id)
        completed = await transaction.update_run(
            run.id,
            ending(clock, RunStatus.COMPLETED),
            statuses=(RunStatus.RUNNING,),
            token=token,
            wake_count=run.wake_count,
            checkpoints=checkpoints,
        )
        if stored is None or not completed:
            return False
        successor = run_like(
            # Read the stored attributes, because the body may have changed them in this turn.
            replace(run, search_attributes=stored.search_attributes),
            clock,
            run_id=next_run_id(run.id),
            keeps_parent=True,
            keeps_expiry=True,
            definition=definition,
            input=input,
            tags=tags,
        )
        # The singleton's limit is not checked: the new run replaces a run that ends in this transaction.
        await transaction.create_run(successor)
        if not moves:
            await transfer_slot(transaction, run, successor)
        await transaction.remove_signal_waiters_of_run(run.id)
        if moves:
            # Wake the next run after the removal of the slot, and in the same transaction, so that a crash leaves both
            # or neither.
            await leave_gate(transaction, clock, run)
        await lead_chain(transaction, successor)
        waiter = await transaction.take_signal_waiter(child_token(run.id))
        if waiter is not None:
            await transaction.put_signal_waiter(
                SignalWaiter(
                    token=child_token(successor.id),
                    run_id=waiter.run_id,
                    seq=waiter.seq,
                    parallel_group=waiter.parallel_group,
                )
            )
        return True


async def restart_run(store: StateStore, clock: Clock, run: Run, input: Json, token: str) -> bool:
    """Restart `run` itself with another input and an empty history.

    This is for the engine's own runs that never end: other runs know their ids. Only traces of operators are kept.

    Returns:
        False if the run has changed since the caller read it. Nothing was written then.
    """
    async with store.transaction() as transaction:
        await transaction.lock_run(run.id)
        changes: RunChanges = {
            "status": RunStatus.PENDING,
            "input": input,
            "wake_at": None,
            "locked_by": None,
            "locked_until": None,
            "updated_at": clock.now(),
        }
        restarted = await transaction.update_run(
            run.id, changes, statuses=(RunStatus.RUNNING,), token=token, wake_count=run.wake_count
        )
        if not restarted:
            return False
        history = await transaction.list_checkpoints(run.id)
        await transaction.remove_checkpoints(run.id, [row.seq for row in history if not is_trace(row)])
        await transaction.remove_signal_waiters_of_run(run.id)
        return True
