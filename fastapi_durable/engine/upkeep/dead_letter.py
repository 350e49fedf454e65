"""Runs that are given up as dead, and the workflow that is told of them.

The run `dlq:<dead run>` is created in the transaction that buries the run, so it is started exactly once: neither is
there without the other. The dead letter's own run, should it die as well, has no successor.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from fastapi_durable.declare.definition import WorkflowDefinition, is_workflow, workflow, workflow_definition
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.create import new_run
from fastapi_durable.engine.runs.input import encode_input
from fastapi_durable.model.errors import InputValidationError, WorkflowNotRegisteredError
from fastapi_durable.model.records import ErrorRecord, Json, Run
from fastapi_durable.model.reserved import DEAD_LETTER

_log = logging.getLogger("fastapi_durable")

DeadLetterWorkflow = Callable[..., object] | str


class DeadLetter(BaseModel):
    """The input of a dead-letter workflow; its stored names are the reference's.

    Attributes:
        input: That of the dead run, in its JSON form.
        error: Why it was given up.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    dead_run_id: str
    workflow: str
    input: Json = None
    error: Json = None


def inline_handlers(definitions: Iterable[WorkflowDefinition]) -> list[WorkflowDefinition]:
    """The workflows that others name as their dead-letter workflow by the function itself.

    A plain `async def (ctx, letter: DeadLetter)` becomes the workflow `<name>.dlq`.
    """
    found: dict[tuple[str, str], WorkflowDefinition] = {}
    for definition in definitions:
        handler = definition.dead_letter
        if handler is None or isinstance(handler, str):
            continue
        if not is_workflow(handler):
            workflow(name=f"{definition.name}.dlq", version=definition.version)(handler)
        declared = workflow_definition(handler)
        found[declared.key] = declared
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Letter:
    """The run that is to be told of a dead one, and what it is a run of."""

    run: Run
    definition: WorkflowDefinition


def dead_letter_of(kernel: Kernel, run: Run, error: ErrorRecord) -> Letter | None:
    """The run that is to be told of a dead one; None if nobody is."""
    if DEAD_LETTER.begins(run.id):
        return None
    definition = kernel.registry.find(run.workflow, run.workflow_version)
    handler = (definition and definition.dead_letter) or kernel.dead_letter
    if handler is None:
        return None
    content = DeadLetter(dead_run_id=run.id, workflow=run.workflow, input=run.input, error=error.to_json())
    try:
        receiver = kernel.registry.resolve(handler)
        encoded = encode_input(kernel.codec, receiver, content.model_dump(mode="json", by_alias=True), given=True)
        letter = new_run(
            kernel,
            receiver,
            encoded,
            run_id=f"{DEAD_LETTER}{run.id}",
            namespace=run.namespace,
            traceparent=run.traceparent,
        )
    except (InputValidationError, WorkflowNotRegisteredError):
        # The dead run is buried all the same: it would be driven, and die, for ever.
        _log.exception("run %s is dead, and its dead-letter workflow cannot be started", run.id)
        return None
    return Letter(letter, receiver)
