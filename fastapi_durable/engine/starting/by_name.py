"""Completes a run that a client has started by the workflow's name, without the workflow's code.

The start stores what the caller gave. It cannot know the type of the input and its default, the tags, the schema of the
search attributes, the execution timeout and the key of a singleton. A tag says that they are missing. The worker that
claims the run first adds them, before the run takes its turn among those of its key and before its body begins.

This is one transaction under the lease. A crash before its commit leaves the run as it was, and the next claim does the
same. A worker that has lost the lease writes nothing. What an operator does at the same time, such as a pause, waits
for the run's lock and is kept.
"""

from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.primitives.search_attributes import checked_attributes
from fastapi_durable.engine.runs.input import encode_input
from fastapi_durable.engine.runs.labels import labelled
from fastapi_durable.model.records import BY_NAME_TAG, BY_NAME_TAGS, NO_INPUT_TAG, Run, RunChanges, RunStatus


def is_incomplete(run: Run) -> bool:
    """Return whether a client has started the run by name, and a worker is to complete it."""
    if not run.tags or run.status is not RunStatus.RUNNING:
        return False
    return BY_NAME_TAG in run.tags or NO_INPUT_TAG in run.tags


async def complete(kernel: Kernel, definition: WorkflowDefinition, run_id: str, token: str) -> Run | None:
    """Return the run with what its workflow declares, as it is stored now. None: the lease is lost.

    Raises:
        InputValidationError: the start would have been refused with this error. Nothing was written.
    """
    async with kernel.store.transaction(timeout=kernel.config.transaction_timeout) as transaction:
        run = await transaction.lock_run(run_id)
        if run is None:
            return None
        given = NO_INPUT_TAG not in run.tags
        input = encode_input(kernel.codec, definition, run.input, given=given)
        tags = labelled(kernel.codec, definition, input, [tag for tag in run.tags if tag not in BY_NAME_TAGS])
        timeout = definition.execution_timeout
        begins_at = run.created_at if run.wake_at is None else max(run.created_at, run.wake_at)
        changes: RunChanges = {
            "input": input,
            "tags": tags,
            "search_attributes": checked_attributes(kernel.codec, definition, run.search_attributes),
            "expires_at": None if timeout is None else begins_at + timeout,
            "updated_at": kernel.clock.now(),
        }
        is_ours = await transaction.update_run(run_id, changes, token=token)
    return run.changed(**changes) if is_ours else None
