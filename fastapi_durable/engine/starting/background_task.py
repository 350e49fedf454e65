"""Background tasks: a step that a caller starts as a run of its own, without a workflow around it.

Every step of the module's `steps=[...]` has a workflow `<step>.task` with one call. Its run is an ordinary run:
processes that know the step claim it, the step's policy retries it, the console shows it, and retention keeps it like
any other.
"""

from collections.abc import Callable, Iterable
from typing import Any

from fastapi_durable.declare.definition import StepDefinition, WorkflowDefinition
from fastapi_durable.declare.names import checked_workflow_name
from fastapi_durable.declare.signature import NoInput
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.core.registry import StepRegistry
from fastapi_durable.model.errors import DefinitionError

_VERSION = "1"


def task_workflows(steps: Iterable[StepDefinition]) -> list[WorkflowDefinition]:
    """Return the workflows of the steps that can be background tasks: of all steps whose name is valid for a
    workflow.
    """
    found = {}
    for step in steps:
        try:
            name = checked_workflow_name(_name(step))
        except DefinitionError:
            continue  # `add_task` reports the invalid name
        found[name] = WorkflowDefinition(
            name=name,
            version=_VERSION,
            function=_body(step),
            input_type=step.input_type,
            output_type=step.output_type,
            default=step.default,
        )
    return list(found.values())


def task_workflow(steps: StepRegistry, step: Callable[..., Any] | str) -> str:
    """Return the name of the workflow that runs a step as a background task.

    Raises:
        StepNotRegisteredError: the step is not in the module's `steps=[...]`.
        DefinitionError: another step of this name is registered, or a workflow cannot have the name.
    """
    wanted = steps.resolve(step)
    if steps.get(wanted.name).function != wanted.function:
        raise DefinitionError(f"another step is registered as {wanted.name!r}. Give one of them another name")
    return checked_workflow_name(_name(wanted))


def _name(step: StepDefinition) -> str:
    return f"{step.name}.task"


def _body(step: StepDefinition) -> Callable[..., Any]:
    if step.input_type is NoInput:

        async def call(ctx: WorkflowContext) -> Any:
            return await ctx.step(step.function)

        return call

    async def call_with(ctx: WorkflowContext, input: Any) -> Any:
        return await ctx.step(step.function, input)

    return call_with
