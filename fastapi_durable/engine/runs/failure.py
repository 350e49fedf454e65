"""From an exception to its stored form."""

import traceback
from dataclasses import replace

from fastapi_durable.model.errors import (
    ChildFailedError,
    EntityOperationError,
    FatalError,
    GatherError,
    RunUnsuccessfulError,
    StepFailedError,
    TaskFailedError,
)
from fastapi_durable.model.records import ErrorRecord

_STACK_LIMIT = 16_000
_MESSAGE_LIMIT = 8_000
_CODE_LIMIT = 200
_CAUSE_DEPTH = 5
_STORED_CAUSES = 16
_STORED = (StepFailedError, ChildFailedError, EntityOperationError, TaskFailedError, RunUnsuccessfulError)
"""Errors that were rebuilt from a stored one, and hold it."""


def error_record(error: BaseException, *, retryable: bool | None = None, depth: int = 0) -> ErrorRecord:
    """What is stored of `error`: message, class name, code, stack and cause, each bounded in size.

    The `code` is that of a `FatalError`, of a failed step or run, or a string attribute `code` of any other exception.
    The cause of several failures is the first of them; the message tells of the others.
    """
    code = _code(error)
    cause = error.__cause__ or _first_failure(error)
    stored_cause: ErrorRecord | None = None
    if isinstance(error, _STORED) and error.error is not None:
        stored_cause = _bounded(error.error)
    elif cause is not None and depth < _CAUSE_DEPTH:
        stored_cause = error_record(cause, depth=depth + 1)
    if isinstance(error, FatalError):
        retryable = False
    return ErrorRecord(
        message=storable_text(_message(error), _MESSAGE_LIMIT),
        code=storable_text(code, _CODE_LIMIT) if isinstance(code, str) else None,
        retryable=retryable,
        stack=storable_text("".join(traceback.format_exception(error)), _STACK_LIMIT),
        type=type(error).__name__,
        cause=stored_cause,
    )


def _first_failure(error: BaseException) -> BaseException | None:
    if isinstance(error, GatherError):
        return error.failures[min(error.failures)] if error.failures else None
    return error.exceptions[0] if isinstance(error, BaseExceptionGroup) else None


def _bounded(error: ErrorRecord) -> ErrorRecord:
    """The error with at most so many causes: each run that a failure comes through adds one. The middle is left out."""
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
    """The error's text; one that cannot even say it must not stop its run from being ended."""
    try:
        return str(error) or type(error).__name__
    except Exception:
        return f"{type(error).__name__} (its text cannot be read: its __str__ raises)"


def _code(error: BaseException) -> object:
    try:
        return getattr(error, "code", None)
    except Exception:
        return None


def storable_text(text: str, limit: int) -> str:
    """`text` as every database can hold it: no NUL, no lone surrogates, and not longer than `limit` characters."""
    text = text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= limit else f"{text[: limit // 2]}\n...\n{text[-limit // 2 :]}"
