"""`engine.retry_with_input`: do the work of an ended run again, with another input, as a new run.

The new run has the origin's version, tags, attributes, priority, namespace and parent. The origin stays as it ended,
with a trace of its retry.
"""

import uuid
from typing import Any

from fastapi_durable.engine.core.conflict import retry_conflicts
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.completion import child_token
from fastapi_durable.engine.runs.input import encode_input
from fastapi_durable.engine.runs.labels import relabelled
from fastapi_durable.engine.runs.operator_log import leave_trace
from fastapi_durable.engine.runs.retries import retry_run_id
from fastapi_durable.model.errors import RunNotFoundError, RunStateError
from fastapi_durable.model.records import Run


async def retry_with_input(kernel: Kernel, run_id: str, input: Any, *, given: bool) -> Run:
    """The new run, pending.

    Raises:
        RunNotFoundError: no run has this id.
        RunStateError: it is still alive; two runs would do the same work.
        WorkflowNotRegisteredError: its version is not registered here.
        InputValidationError: the input does not fit; nothing was started.
    """
    new_id = retry_run_id(run_id, uuid.uuid4().hex[:8])
    run = await retry_conflicts(kernel.clock, lambda: _start(kernel, run_id, new_id, input, given))
    kernel.notifications.work_available()
    return run


async def _start(kernel: Kernel, run_id: str, new_id: str, input: Any, given: bool) -> Run:
    async with kernel.store.transaction(timeout=kernel.config.transaction_timeout) as transaction:
        await transaction.lock_name(child_token(run_id))
        origin = await transaction.lock_run(run_id)
        if origin is None:
            raise RunNotFoundError(run_id)
        if not origin.status.is_terminal:
            raise RunStateError(run_id, origin.status, "retried with another input: cancel it first")
        definition = kernel.registry.get(origin.workflow, origin.workflow_version)
        encoded = encode_input(kernel.codec, definition, input, given=given)
        now = kernel.clock.now()
        created = await transaction.create_run(
            Run(
                id=new_id,
                workflow=origin.workflow,
                workflow_version=origin.workflow_version,
                input=encoded,
                tags=relabelled(kernel.codec, definition, encoded, origin.tags),
                search_attributes=origin.search_attributes,
                priority=origin.priority,
                queue=origin.queue,
                fairness_key=origin.fairness_key,
                namespace=origin.namespace,
                origin=origin.origin,
                parent_run_id=origin.parent_run_id,
                parent_seq=origin.parent_seq,
                expires_at=None if origin.expires_at is None else now + (origin.expires_at - origin.created_at),
                traceparent=origin.traceparent,
                created_at=now,
                updated_at=now,
            )
        )
        await leave_trace(transaction, run_id, "retry_with_input", {"run_id": new_id}, now=now)
        return created.run
