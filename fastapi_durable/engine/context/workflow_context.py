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
    """The durable side of one run; the engine passes it to the workflow's body.

    Await each call where it stands, or several of them together with `gather`, `race` or `asyncio.gather`.
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

    @property
    def is_replaying(self) -> bool:
        """Whether the body repeats what it did in an earlier turn, and has not yet come to where that ended.

        For logs and metrics only. A decision that depends on it makes the replay differ. It looks at the calls that the
        history holds: what follows the last one of the body, or of a branch, counts as new however often it is run.
        """
        return self._turn.is_replaying

    def gather(self, *branches: Coroutine[Any, Any, Output]) -> Coroutine[Any, Any, list[Output]]:
        """Run coroutines of your own side by side: `await ctx.gather(ship(ctx, a), ship(ctx, b))`.

        Each takes its positions for itself, so branches of several calls replay the same whatever their timing.
        Unlike `asyncio.gather`, it lets every branch come to its end before it tells of a failure.

        Raises:
            GatherError: its `failures` hold what the branches raised.
            DefinitionError: one is no coroutine.
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
        """Run coroutines side by side until the first has ended: `await ctx.race(ask(ctx), ctx.sleep("1h"))`.

        Which one it was is recorded and stays so, which `asyncio.wait` and `asyncio.timeout` cannot promise. If several
        got their answer while no worker drove the run, the one that got it first wins. The others are cancelled, with
        the children that they wait for; what is sent to them afterwards is kept for the next wait. Takes one position,
        and those of the branches.

        Returns:
            The index of the branch that won, and what it returned.

        Raises:
            Exception: what the winner raised.
            DefinitionError: there is no branch, or one is no coroutine.
        """
        if not branches:
            raise DefinitionError("a race needs at least one branch")
        check_branches("race", branches)
        entries = [self._turn.history.positions.open_branch() for _ in branches]
        try:
            seq = self._take()
        except BaseException:
            for branch in branches:
                branch.close()
            raise
        return run_race(self._turn, seq, entries, branches)
