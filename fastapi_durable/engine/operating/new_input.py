"""`engine.retry_with_input`: do the work of an ended run again, with another input, as a new run.

The new run has the origin's version, tags, attributes, priority, namespace and parent. The origin stays as it ended,
with a trace of its retry.
"""

import uuid
from typing import Any

from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.engine.core.conflict import retry_conflicts
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.chain import lock_head
from fastapi_durable.engine.runs.completion import child_token
from fastapi_durable.engine.runs.create import admit, names_of_beginning, run_like
from fastapi_durable.engine.runs.input import encode_input
from fastapi_durable.engine.runs.labels import relabelled
from fastapi_durable.engine.runs.operator_log import leave_trace
from fastapi_durable.model.errors import RunNotFoundError, RunStateError
from fastapi_durable.model.records import Run
from fastapi_durable.model.run_ids import derived_run_id, retry_run_id


async def retry_with_input(kernel: Kernel, run_id: str, input: Any, *, given: bool) -> Run:
    """Create the new run, pending.

    Raises:
        RunNotFoundError: no run has this id.
        RunStateError: the run, or the run that it continued as, is alive. Two runs would do the same work.
        WorkflowNotRegisteredError: the version of the run is not registered here.
        InputValidationError: the input does not fit, or the new id would be too long. Nothing was started.
        SingletonQueueFullError: too many runs of the singleton key are alive. Nothing was started.
    """
    origin = await kernel.store.find_run(run_id)
    if origin is None:
        raise RunNotFoundError(run_id)
    definition = kernel.registry.get(origin.workflow, origin.workflow_version)
    encoded = encode_input(kernel.codec, definition, input, given=given)
    new_id = derived_run_id(
        retry_run_id(run_id, uuid.uuid4().hex[:8]), f"a retry of {run_id[:80]!r}", "Retry the original run instead."
    )
    wanted = run_like(
        origin,
        kernel.clock,
        run_id=new_id,
        keeps_parent=True,
        keeps_expiry=False,
        definition=definition,
        input=encoded,
        tags=relabelled(kernel.codec, definition, encoded, origin.tags),
    )
    run = await retry_conflicts(kernel.clock, lambda: _start(kernel, run_id, definition, wanted))
    kernel.notifications.work_available()
    return run


async def _start(kernel: Kernel, run_id: str, definition: WorkflowDefinition, wanted: Run) -> Run:
    async with kernel.store.transaction(timeout=kernel.config.transaction_timeout) as transaction:
        for name in sorted([child_token(run_id), *names_of_beginning(definition, wanted)]):
            await transaction.lock_name(name)
        # The run that it continued as is locked with it, because two runs must not do the same work.
        living = await lock_head(transaction, run_id)
        if living is None:
            raise RunNotFoundError(run_id)
        if not living.status.is_terminal:
            raise RunStateError(living.id, living.status, "retried with another input. Cancel it first")
        created = await admit(transaction, definition, wanted)
        await leave_trace(transaction, run_id, "retry_with_input", {"run_id": wanted.id}, now=wanted.created_at)
        return created.run
