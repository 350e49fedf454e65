"""Converts an exception to its stored form. The conversion never fails, whatever the exception does.

If a failure could not be recorded, every lease would repeat it: the step would be executed again and again, and the run
would never end. So every access to an exception is guarded, and every text is bounded and storable.
"""

import traceback
from dataclasses import replace
from typing import Any, Final

from fastapi_durable.model.errors import (
    ChildFailedError,
    EntityOperationError,
    FatalError,
    GatherError,
    RunUnsuccessfulError,
    StepFailedError,
    StreamClosedError,
    StreamFullError,
    TaskFailedError,
    UpdateFailedError,
)
from fastapi_durable.model.records import ErrorRecord
from fastapi_durable.model.text import class_name, storable_text, text_of

_STACK_LIMIT: Final = 16_000
_MESSAGE_LIMIT: Final = 8_000
_NAME_LIMIT: Final = 200
_CAUSE_DEPTH: Final = 5
_STORED_CAUSES: Final = 16
_FINAL = (FatalError, StreamFullError, StreamClosedError)
_STORED = (
    StepFailedError,
    ChildFailedError,
    EntityOperationError,
    TaskFailedError,
    UpdateFailedError,
    RunUnsuccessfulError,
)
"""Errors that were rebuilt from a stored one, and hold it."""


def error_record(error: BaseException, *, retryable: bool | None = None, depth: int = 0) -> ErrorRecord:
    """Return the stored form of `error`: message, class name, code, stack and cause, each bounded in size.

    The `code` is that of a `FatalError`, of a failed step or run, or the string attribute `code` of any other
    exception. The cause of several failures is the first of them, and the message names the others.
    """
    # Check the class, here and below: `isinstance` may run code of the instance, and raise.
    kind = type(error)
    code = attribute_of(error, "code")
    cause: Any = attribute_of(error, "__cause__") or _first_failure(error)
    stored_cause: ErrorRecord | None = None
    stored = attribute_of(error, "error") if issubclass(kind, _STORED) else None
    if type(stored) is ErrorRecord:
        stored_cause = _bounded(stored)
    elif issubclass(type(cause), BaseException) and depth < _CAUSE_DEPTH:
        stored_cause = error_record(cause, depth=depth + 1)
    if issubclass(kind, _FINAL):
        retryable = False
    return ErrorRecord(
        message=storable_text(_message(error), _MESSAGE_LIMIT),
        code=storable_text(code, _NAME_LIMIT) if type(code) is str else None,
        retryable=retryable,
        stack=storable_text(_stack(error), _STACK_LIMIT),
        type=storable_text(class_name(error), _NAME_LIMIT),
        cause=stored_cause,
    )


def named(error: BaseException) -> str:
    """Return the text for an error that is not an `Exception`, whose message alone says little."""
    if issubclass(type(error), SystemExit):
        return f"sys.exit({text_of(attribute_of(error, 'code'), repr)})"
    text = text_of(error)
    return f"{class_name(error)}: {text}" if text else class_name(error)


def attribute_of(error: BaseException, name: str) -> Any:
    """Return an attribute of an exception. None if it has none, or if reading it fails."""
    try:
        return getattr(error, name, None)
    except BaseException:
        return None


def storable_record(error: ErrorRecord) -> ErrorRecord:
    """Return a failure that another component described, such as a transport, within the same bounds."""
    causes: list[ErrorRecord] = []
    cause: ErrorRecord | None = error
    while cause is not None and len(causes) < _STORED_CAUSES:
        causes.append(cause)
        cause = cause.cause
    kept: ErrorRecord | None = None
    for each in reversed(causes):
        kept = replace(
            each,
            message=storable_text(text_of(each.message), _MESSAGE_LIMIT),
            code=None if each.code is None else storable_text(text_of(each.code), _NAME_LIMIT),
            stack=None if each.stack is None else storable_text(text_of(each.stack), _STACK_LIMIT),
            type=None if each.type is None else storable_text(text_of(each.type), _NAME_LIMIT),
            cause=kept,
        )
    return kept or error


def _first_failure(error: BaseException) -> Any:
    """Return the first of several errors in one."""
    try:
        if issubclass(type(error), GatherError):
            failures = attribute_of(error, "failures")
            return failures[min(failures)]
        return error.exceptions[0] if issubclass(type(error), BaseExceptionGroup) else None  # type: ignore[attr-defined]
    except BaseException:
        return None


def _bounded(error: ErrorRecord) -> ErrorRecord:
    """Return the error with a bounded number of causes, because each run that a failure passes adds one. The middle
    is dropped.
    """
    causes = [error]
    while (cause := causes[-1].cause) is not None:
        causes.append(cause)
    if len(causes) <= _STORED_CAUSES:
        return error
    half = _STORED_CAUSES // 2
    kept = causes[-half]
    for outer in reversed(causes[:half]):
        kept = replace(outer, cause=kept)
    return kept


def _message(error: BaseException) -> str:
    if not issubclass(type(error), Exception):
        return named(error)
    return text_of(error) or class_name(error)


def _stack(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except BaseException:
        # Its attributes may lie or raise. A class cannot hide `__traceback__`, so read it from `BaseException`.
        frames = BaseException.__dict__["__traceback__"].__get__(error)
        return "".join([*traceback.format_tb(frames), f"{class_name(error)} (it cannot be printed)\n"])
