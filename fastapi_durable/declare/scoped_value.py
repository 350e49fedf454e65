"""Context variables that have a value for the length of a block."""

from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class ScopedValue(Generic[T]):
    """Sets a context variable in a block: `with ScopedValue(variable, value):`.

    It is a class, because a generator would cost three times as much, in every step.

    Args:
        beside: Another value that is set in the same block.
    """

    __slots__ = ("_beside", "_token", "_value", "_variable")

    def __init__(self, variable: ContextVar[T], value: T, beside: "ScopedValue[Any] | None" = None) -> None:
        self._variable = variable
        self._value = value
        self._beside = beside
        self._token: Token[T] | None = None

    def __enter__(self) -> None:
        self._token = self._variable.set(self._value)
        if self._beside is not None:
            self._beside.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._beside is not None:
            self._beside.__exit__(kind, error, traceback)
        if self._token is not None:
            self._variable.reset(self._token)
