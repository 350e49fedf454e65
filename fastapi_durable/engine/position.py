"""Positions: the numbers that tie a primitive's call to its checkpoint.

Concurrent branches must get the same positions on every replay, whatever their timing. So the positions that follow a
fan-out are dealt to its branches like cards: of n branches, branch i gets every n-th one from the i-th on. Each branch
counts for itself, and may deal its own on in the same way.
"""

from collections.abc import Sequence

from fastapi_durable.errors import DefinitionError

_LARGEST = 2**31 - 1
"""`seq` is a 32-bit integer column."""


class Scope:
    """The positions of one sequence of calls: an arithmetic progression."""

    def __init__(self, offset: int = 0, stride: int = 1) -> None:
        self._offset = offset
        self._stride = stride
        self._taken = 0

    @property
    def next_position(self) -> int:
        """What `take` would return."""
        return self._offset + self._stride * self._taken

    def take(self) -> int:
        """The next position.

        Raises:
            DefinitionError: the run is too long, or its fan-outs are nested too widely, for the column.
        """
        position = self.next_position
        if position > _LARGEST:
            raise DefinitionError(
                "the run has used up its positions. Go on in a new run with ctx.continue_as_new(), or start children "
                "instead of nesting wide fan-outs"
            )
        self._taken += 1
        return position

    def give_back(self) -> None:
        """Undo the last `take`."""
        self._taken -= 1

    def deal(self, branches: int) -> list["Scope"]:
        """Scopes for so many concurrent branches; `collect` must follow before this one is used again."""
        return [Scope(self.next_position + self._stride * index, self._stride * branches) for index in range(branches)]

    def collect(self, branches: Sequence["Scope"]) -> None:
        """Go on behind the longest branch."""
        self._taken += len(branches) * max((branch._taken for branch in branches), default=0)
