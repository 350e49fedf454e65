"""Finds the calls by which a run failed, when its body ends. A retry gives these calls up.

A body may meet many failures and end with one error. A failure is given up if that error contains it, or if no call
followed it in its branch or around it. A failure after which the body continued has decided the body's path, and stays.
If the body raised a failure again at its end, the calls that it made because of that failure are given up as well: the
body will not repeat them if the call succeeds this time.
"""

from typing import TypeVar

from fastapi_durable.engine.runs.failure import attribute_of
from fastapi_durable.engine.turns.position import Positions
from fastapi_durable.model.errors import GatherError

E = TypeVar("E", bound=Exception)

_CHAIN_LIMIT = 1000


class FailureAttribution:
    """The failures of one turn, in the order in which its body met them."""

    def __init__(self, positions: Positions) -> None:
        self._positions = positions
        self._met: list[tuple[int, int, Exception | None]] = []

    def met(self, seq: int, error: E) -> E:
        """Note that the call at `seq` raises this error into the body now, and return the error."""
        self._met.append((seq, self._positions.calls_made, error))
        return error

    def cancelled(self, seq: int) -> None:
        """Note that the wait at `seq` is cancelled now."""
        self._met.append((seq, self._positions.calls_made, None))

    def given_up(self, end: BaseException) -> tuple[int, ...]:
        """Return the positions that a retry gives up if the body ended with this error."""
        raised = self._raised_by(end)
        found: set[int] = set()
        for seq, calls, error in self._met:
            later = self._positions.calls_after(seq, calls)
            if error is None:
                # A wait that was cancelled after a given-up failure may have been cancelled because of it.
                if found:
                    found.add(seq)
            elif id(error) in raised:
                found |= {seq, *later}
            elif not later:
                found.add(seq)
        return tuple(sorted(found))

    def _raised_by(self, end: BaseException) -> set[int]:
        """Return the ids of the errors within this one: causes, members of groups, and errors during whose handling it
        was raised.
        """
        met = {id(error) for _, _, error in self._met}
        waiting: list[BaseException | None] = [end]
        seen: set[int] = set()
        while waiting and len(seen) < _CHAIN_LIMIT:
            error = waiting.pop()
            if error is None or id(error) in seen:
                continue
            seen.add(id(error))
            waiting.append(attribute_of(error, "__cause__"))
            if id(error) not in met and not attribute_of(error, "__suppress_context__"):
                # A call that fails in an `except` block is a new failure, not the one that is handled there.
                waiting.append(attribute_of(error, "__context__"))
            if issubclass(type(error), BaseExceptionGroup):
                waiting += attribute_of(error, "exceptions") or ()
            if issubclass(type(error), GatherError):
                waiting += (attribute_of(error, "failures") or {}).values()
        return seen
