"""Codecs for PostgreSQL's types that asyncpg's own would change or refuse.

asyncpg writes Python's first and last date as `-infinity` and `infinity`, fails at `24:00`, reads a `real` as the
nearest double (0.1 as 0.10000000149011612), and accepts no texts for bits and no numbers for money.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import asyncpg

_DAY_ZERO: Final = dt.date(2000, 1, 1)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_DAY: Final = dt.timedelta(days=1) // _MICROSECOND


class OutOfRange(str):
    """Stands for a value that Python's types cannot hold. The rest of the row stays readable.

    `_read_datetime` refuses it when a field is built from it.
    """

    __slots__ = ()


class _Codec(NamedTuple):
    type: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    # "tuple": the numbers that PostgreSQL stores. "text": its text.
    format: str


def _encode_date(value: dt.date) -> tuple[int]:
    day = value.date() if isinstance(value, dt.datetime) else value
    return ((day - _DAY_ZERO).days,)


def _decode_date(stored: tuple[int]) -> dt.date | str:
    try:
        return _DAY_ZERO + dt.timedelta(days=stored[0])
    except OverflowError:
        return OutOfRange("a date outside of the years 1 to 9999, or infinity")


def _encode_time(value: dt.time | dt.datetime) -> tuple[int]:
    since_midnight = dt.timedelta(
        hours=value.hour, minutes=value.minute, seconds=value.second, microseconds=value.microsecond
    )
    return (since_midnight // _MICROSECOND,)


def _decode_time(stored: tuple[int, ...]) -> dt.time | str:
    if stored[0] >= _DAY:
        return OutOfRange("the time 24:00")
    return (dt.datetime.min.replace(tzinfo=dt.UTC) + stored[0] * _MICROSECOND).time()


def _encode_time_with_zone(value: dt.time | dt.datetime) -> tuple[int, int]:
    offset = value.utcoffset() or dt.timedelta()
    # PostgreSQL counts the seconds west of Greenwich.
    return (*_encode_time(value), -int(offset.total_seconds()))


def _encode_real(value: Any) -> str:
    return repr(float(value))


def _encode_bits(value: str | asyncpg.BitString) -> str:
    return value if isinstance(value, str) else str(value.as_string()).replace(" ", "")


_CODECS: Final = (
    _Codec("date", _encode_date, _decode_date, "tuple"),
    _Codec("time", _encode_time, _decode_time, "tuple"),
    # Read without the offset, as Prisma does.
    _Codec("timetz", _encode_time_with_zone, _decode_time, "tuple"),
    _Codec("float4", _encode_real, float, "text"),
    _Codec("bit", _encode_bits, str, "text"),
    _Codec("varbit", _encode_bits, str, "text"),
    _Codec("money", str, str, "text"),
)


async def register_codecs(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Use these codecs on a new connection. This needs no request to the server, because asyncpg knows PostgreSQL's
    types.
    """
    for codec in _CODECS:
        await connection.set_type_codec(
            codec.type, schema="pg_catalog", encoder=codec.encode, decoder=codec.decode, format=codec.format
        )
