"""The context of the running workflow, for helpers deep in the call stack."""

from contextvars import ContextVar
from typing import TYPE_CHECKING

from fastapi_durable.declare.methods import steps_run_by
from fastapi_durable.declare.scoped_values import ScopedValues
from fastapi_durable.engine.turns.position import refuse_inside_step
from fastapi_durable.model.errors import OutsideWorkflowError

if TYPE_CHECKING:
    from fastapi_durable.engine.context.workflow_context import WorkflowContext

_current: ContextVar["WorkflowContext | None"] = ContextVar("durable_context", default=None)


def current_context() -> "WorkflowContext":
    """Return the context of the workflow that calls this, from its body or a task of it.

    Raises:
        OutsideWorkflowError: the caller is not a workflow, or is a step.
    """
    refuse_inside_step()
    context = _current.get()
    if context is None:
        raise OutsideWorkflowError(
            "current_context() was called outside a workflow. It works in a workflow's body, in the functions that "
            "the body calls, and in the tasks that it creates. Elsewhere, start a workflow or send it a signal with "
            "WorkflowService"
        )
    return context


def ambient_context() -> "WorkflowContext | None":
    """Return the context of the run to which this code belongs, also inside a step. None elsewhere."""
    return _current.get()


def inside_workflow(context: "WorkflowContext") -> ScopedValues:
    """Make `current_context()` return the context while a body runs, and make calls of its class's steps durable."""
    return ScopedValues((_current, context), steps_run_by(context.step))
