"""Many rows of one shape: the plan for one row, repeated here.

The compiler's plan for `createMany` names every value of every row, so compiling it takes as long as there are rows,
and another number of rows is another plan. When all rows have the same fields, the plan for one row says everything.
"""

# ruff: noqa: ARG005 (every column is a function of one run, the known columns and a count, whether it looks at them or not)

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from prisma_inprocess.drivers.base import ArgumentType, Dialect, Encoder
from prisma_inprocess.plan.sql import Statement
from prisma_inprocess.plan.values import Run, compile_value

# Fewer rows are not worth a plan of their own kind.
MINIMUM_ROWS: Final = 20
_VALUES: Final = " VALUES ("
_SUFFIXES: Final = (") ON CONFLICT DO NOTHING", ")")

# The values of each placeholder in all rows, and what gives those of one parameter.
Columns = Mapping[str, Sequence[Any]]
Column = Callable[[Run, Columns, int], Sequence[Any]]


class BulkInsert:
    """Inserts any number of rows of one shape. Built by `compile_bulk_insert`."""

    def __init__(
        self,
        *,
        head: str,
        row: str,
        numbered: bool,
        tail: str,
        generated: Sequence[tuple[str, Column]],
        columns: Sequence[Column],
        limit: int,
    ) -> None:
        self._head, self._tail = head, tail
        # Where parameters are numbered, a template with a place for each number.
        self._row, self._numbered = row, numbered
        self._generated = generated
        self._columns = columns
        self._rows_per_statement = max(1, limit // len(columns))

    def render(self, run: Run, columns: Columns, count: int) -> list[Statement]:
        """The statements for `count` rows, given by the values of each placeholder in all of them."""
        known = dict(columns)
        for name, make in self._generated:
            known[name] = make(run, known, count)
        parameters = [column(run, known, count) for column in self._columns]
        return [
            self._statement([column[start : start + self._rows_per_statement] for column in parameters])
            for start in range(0, count, self._rows_per_statement)
        ]

    def _statement(self, columns: Sequence[Sequence[Any]]) -> Statement:
        width, count = len(columns), len(columns[0])
        parameters: list[Any] = [None] * (width * count)
        for number, column in enumerate(columns):
            parameters[number::width] = column
        rows = ", ".join([self._row] * count)
        if self._numbered:
            rows %= tuple(range(1, len(parameters) + 1))
        return self._head + rows + self._tail, parameters


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
    if not all(map(_is_column, query["args"])):
        return None
    pieces = _pieces(query["fragments"])
    head, values, first = pieces[0].partition(_VALUES)
    suffix = next((suffix for suffix in _SUFFIXES if pieces[-1].endswith(suffix)), None)
    if not values or suffix is None:
        return None
    placeholder = query["placeholderFormat"]
    return BulkInsert(
        head=head + _VALUES.removesuffix("("),
        row=_row([f"({first}", *pieces[1:-1], pieces[-1].removesuffix(suffix) + ")"], placeholder),
        numbered=placeholder["hasNumbering"],
        tail=suffix.removeprefix(")"),
        generated=generated,
        columns=[
            _column(argument, dialect.encoder(ArgumentType.parse(kind)))
            for argument, kind in zip(query["args"], query["argTypes"], strict=True)
        ],
        limit=dialect.max_parameters,
    )


def _unwrap(node: Any) -> tuple[Any, list[tuple[str, Column]]]:
    """The statement of a plan, and the generated values (identifiers, times) that are bound around it."""
    generated: list[tuple[str, Column]] = []
    while node["type"] == "let":
        for binding in node["args"]["bindings"]:
            value = binding["expr"].get("args")
            if binding["expr"]["type"] != "value" or not _is_column(value):
                return None, []
            generated.append((binding["name"], _column(value, None)))
        node = node["args"]["expr"]
    return node, generated


def _column(raw: Any, encode: Encoder | None) -> Column:
    """A function that gives the values of one parameter in all rows."""
    name = _placeholder(raw)
    if name is not None:
        if encode is None:
            return lambda run, columns, count: columns[name]
        return lambda run, columns, count: [encode(value) for value in columns[name]]
    value = compile_value(raw)
    if encode is None:
        return lambda run, columns, count: [value(run, {}) for _ in range(count)]
    return lambda run, columns, count: [encode(value(run, {})) for _ in range(count)]


def _is_column(raw: Any) -> bool:
    """Whether a value is a placeholder, or does not depend on any."""
    return _placeholder(raw) is not None or not _has_placeholder(raw)


def _placeholder(raw: Any) -> str | None:
    if isinstance(raw, dict) and raw.get("prisma__type") == "param":
        return str(raw["prisma__value"]["name"])
    return None


def _has_placeholder(raw: Any) -> bool:
    if isinstance(raw, dict):
        return _placeholder(raw) is not None or any(map(_has_placeholder, raw.values()))
    return isinstance(raw, list) and any(map(_has_placeholder, raw))


def _row(pieces: Sequence[str], placeholder: Mapping[str, Any]) -> str:
    """Return the text of one row in the form that `BulkInsert` needs."""
    if not placeholder["hasNumbering"]:
        return str(placeholder["prefix"]).join(pieces)
    return f"{placeholder['prefix']}%d".join(piece.replace("%", "%%") for piece in pieces)


def _pieces(fragments: Sequence[dict[str, Any]]) -> list[str]:
    """The text around the parameters: one piece more than there are parameters."""
    pieces = [""]
    for fragment in fragments:
        if fragment["type"] == "stringChunk":
            pieces[-1] += fragment["chunk"]
        else:
            pieces.append("")
    return pieces
