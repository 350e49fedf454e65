"""Numbers that a plan declares as integers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any


def encode_integer(value: Any) -> int | Decimal:
    """Return an integer, or a number with its fraction, because `having` may compare an average of integers with a
    fraction.
    """
    if type(value) is int:
        return value
    if isinstance(value, (float, Decimal)) and value != int(value):
        return Decimal(str(value))
    return int(value)
