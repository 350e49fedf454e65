"""Exceptions that make it hard to tell of them."""

from collections.abc import Callable
from typing import Any


class Unreadable(Exception):
    def __str__(self) -> str:
        raise KeyError("no text")


class ExitsWhenAsked(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class LazyCause(Exception):
    @property
    def __cause__(self) -> BaseException:  # type: ignore[override]
        raise RuntimeError("not loaded")


class LazyContext(Exception):
    @property
    def __context__(self) -> BaseException:  # type: ignore[override]
        raise RuntimeError("not loaded")

    @property
    def __suppress_context__(self) -> bool:  # type: ignore[override]
        raise RuntimeError("not loaded")


class LazyCode(Exception):
    @property
    def code(self) -> str:
        raise RuntimeError("not loaded")


class Proxy(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class Text(str):
    __slots__ = ()

    def replace(self, *_: Any) -> str:
        raise RuntimeError("no text of the usual kind")

    def encode(self, *_: Any) -> bytes:
        raise RuntimeError("no text of the usual kind")

    def __len__(self) -> int:
        raise RuntimeError("no text of the usual kind")


class OddText(Exception):
    def __str__(self) -> str:
        return Text("odd")


class Nameless(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("no name")


class OfAnOddClass(Exception, metaclass=Nameless):
    pass


def _of_a_parser() -> BaseException:
    """What template engines raise: with attributes of types of their own."""
    error = SyntaxError("bad template")
    error.filename, error.lineno, error.offset, error.text = "a.tpl", 3, "7", "{{ x }"  # type: ignore[assignment]
    return error


def _without_a_line() -> BaseException:
    error = SyntaxError("bad")
    error.text, error.lineno, error.offset = 5, 1, 1  # type: ignore[assignment]
    return error


def _in_a_ring() -> BaseException:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def _deep() -> BaseException:
    error: BaseException = ValueError("innermost")
    for _ in range(500):
        outer = ValueError("outer")
        outer.__cause__ = error
        error = outer
    return error


def _endless() -> BaseException:
    def recurse() -> None:
        recurse()

    try:
        recurse()
    except RecursionError as error:
        return error
    raise AssertionError


ODD: dict[str, Callable[[], BaseException]] = {
    "its text raises": Unreadable,
    "its text exits": ExitsWhenAsked,
    "its text is of an odd class": OddText,
    "its class has no name": OfAnOddClass,
    "its cause is not loaded": lambda: LazyCause("x"),
    "its context is not loaded": lambda: LazyContext("x"),
    "its code is not loaded": lambda: LazyCode("x"),
    "nothing can be asked": lambda: Proxy("x"),
    "of a parser": _of_a_parser,
    "without a line": _without_a_line,
    "its causes go round": _in_a_ring,
    "of five hundred causes": _deep,
    "endless recursion": _endless,
    "lone surrogates": lambda: ValueError("a \ud800 b"),
    "NUL": lambda: ValueError("a \x00 b"),
    "of ten megabytes": lambda: ValueError("x" * 10_000_000),
    "of ten megabytes that grow": lambda: ValueError("\x00" * 10_000_000),
    "bytes": lambda: ValueError(b"\xff\x00"),
    "a group within groups": lambda: ExceptionGroup("g", [ExceptionGroup("h", [Unreadable()]), Proxy("x")]),
    "an empty text": lambda: ValueError(""),
}
