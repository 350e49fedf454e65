"""The run that an event starts, directly or through an accumulator."""

from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.input import encode_input
from fastapi_durable.engine.runs.labels import labelled
from fastapi_durable.engine.runs.namespaces import within
from fastapi_durable.model.records import Json, Run


def triggered_run(kernel: Kernel, definition: WorkflowDefinition, event_id: str, payload: Json, namespace: str) -> Run:
    """The run that an event starts: `evt:<event id>:<workflow>`.

    Raises:
        InputValidationError: the payload is no input of the workflow.
    """
    now = kernel.clock.now()
    encoded = encode_input(kernel.codec, definition, payload, given=payload is not None)
    return Run(
        id=f"evt:{within(namespace, event_id)}:{definition.name}",
        workflow=definition.name,
        workflow_version=definition.version,
        input=encoded,
        tags=labelled(kernel.codec, definition, encoded),
        namespace=namespace,
        origin=definition.origin,
        expires_at=None if definition.execution_timeout is None else now + definition.execution_timeout,
        created_at=now,
        updated_at=now,
    )
