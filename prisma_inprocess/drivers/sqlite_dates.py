"""Times as SQLite files store them: ISO text, or milliseconds since 1970."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, Final

from prisma_inprocess.errors import EngineError
from prisma_inprocess.request import to_utc

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_parse: Final = dt.datetime.fromisoformat
# A default in a migration has a space before its offset: `2020-01-01 00:00:00 +00:00`.
_SPACED_OFFSET: Final = re.compile(r" (?=[+-]\d\d:?\d\d$)")


def encode_iso(value: Any) -> str:
    """Return a time, or a stored form of one, as text."""
    return to_utc(value if isinstance(value, dt.datetime) else decode_datetime(value)).isoformat(
        timespec="milliseconds"
    )


def encode_milliseconds(value: Any) -> int:
    """Return a time, or a stored form of one, in milliseconds since 1970."""
    moment = value if isinstance(value, dt.datetime) else decode_datetime(value)
    return (to_utc(moment) - _EPOCH) // _MILLISECOND


def decode_datetime(value: Any) -> dt.datetime:
    """Return a stored time. It is ISO text, in UTC if it has no offset, or milliseconds since 1970.

    Raises:
        EngineError: P2023, it is not a time, or Python has no `datetime` for it.
    """
    try:
        if not isinstance(value, str):
            since: dt.timedelta = value * _MILLISECOND
            return _EPOCH + since
        try:
            parsed = _parse(value)
        except ValueError:
            parsed = _parse(_SPACED_OFFSET.sub("", value))
    except (TypeError, ValueError, OverflowError):
        raise EngineError(f"Inconsistent column data: Expected a date, got {type(value).__name__}", "P2023") from None
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=dt.UTC)
