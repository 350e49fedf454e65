"""`engine.fork`: a new run that begins with a copy of another one's history, up to a position.

The engine derives some names and ids from the run's id. In the copy they are derived from the new id, because the body
will ask for those. Undone steps and unfinished rows are not copied: the new run executes these itself.
"""

import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace

from fastapi_durable.engine.core.conflict import retry_conflicts
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.create import admit, names_of_beginning, run_like
from fastapi_durable.engine.runs.operator_log import leave_trace
from fastapi_durable.engine.turns.position import FIRST_BRANCH_SEQ
from fastapi_durable.engine.turns.undo import undo_position
from fastapi_durable.model.errors import InputValidationError, RunNotFoundError
from fastapi_durable.model.records import Checkpoint, CheckpointStatus, Run
from fastapi_durable.model.run_ids import derived_run_id, fork_run_id, root_of

_MADE_OF_RUN_ID = r"(?P<before>(?:^|:)(?:child|spawn|wh|bp|task|entityreply):){run_id}(?P<after>[.:]|$)"
_UPDATE_OF_CHAIN = r"(?P<before>(?:^|:)update:){run_id}(?P<after>:)"
_EVENT_OF_RUN_ID = r"(?P<before>signal:event:[^:]*:[^:]*:){run_id}(?P<after>#)"


async def fork(kernel: Kernel, run_id: str, *, from_step: int) -> Run:
    """Create the new run, `<id>~fork~<8 characters>`, of the same version, input, tags, attributes and priority.

    Args:
        from_step: First position that the new run executes itself. 0 copies nothing.

    Raises:
        RunNotFoundError: no run has this id.
        InputValidationError: `from_step` is not a position of the body itself, or the new id would be too long.
        SingletonQueueFullError: too many runs of the singleton key are alive.
    """
    if not 0 <= from_step < FIRST_BRANCH_SEQ:
        raise InputValidationError(f"from_step must be a position of the workflow's body, 0 or more, got {from_step}")
    source = await kernel.store.find_run(run_id)
    if source is None:
        raise RunNotFoundError(run_id)
    new_id = derived_run_id(
        fork_run_id(run_id, uuid.uuid4().hex[:8]), f"a fork of {run_id[:80]!r}", "Fork the original run instead."
    )
    wanted = run_like(source, kernel.clock, run_id=new_id, keeps_parent=False, keeps_expiry=False)
    run = await retry_conflicts(kernel.clock, lambda: _fork(kernel, source, wanted, from_step))
    kernel.notifications.work_available()
    return run


async def _fork(kernel: Kernel, source: Run, wanted: Run, from_step: int) -> Run:
    definition = kernel.registry.find(source.workflow, source.workflow_version)
    async with kernel.store.transaction(timeout=kernel.config.transaction_timeout) as transaction:
        for name in names_of_beginning(definition, wanted):
            await transaction.lock_name(name)
        if await transaction.lock_run(source.id) is None:
            raise RunNotFoundError(source.id)
        created = await admit(transaction, definition, wanted)
        history = await transaction.list_checkpoints(source.id)
        for row in copied(source.id, wanted.id, history, from_step):
            await transaction.save_checkpoint(row)
        now, origin = wanted.created_at, {"from_run_id": source.id, "from_step": from_step}
        await leave_trace(transaction, wanted.id, "fork", origin, now=now)
        await leave_trace(transaction, source.id, "forked", {"run_id": wanted.id, "from_step": from_step}, now=now)
        return created.run


def copied(run_id: str, new_id: str, history: Iterable[Checkpoint], from_step: int) -> Iterator[Checkpoint]:
    """Return the rows of the new run's history."""
    rows = {row.seq: row for row in history}
    # Calls of branches have no place among the positions of the body. Copy those that had ended when the body reached
    # the position.
    later = [row.enqueued_at or row.started_at for row in rows.values() if from_step <= row.seq < FIRST_BRANCH_SEQ]
    boundary = min(later, default=None)
    for row in rows.values():
        if row.seq < 0 or from_step <= row.seq < FIRST_BRANCH_SEQ or not row.status.is_finished:
            continue
        if row.seq >= FIRST_BRANCH_SEQ and boundary is not None and row.finished_at > boundary:
            continue
        undo = rows.get(undo_position(row.seq))
        if undo is not None and undo.status is CheckpointStatus.COMPLETED:
            continue
        key = row.step_id.removeprefix(f"{run_id}:")
        name = renamed(row.name, run_id, new_id)
        yield replace(row, run_id=new_id, step_id=f"{new_id}:{key}", name=name)


def renamed(name: str, run_id: str, new_id: str) -> str:
    """Return the name of a row, with the new run's id where the engine used the old one."""
    made_of = ((_MADE_OF_RUN_ID, run_id), (_EVENT_OF_RUN_ID, run_id), (_UPDATE_OF_CHAIN, root_of(run_id)))
    for pattern, old_id in made_of:
        found = re.compile(pattern.format(run_id=re.escape(old_id)))
        name = found.sub(lambda match: f"{match['before']}{new_id}{match['after']}", name)
    return name
