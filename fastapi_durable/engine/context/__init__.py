"""`WorkflowContext`: what a workflow's body can ask for. Every call takes its position at once, in call order."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi_durable.engine.branches import gather_branches
from fastapi_durable.engine.context.children import ChildCalls
from fastapi_durable.engine.context.lifetime import LifetimeCalls
from fastapi_durable.engine.context.steps import StepCalls
from fastapi_durable.engine.context.values import ValueCalls
from fastapi_durable.engine.context.waits import WaitCalls

Output = TypeVar("Output")


class WorkflowContext(StepCalls, WaitCalls, ChildCalls, ValueCalls, LifetimeCalls):
    """The durable side of one run; the engine passes it to the workflow's body.

    Await each call where it stands, or several of them together with `asyncio.gather`.
    """

    @property
    def run_id(self) -> str:
        return self._turn.run.id

    @property
    def workflow(self) -> str:
        return self._turn.run.workflow

    @property
    def workflow_version(self) -> str:
        return self._turn.run.workflow_version

    @property
    def namespace(self) -> str:
        return self._turn.run.namespace

    def gather(
        self, *branches: "Callable[[WorkflowContext], Coroutine[Any, Any, Output]]"
    ) -> Coroutine[Any, Any, list[Output]]:
        """Run several sequences of calls side by side, each on a context of its own.

        A branch takes its positions for itself, so branches of several calls replay the same whatever their timing.
        For single steps `asyncio.gather(ctx.step(...), ctx.step(...))` does. A branch uses no other context than its
        own, and this one is used again only after `gather` has returned.

        Raises:
            GatherError: its `failures` hold what the branches raised, after all of them have ended.
        """
        scopes = self._scope.deal(len(branches))
        calls = [branch(WorkflowContext(self._turn, scope)) for branch, scope in zip(branches, scopes, strict=True)]
        return gather_branches(self._scope, scopes, calls)
