"""The stored form of an exception can be made of any exception, and stored in any database."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from fastapi_durable.engine.runs.failure import error_record, storable_record
from fastapi_durable.model.errors import FatalError, GatherError, StepFailedError
from fastapi_durable.model.records import ErrorRecord
from tests.support.exceptions import ODD


@pytest.mark.parametrize("make", ODD.values(), ids=ODD.keys())
def test_any_exception_has_a_stored_form_within_bounds(make: Callable[[], BaseException]) -> None:
    try:
        raise make()
    except BaseException as error:
        record = error_record(error)
    stored = orjson.dumps(record.to_json()).decode()
    assert len(stored) < 400_000
    assert "\\u0000" not in stored
    assert record.message
    assert record.type
    while record is not None:
        assert len(record.message) <= 8_005
        assert len(record.stack or "") <= 16_005
        record.message.encode()
        assert record.cause is not record
        record = record.cause  # type: ignore[assignment]


def test_the_stack_of_an_exception_that_cannot_be_printed_says_where_it_was_raised() -> None:
    make = ODD["nothing can be asked"]
    try:
        raise make()
    except BaseException as error:
        record = error_record(error)
    assert "test_failure.py" in (record.stack or "")


def test_an_error_that_is_no_exception_is_named() -> None:
    assert error_record(SystemExit(3)).message == "sys.exit(3)"
    assert error_record(asyncio.CancelledError()).message == "CancelledError"
    assert error_record(BaseException("the end")).message == "BaseException: the end"
    assert error_record(ValueError("as it is")).message == "as it is"


def test_what_is_known_of_usual_errors_is_kept() -> None:
    inner = StepFailedError("charge", ErrorRecord(message="declined", code="card"), 2)
    record = error_record(GatherError({1: inner}, total=2))
    assert record.cause is not None
    assert (record.cause.code, record.cause.type) == ("card", "StepFailedError")
    assert error_record(FatalError("no", code="never")).retryable is False


def test_a_group_tells_of_members_that_cannot_say_what_they_are() -> None:
    error: Any = ODD["its text raises"]()
    assert "1 of 2 failed: [0] Unreadable" in str(GatherError({0: error}, total=2))


def test_what_a_transport_says_of_a_failure_is_made_storable() -> None:
    record = ErrorRecord(message="\x00\ud800" * 10_000, code="\x00", stack="x" * 1_000_000)
    for _ in range(100):
        record = ErrorRecord(message="outer", cause=record)
    kept = storable_record(ErrorRecord(message="\x00\ud800", code="\x00", stack="x" * 1_000_000, cause=record))
    orjson.dumps(kept.to_json())
    assert kept.message == "\\x00\\ud800"
    assert len(kept.stack or "") <= 16_005
    depth = 0
    cause: ErrorRecord | None = kept
    while cause is not None:
        depth, cause = depth + 1, cause.cause
    assert depth == 16
