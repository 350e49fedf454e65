"""`ctx.continue_as_new` and `ctx.patched`."""

from collections.abc import Coroutine
from typing import Any, NoReturn

from fastapi_durable.declare.names import checked_name
from fastapi_durable.engine.context.base import NO_VALUE, ContextPart
from fastapi_durable.engine.primitives.patch import Patch, is_older
from fastapi_durable.engine.runs.input import encode_input
from fastapi_durable.engine.runs.labels import continued
from fastapi_durable.engine.turns.outcome import Continuation


class LifetimeCalls(ContextPart):
    """The part of the context for long-lived runs and for code that changes."""

    def continue_as_new(self, input: Any = NO_VALUE, /) -> NoReturn:
        """End this run, and continue as a new run of the newest version, with a new input and an empty history.

        The new run keeps the namespace, tags, attributes, priority and expiry. Callers that wait for this run wait for
        the new one. Its id is this run's id with `~1`, `~2`, ... appended. Nothing after the call is executed.

        A singleton run takes the key of the new input. With the same key, it keeps its place. With another key, it
        waits for a place.

        Args:
            input: Input of the new run. Leave it out for a workflow without input.

        Raises:
            InputValidationError: the input does not fit the workflow's type, or has no singleton key.
        """
        turn = self._turn
        definition = turn.kernel.registry.get(turn.run.workflow)
        encoded = encode_input(turn.kernel.codec, definition, input, given=input is not NO_VALUE)
        tags = continued(turn.kernel.codec, definition, encoded, turn.run.tags)
        turn.continue_as_new(Continuation(input=encoded, tags=tags))

    def patched(self, patch_id: str, /) -> Coroutine[Any, Any, bool]:
        """Return whether this run takes the changed code: `if await ctx.patched("fee-2026"): new() else: old()`.

        Await the call where it stands. It takes one position if it returns True, and none if it returns False.

        Args:
            patch_id: Name of the change.

        Returns:
            True for a run that gets here for the first time. The answer is recorded, so it stays True. False for a run
            that passed here before the change was deployed.
        """
        turn = self._turn
        checked_name(patch_id)
        position = self._take()
        if is_older(turn, position):
            turn.history.positions.give_back()
            return _no()
        return Patch(turn, position, patch_id).perform()


async def _no() -> bool:
    return False
