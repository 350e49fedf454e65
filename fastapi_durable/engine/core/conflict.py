"""Repeats transactions that met another one: the database rolled them back through no fault of their own."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from fastapi_durable.model.clock import Clock
from fastapi_durable.model.errors import StoreConflictError

T = TypeVar("T")

_RETRIES = 6
_FIRST_DELAY = timedelta(milliseconds=10)


async def retry_conflicts(clock: Clock, transaction: Callable[[], Awaitable[T]]) -> T:
    """The result of `transaction`, which is called again after a conflict, a few times.

    Raises:
        StoreConflictError: every try met a conflict, or the first one did as part of a transaction of the caller's.
    """
    for attempt in range(_RETRIES):
        try:
            return await transaction()
        except StoreConflictError as conflict:
            if conflict.undid_outer:
                raise
            await clock.sleep(_FIRST_DELAY * 2**attempt)
    return await transaction()
