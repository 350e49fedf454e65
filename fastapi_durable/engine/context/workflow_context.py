"""`WorkflowContext`: what a workflow's body can ask for. Every call takes its position at once, in call order."""

from collections.abc import Coroutine
from typing import Any, TypeVar, overload

from fastapi_durable.engine.context.children import ChildCalls
from fastapi_durable.engine.context.dialogue import DialogueCalls
from fastapi_durable.engine.context.entities import EntityCalls
from fastapi_durable.engine.context.lifetime import LifetimeCalls
from fastapi_durable.engine.context.steps import StepCalls
from fastapi_durable.engine.context.streams import StreamCalls
from fastapi_durable.engine.context.values import ValueCalls
from fastapi_durable.engine.context.waits import WaitCalls
from fastapi_durable.engine.primitives.branches import check_branches, gather_branches
from fastapi_durable.engine.primitives.race import Winner, run_race
from fastapi_durable.model.errors import DefinitionError

One = TypeVar("One")
Other = TypeVar("Other")
Output = TypeVar("Output")


class WorkflowContext(
    StepCalls, WaitCalls, DialogueCalls, StreamCalls, ChildCalls, EntityCalls, ValueCalls, LifetimeCalls
):
    """The durable side of one run. The engine passes it to the workflow's body.

    Await each call where it stands, or several of them together with `gather`, `race` or `asyncio.gather`.
    """

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self._turn.run.id

    @property
    def workflow(self) -> str:
        """The name of the workflow."""
        return self._turn.run.workflow

    @property
    def workflow_version(self) -> str:
        """The version of the workflow that the run has."""
        return self._turn.run.workflow_version

    @property
    def namespace(self) -> str:
        """The namespace of the run."""
        return self._turn.run.namespace

    @property
    def is_replaying(self) -> bool:
        """Whether the body repeats recorded calls of an earlier turn.

        Use it for logs and metrics only: a decision that depends on it makes the replay differ. It compares calls with
        the history. Code after the last recorded call, of the body or of a branch, counts as new however often it is
        executed.
        """
        return self._turn.is_replaying

    def gather(self, *branches: Coroutine[Any, Any, Output]) -> Coroutine[Any, Any, list[Output]]:
        """Run coroutines of your own at the same time: `await ctx.gather(ship(ctx, a), ship(ctx, b))`.

        Each branch has its own positions, so branches of several calls replay the same, whatever their timing. Unlike
        `asyncio.gather`, it waits for every branch before it raises.

        Args:
            branches: Coroutines that call the context.

        Returns:
            What the branches return, in order.

        Raises:
            GatherError: at least one branch raised. Its `failures` hold the errors.
            DefinitionError: a branch is not a coroutine.
        """
        check_branches("gather", branches)
        return gather_branches([self._turn.history.positions.open_branch() for _ in branches], branches)

    @overload
    def race(
        self, first: Coroutine[Any, Any, One], second: Coroutine[Any, Any, Other], /
    ) -> Coroutine[Any, Any, Winner[One | Other]]: ...
    @overload
    def race(
        self,
        first: Coroutine[Any, Any, One],
        second: Coroutine[Any, Any, Other],
        third: Coroutine[Any, Any, Output],
        /,
    ) -> Coroutine[Any, Any, Winner[One | Other | Output]]: ...
    @overload
    def race(self, *branches: Coroutine[Any, Any, Output]) -> Coroutine[Any, Any, Winner[Output]]: ...
    def race(self, *branches: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Winner[Any]]:
        """Run coroutines at the same time until the first one ends: `await ctx.race(ask(ctx), ctx.sleep("1h"))`.

        The winner is recorded, so a replay has the same one; `asyncio.wait` and `asyncio.timeout` cannot promise that.
        If several branches got their answer while no worker drove the run, the earliest answer wins. The other
        branches are cancelled, with the children that they wait for. What is sent to them later is kept for the next
        wait. A call takes one position, and those of its branches.

        Args:
            branches: Coroutines that call the context.

        Returns:
            The index of the winner, and what it returned.

        Raises:
            Exception: what the winner raised.
            DefinitionError: there is no branch, or a branch is not a coroutine.
        """
        if not branches:
            raise DefinitionError("a race must have at least one branch, got none")
        check_branches("race", branches)
        entries = [self._turn.history.positions.open_branch() for _ in branches]
        try:
            seq = self._take()
        except BaseException:
            for branch in branches:
                branch.close()
            raise
        return run_race(self._turn, seq, entries, branches)
