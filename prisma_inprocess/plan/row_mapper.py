"""The function that makes dicts of a statement's rows, written and compiled for each shape that is asked for.

A result has many rows of one shape. A function with a dict literal in it takes a quarter of the time that a loop over
the columns of each row takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Union

from prisma_inprocess.drivers.base import Decoder, Rows, Unreadable
from prisma_inprocess.errors import EngineError

# An object: for each field the number of its leaf, or the object in it.
Shape = Union[int, Mapping[str, "Shape"]]  # noqa: UP007 (it refers to itself)
# Takes the values of all leaves from a row.
Pick = Callable[[Any], Sequence[Any]]
_UNREADABLE = (EngineError, ValueError, TypeError, ArithmeticError)


@dataclass(slots=True, frozen=True)
class Leaf:
    """A value of a row.

    Attributes:
        column: Its name in the row.
        decode: What makes the client's value of it, or None if they are the same.
        decoded: The type of which a value is already the client's.
        is_list: Whether NULL is an empty list.
        takes_none: Whether `decode` is called for NULL as well. Such a leaf is an object of its own, whose errors name
            their own columns.
    """

    column: str
    decode: Decoder | None
    decoded: type | None = None
    is_list: bool = False
    takes_none: bool = False


class RowMapper:
    """Maps rows to dicts.

    Args:
        shape: What each dict holds.
        leaves: Where its values come from.
    """

    def __init__(self, shape: Shape, leaves: Sequence[Leaf]) -> None:
        self._leaves = leaves
        self._build = _compile(shape, leaves)
        self._columns = tuple(leaf.column for leaf in leaves)
        self._by_name = _pick(self._columns)
        # How to take the leaves from rows of these columns; None where each row already is what is taken.
        self._by_position: dict[tuple[str, ...], Pick | None] = {self._columns: None}

    def __call__(self, rows: list[Any]) -> list[dict[str, Any]]:
        if not rows:
            return []
        pick = self._position_pick(rows.columns) if isinstance(rows, Rows) else self._by_name
        return self._map(rows, pick)

    def one(self, row: dict[str, Any]) -> dict[str, Any]:
        """Map one row."""
        return self._map([row], self._by_name)[0]

    def _map(self, rows: list[Any], pick: Pick | None) -> list[dict[str, Any]]:
        try:
            return self._build(rows if pick is None else map(pick, rows))
        except _UNREADABLE:
            self._explain(rows if pick is None else map(pick, rows))
            raise

    def _position_pick(self, columns: tuple[str, ...]) -> Pick | None:
        try:
            return self._by_position[columns]
        except KeyError:
            positions = {name: position for position, name in enumerate(columns)}
            pick = self._by_position[columns] = _pick([positions[column] for column in self._columns])
            return pick

    def _explain(self, rows: Iterable[Sequence[Any]]) -> None:
        """Raise the error for the first stored value that the schema's type cannot hold. It names the column and not
        the value.
        """
        for row in rows:
            for value, leaf in zip(row, self._leaves, strict=False):
                if leaf.decode is None or leaf.takes_none or value is None:
                    continue
                try:
                    leaf.decode(value)
                except _UNREADABLE as error:
                    # Python's own messages quote the value.
                    what = str(error) if isinstance(error, Unreadable) else "a value of another type"
                    message = f"Inconsistent column data: column `{leaf.column}` holds {what}"
                    raise EngineError(message, "P2023", {"column": leaf.column}) from error


def _pick(keys: Sequence[Any]) -> Pick:
    if len(keys) > 1:
        return itemgetter(*keys)
    return lambda row: [row[key] for key in keys]


def _compile(shape: Shape, leaves: Sequence[Leaf]) -> Callable[[Iterable[Sequence[Any]]], list[dict[str, Any]]]:
    """A function from the leaves' values to dicts, such as

    def build(rows):
        return [{'id': v0 if v0.__class__ is t0 or v0 is None else d0(v0), 'at': None if v1 is None else d1(v1)}
                for (v0, v1, ) in rows]
    """
    names = "".join(f"v{number}, " for number in range(len(leaves)))
    source = f"def build(rows):\n    return [{_literal(shape, leaves)} for ({names}) in rows]"
    namespace: dict[str, Any] = {}
    for number, leaf in enumerate(leaves):
        namespace[f"d{number}"], namespace[f"t{number}"] = leaf.decode, leaf.decoded
    # The text holds names of the schema, quoted, and numbers.
    exec(compile(source, "<rows of a plan>", "exec"), namespace)  # noqa: S102
    build: Callable[[Iterable[Sequence[Any]]], list[dict[str, Any]]] = namespace["build"]
    return build


def _literal(shape: Shape, leaves: Sequence[Leaf]) -> str:
    if isinstance(shape, int):
        return _expression(shape, leaves[shape])
    return "{" + ", ".join(f"{name!r}: {_literal(inner, leaves)}" for name, inner in shape.items()) + "}"


def _expression(number: int, leaf: Leaf) -> str:
    value, decoded = f"v{number}", f"d{number}(v{number})"
    if leaf.decode is None:
        return value
    if leaf.takes_none:
        return decoded
    if leaf.is_list:
        return f"[] if {value} is None else {decoded}"
    if leaf.decoded is None:
        return f"None if {value} is None else {decoded}"
    return f"{value} if {value}.__class__ is t{number} or {value} is None else {decoded}"
