"""The ways in which callers name a workflow, for type checkers: a function, a class, or a registered name.

Input and result are read from the function's signature, or from that of the class's `run`, so that a wrong input is
found before anything runs, and a handle knows its result.
"""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, Protocol, TypeVar

if TYPE_CHECKING:
    from fastapi_durable.engine.context.workflow_context import WorkflowContext

Input = TypeVar("Input")
Output = TypeVar("Output")
Input_contra = TypeVar("Input_contra", contravariant=True)
Output_co = TypeVar("Output_co", covariant=True)


class WorkflowClass(Protocol[Input_contra, Output_co]):
    """A class with `async def run(self, ctx, input)`; further parameters of `run` are injected."""

    @property
    def run(
        self,
    ) -> "Callable[Concatenate[WorkflowContext, Input_contra, ...], Coroutine[Any, Any, Output_co]]": ...


class WorkflowClassWithoutInput(Protocol[Output_co]):
    """A class with `async def run(self, ctx)`."""

    @property
    def run(self) -> "Callable[Concatenate[WorkflowContext, ...], Coroutine[Any, Any, Output_co]]": ...


WorkflowOf = (
    Callable[Concatenate["WorkflowContext", Input, ...], Coroutine[Any, Any, Output]]
    | type[WorkflowClass[Input, Output]]
)
"""A workflow that takes an `Input` and returns an `Output`."""

WorkflowReturning = (
    Callable[Concatenate["WorkflowContext", ...], Coroutine[Any, Any, Output]] | type[WorkflowClassWithoutInput[Output]]
)
"""A workflow that returns an `Output`, whatever it takes."""

AnyWorkflow = Callable[..., Coroutine[Any, Any, Any]] | type[WorkflowClassWithoutInput[Any]]
"""A workflow, where neither input nor result matters."""
