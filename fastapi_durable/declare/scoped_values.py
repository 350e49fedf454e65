"""Context variables that have values for the length of a block."""

from collections.abc import Sequence
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any

Scoped = tuple[ContextVar[Any], Any]
"""A variable, and its value in the block."""


class ScopedValues:
    """`with ScopedValues((variable, value), ...):`. A class: a generator costs three times as much, in each step.

    Args:
        values: The variables, and what they hold in the block.
    """

    __slots__ = ("_tokens", "_values")

    def __init__(self, *values: Scoped) -> None:
        self._values = values
        self._tokens: Sequence[Token[Any]] = ()

    def __enter__(self) -> None:
        self._tokens = [variable.set(value) for variable, value in self._values]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for token in self._tokens:
            token.var.reset(token)
