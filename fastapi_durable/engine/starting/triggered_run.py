"""The run that an event starts, directly or through an accumulator."""

from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.create import new_run
from fastapi_durable.engine.runs.input import encode_input
from fastapi_durable.model.records import Json, Run
from fastapi_durable.model.reserved import EVENT_RUN, engine_id
from fastapi_durable.model.run_ids import derived_run_id


def triggered_run(
    kernel: Kernel,
    definition: WorkflowDefinition,
    event_id: str,
    payload: Json,
    namespace: str,
    traceparent: str | None,
) -> Run:
    """The run that an event starts: `evt:<event id>:<workflow>`, in the trace of who published the event.

    Raises:
        InputValidationError: the payload is no input of the workflow, or the id would be too long.
    """
    run_id = engine_id(EVENT_RUN, namespace, event_id, definition.name)
    return new_run(
        kernel,
        definition,
        encode_input(kernel.codec, definition, payload, given=payload is not None),
        run_id=derived_run_id(run_id, "the run that the event starts", "Give the event a shorter id."),
        namespace=namespace,
        traceparent=traceparent,
    )
