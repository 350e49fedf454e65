"""Starts the workflows of `on_success=` and `on_failure=` when a run has ended.

The follow-up `ended:<run>` is created in the transaction that ends the run, so each ending starts exactly one. A run
that failed, was retried and ended again has one for each ending: `ended@2:<run>` and so on. A follow-up has no
follow-up itself, so two workflows cannot start each other without end.
"""

import logging
from dataclasses import replace
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.create import new_run
from fastapi_durable.engine.runs.input import encode_input
from fastapi_durable.engine.runs.operator_log import RETRY_TRACE
from fastapi_durable.engine.upkeep.letter import Letter
from fastapi_durable.model.errors import InputValidationError, WorkflowNotRegisteredError
from fastapi_durable.model.records import ErrorRecord, Json, Run, RunStatus
from fastapi_durable.model.reserved import FOLLOW_UP
from fastapi_durable.store.base import StoreTransaction

_log = logging.getLogger("fastapi_durable")

_LOOKED_AT: Final = 1000


class EndedRun(BaseModel):
    """The input of a workflow that `on_success=` or `on_failure=` names.

    Attributes:
        input, output: Those of the run, in their JSON form.
        error: Why it failed, with `message`, `type` and `code`; None: it completed.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    run_id: str
    workflow: str
    status: Literal["completed", "failed"]
    input: Json = None
    output: Json = None
    error: Json = None


def follow_up_of(
    kernel: Kernel,
    definition: WorkflowDefinition,
    run: Run,
    status: RunStatus,
    output: Json,
    error: ErrorRecord | None,
) -> Letter | None:
    """Return the follow-up of the end of a run. None if there is none."""
    match status:
        case RunStatus.COMPLETED:
            handler, ended = definition.on_success, "completed"
        case RunStatus.FAILED:
            handler, ended = definition.on_failure, "failed"
        case _:
            return None
    if handler is None or FOLLOW_UP.begins(run.id):
        return None
    content = {
        "runId": run.id,
        "workflow": run.workflow,
        "status": ended,
        "input": run.input,
        "output": output,
        "error": None if error is None else error.to_json(),
    }
    try:
        receiver = kernel.registry.resolve(handler)
        follow_up = new_run(
            kernel,
            receiver,
            encode_input(kernel.codec, receiver, content, given=True),
            run_id=_id_of(run.id, 1),
            namespace=run.namespace,
            traceparent=run.traceparent,
        )
    except (InputValidationError, WorkflowNotRegisteredError):
        # The run ends all the same. Otherwise it would be driven to the same end again and again.
        _log.exception("run %s has ended, and what is to follow cannot be started", run.id)
        return None
    return Letter(follow_up, receiver)


async def follow_up_of_this_ending(transaction: StoreTransaction, ended: Run, follow_up: Run) -> Run:
    """Return `follow_up` with an id that no earlier ending has used, in the transaction that ends the run.

    An existing one belongs to an earlier ending: before a retry, or of a deleted run that had the same id.
    """
    retries = await transaction.list_checkpoints_by_name_prefix(ended.id, [RETRY_TRACE])
    failures = sum(isinstance(row.output, dict) and row.output.get("status") == RunStatus.FAILED for row in retries)
    for number in range(1 + failures, 1 + failures + _LOOKED_AT):
        follow_up = replace(follow_up, id=_id_of(ended.id, number))
        if await transaction.find_run(follow_up.id) is None:
            break
    return follow_up


def _id_of(run_id: str, number: int) -> str:
    """`@2:` is not a namespace: those have a length and a dot."""
    return f"{FOLLOW_UP}{run_id}" if number == 1 else f"{FOLLOW_UP.word}@{number}:{run_id}"
