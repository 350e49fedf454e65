"""Many rows of one shape: the plan for one row, repeated here.

The compiler's plan for `createMany` names every value of every row, so compiling it takes as long as there are rows,
and another number of rows is another plan. When all rows have the same fields, the plan for one row says everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from prisma_inprocess.drivers.base import ArgumentType, Dialect, Encoder
from prisma_inprocess.plan.sql import Statement
from prisma_inprocess.plan.values import Run, Scope, Value, compile_value

# Fewer rows are not worth a plan of their own kind.
MINIMUM_ROWS: Final = 20
_VALUES: Final = " VALUES ("
_SUFFIXES: Final = (") ON CONFLICT DO NOTHING", ")")


class BulkInsert:
    """Inserts any number of rows of one shape. Built by `compile_bulk_insert`."""

    def __init__(
        self,
        *,
        head: str,
        between: Sequence[str],
        tail: str,
        placeholder: tuple[str, bool],
        generated: Sequence[tuple[str, Value]],
        values: Sequence[tuple[Value, Encoder | None]],
        limit: int,
    ) -> None:
        self._head, self._tail = head, tail
        # The text around the parameters of one row: one piece more than there are parameters.
        self._between = between
        self._prefix, self._numbered = placeholder
        self._generated = generated
        self._values = values
        self._rows_per_statement = max(1, limit // max(1, len(values)))

    def render(self, run: Run, rows: Sequence[Scope]) -> list[Statement]:
        """The statements for the rows, each row given by the values of its placeholders."""
        return [
            self._statement(run, rows[start : start + self._rows_per_statement])
            for start in range(0, len(rows), self._rows_per_statement)
        ]

    def _statement(self, run: Run, rows: Sequence[Scope]) -> Statement:
        parameters: list[Any] = []
        for row in rows:
            scope = dict(row)
            for name, make in self._generated:
                scope[name] = make(run, scope)
            for value, encode in self._values:
                argument = value(run, scope)
                parameters.append(argument if encode is None else encode(argument))
        return self._head + ", ".join(self._tuples(len(rows))) + self._tail, parameters

    def _tuples(self, count: int) -> list[str]:
        if not self._numbered:
            return [self._prefix.join(self._between)] * count
        width = len(self._values)
        tuples = []
        for row in range(count):
            pieces = [self._between[0]]
            for column in range(width):
                pieces.append(f"{self._prefix}{row * width + column + 1}")
                pieces.append(self._between[column + 1])
            tuples.append("".join(pieces))
        return tuples


def compile_bulk_insert(raw: Any, dialect: Dialect) -> BulkInsert | None:
    """The bulk insert for the plan of a `createMany` of one row, or None for a plan of another form."""
    if raw["type"] != "dataMap" or raw["args"]["structure"]["type"] != "affectedRows":
        return None
    node, generated = _unwrap(raw["args"]["expr"])
    if node is None or node["type"] != "execute" or node["args"]["type"] != "templateSql":
        return None
    query = node["args"]
    kinds = [fragment["type"] for fragment in query["fragments"]]
    if not set(kinds) <= {"stringChunk", "parameter"} or "parameter" not in kinds:
        return None
    pieces = _pieces(query["fragments"])
    head, values, first = pieces[0].partition(_VALUES)
    suffix = next((suffix for suffix in _SUFFIXES if pieces[-1].endswith(suffix)), None)
    if not values or suffix is None:
        return None
    between = [f"({first}", *pieces[1:-1], pieces[-1].removesuffix(suffix) + ")"]
    placeholder = query["placeholderFormat"]
    return BulkInsert(
        head=head + _VALUES.removesuffix("("),
        between=between,
        tail=suffix.removeprefix(")"),
        placeholder=(placeholder["prefix"], placeholder["hasNumbering"]),
        generated=generated,
        values=[
            (compile_value(argument), dialect.encoder(ArgumentType.parse(kind)))
            for argument, kind in zip(query["args"], query["argTypes"], strict=True)
        ],
        limit=dialect.max_parameters,
    )


def _unwrap(node: Any) -> tuple[Any, list[tuple[str, Value]]]:
    """The statement of a plan, and the generated values (identifiers, times) that are bound around it."""
    generated: list[tuple[str, Value]] = []
    while node["type"] == "let":
        for binding in node["args"]["bindings"]:
            if binding["expr"]["type"] != "value":
                return None, []
            generated.append((binding["name"], compile_value(binding["expr"]["args"])))
        node = node["args"]["expr"]
    return node, generated


def _pieces(fragments: Sequence[dict[str, Any]]) -> list[str]:
    """The text around the parameters: one piece more than there are parameters."""
    pieces = [""]
    for fragment in fragments:
        if fragment["type"] == "stringChunk":
            pieces[-1] += fragment["chunk"]
        else:
            pieces.append("")
    return pieces
