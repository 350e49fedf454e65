"""Random values. They come from short lists, so that what one operation writes another one finds."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from tests.prisma_inprocess.parity.foreign.models import Field
from tests.prisma_inprocess.workbench import Rich


def _at(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)  # type: ignore[misc,arg-type]


_KEYS: Final[Mapping[str, Sequence[Any]]] = {"Int": range(1, 13), "String": "abcdefghijkl"}
# Floats are sums of powers of two, because their sum then does not depend on the order of the rows.
_SCALARS: Final[Mapping[str, Sequence[Any]]] = {
    "Int": [-7, 0, 1, 2, 3, 5, 8, 40, 1000],
    "BigInt": [-(2**40), -3, 0, 1, 2, 7, 2**33],
    "Float": [-2.5, 0.0, 0.25, 0.5, 1.0, 3.0, 1024.125],
    "Decimal": [Decimal(text) for text in ("-2.5", "0", "0.25", "1", "3.75", "100")],
    "String": ["", "a", "A", "ab", "b", "Abc", "abc", "ä", "🙂", "a%b", "a_b", "it's", 'q"', "a\\b", " pad "],
    "Boolean": [True, False],
    "DateTime": [_at(1969, 7, 20, 20, 17), _at(2024, 2, 29), _at(2024, 2, 29, 12, 30, 15, 250000), _at(2030, 1, 1, 1)],
}
_BYTES: Final = (b"", b"\x00", b"ab", b"\xff\x10")
_JSON: Final[Sequence[Any]] = (
    {},
    [],
    {"a": 1},
    {"a": {"b": "hello", "l": [1, 2]}},
    {"a": {"b": None}},
    [1, "x", None],
    "text",
    5,
    True,
    None,
)
_NATIVE: Final[Mapping[str, Sequence[Any]]] = {
    "SmallInt": [-300, 0, 1, 5, 32767],
    "Oid": [0, 1, 5, 70000],
    "Real": [-2.5, 0.0, 0.1, 0.5, 3.0],
    "Decimal": [Decimal(text) for text in ("-2.5", "0", "1.00001", "123456789012345.12345", "3.75")],
    "Money": [Decimal(text) for text in ("-2.5", "0", "1.25", "1234567.89")],
    "Char": ["a", "ab", "abcd", ""],
    "Uuid": [f"{digit * 8}-2222-3333-4444-555555555555" for digit in "123abc"],
    "Inet": ["10.0.0.1", "192.168.0.0/24", "::1"],
    "Bit": ["1010", "0000", "1111"],
    "VarBit": ["1", "101", "11110000"],
    "Xml": ["<a/>", "<b>text</b>"],
}


class Values:
    """Chooses random values for the fields of one client.

    Args:
        rich: The client, whose own types wrap Json and bytes.
        enums: The values of each enum.
        chance: The source of randomness.
    """

    def __init__(self, rich: Rich, enums: Mapping[str, Sequence[str]], chance: random.Random) -> None:
        self._rich = rich
        self._enums = enums
        self._chance = chance

    def one(self, field: Field, *, key: bool = False) -> Any:
        """Return a value of a field's type; for a list, of the type of its items."""
        choice = self._chance.choice
        if field.kind == "enum":
            return choice(self._enums[field.type])
        if field.native is not None and field.native in _NATIVE:
            return choice(_NATIVE[field.native])
        if key and field.type in _KEYS:
            return choice(_KEYS[field.type])
        if field.type == "Json":
            return self._rich.json(choice(_JSON))
        if field.type == "Bytes":
            return self._rich.package.Base64.encode(choice(_BYTES))
        return choice(_SCALARS[field.type])

    def some(self, field: Field, most: int = 3, *, key: bool = False) -> list[Any]:
        """Return a list of up to `most` values."""
        return [self.one(field, key=key) for _ in range(self._chance.randint(0, most))]
