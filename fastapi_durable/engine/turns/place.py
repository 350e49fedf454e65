"""Finds the line of the application that an error should name: the innermost line outside libraries."""

import sys
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any, Final

from fastapi_durable.engine.turns.foreign_await import Origin, origin_of
from fastapi_durable.engine.turns.outcome import Interrupt

_FRAMES: Final = 1000
"""Maximum number of frames that are checked."""


def place_now() -> str | None:
    """Return the line that the application executes, as `file:line`. None if a call of the context runs in its own
    task.
    """
    return _innermost((frame.f_code, frame.f_lineno) for frame in _outwards(sys._getframe(1)))


def place_of(error: BaseException) -> str | None:
    """Return the line of the application that raised an error, or that called the library which raised it."""
    # Read it from `BaseException`, because a class could hide it.
    traceback: Any = BaseException.__dict__["__traceback__"].__get__(error)
    lines: list[tuple[CodeType, int]] = []
    while traceback is not None and len(lines) < _FRAMES:
        lines.append((traceback.tb_frame.f_code, traceback.tb_lineno))
        traceback = traceback.tb_next
    return _innermost(reversed(lines))


def place_of_code(code: CodeType | None) -> str | None:
    """Return where a function begins."""
    return None if code is None else f"{code.co_filename}:{code.co_firstlineno}"


def handled_now() -> BaseException | None:
    """Return the error that the body handles in an `except` or `finally` block around this call."""
    error = sys.exc_info()[1]
    return None if error is None or issubclass(type(error), Interrupt) else error


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    for _ in range(_FRAMES):
        if frame is None:
            return
        yield frame
        frame = frame.f_back


def _innermost(lines: Iterator[tuple[CodeType, int]]) -> str | None:
    for code, line in lines:
        if origin_of(code.co_filename) is Origin.APPLICATION:
            return f"{code.co_filename}:{line}"
    return None
