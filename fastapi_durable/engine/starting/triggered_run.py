"""The run that an event starts, directly or through an accumulator."""

from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.create import new_run
from fastapi_durable.engine.runs.input import encode_input
from fastapi_durable.model.records import Json, Run
from fastapi_durable.model.reserved import EVENT_RUN, engine_id, other_event, scoped
from fastapi_durable.model.run_ids import derived_run_id


def triggered_run(
    kernel: Kernel,
    definition: WorkflowDefinition,
    event_id: str,
    payload: Json,
    namespace: str,
    traceparent: str | None,
    other_name: str | None = None,
) -> Run:
    """Return the run that an event starts, `evt:<event id>:<workflow>`, in the trace of the event's publisher.

    Args:
        other_name: Name of the event, if it is not the first one in `on_event=`; see `name_in_id`.

    Raises:
        InputValidationError: the payload does not fit the workflow's input, or the id would be too long.
    """
    run_id = _run_id(namespace, event_id, definition.name, other_name)
    return new_run(
        kernel,
        definition,
        encode_input(kernel.codec, definition, payload, given=payload is not None),
        run_id=derived_run_id(run_id, "the run that the event starts", "Give the event a shorter id."),
        namespace=namespace,
        traceparent=traceparent,
    )


def name_in_id(definition: WorkflowDefinition, event_name: str) -> str | None:
    """Return the name of an event, if the id of its run must contain it: for every trigger except the first.

    Without it, two events of one id would start one run. Ids of the first trigger's runs keep the form of
    nestjs-durable.
    """
    return None if event_name == definition.triggers[0] else event_name


def _run_id(namespace: str, event_id: str, workflow: str, other_name: str | None) -> str:
    if other_name is None:
        return engine_id(EVENT_RUN, namespace, event_id, workflow)
    # The name comes first, with its length, so that the rest cannot be read as part of it.
    return f"{other_event(other_name)}{scoped(namespace, f'{event_id}:{workflow}')}"
