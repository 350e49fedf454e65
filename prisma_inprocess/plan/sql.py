"""Statements of a plan: templates that are rendered with the values of one execution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from prisma_inprocess.drivers.base import ArgumentType, Dialect, Encoder
from prisma_inprocess.drivers.lists import WholeList
from prisma_inprocess.errors import parameters_exceeded
from prisma_inprocess.plan.records import as_list
from prisma_inprocess.plan.values import Run, Scope, Value, compile_value

Statement = tuple[str, list[Any]]
Renderer = Callable[[Run, Scope], list[Statement]]
_IN: Final = "IN "
_NOT_IN: Final = "NOT IN "
_ROWS: Final = "parameterTupleList"


def compile_statement(raw: dict[str, Any], dialect: Dialect) -> Renderer:
    """A function that renders a statement: one, or several for an `INSERT` of more rows than the database takes at
    once.
    """
    values = [compile_value(argument) for argument in raw["args"]]
    if raw["type"] == "rawSql":
        encoders = [dialect.encoder(ArgumentType.parse(kind)) for kind in raw["argTypes"]]
        return _fixed(raw["sql"], values, encoders, dialect.max_parameters)
    fragments = raw["fragments"]
    placeholder = raw["placeholderFormat"]
    numbered, prefix = placeholder["hasNumbering"], placeholder["prefix"]
    if all(fragment["type"] in ("stringChunk", "parameter") for fragment in fragments):
        encoders = [dialect.encoder(ArgumentType.parse(kind)) for kind in raw["argTypes"]]
        return _fixed(_fixed_text(fragments, prefix, numbered), values, encoders, dialect.max_parameters)
    return _Template(raw, values, dialect).render


def reads(raw: dict[str, Any]) -> bool:
    """Whether a statement of a plan changes nothing."""
    text: str = raw["sql"] if raw["type"] == "rawSql" else raw["fragments"][0].get("chunk", "")
    return text.startswith("SELECT")


def _fixed_text(fragments: Sequence[dict[str, Any]], prefix: str, numbered: bool) -> str:
    parts: list[str] = []
    number = 0
    for fragment in fragments:
        if fragment["type"] == "stringChunk":
            parts.append(fragment["chunk"])
        else:
            number += 1
            parts.append(f"{prefix}{number}" if numbered else prefix)
    return "".join(parts)


def _fixed(text: str, values: list[Value], encoders: list[Encoder | None], limit: int) -> Renderer:
    """The common case: the text never changes, only the values do."""
    pairs = list(zip(values, encoders, strict=True))
    too_many = len(pairs) > limit

    def render(run: Run, scope: Scope) -> list[Statement]:
        if too_many:
            raise parameters_exceeded()
        return [(text, [value(run, scope) if encode is None else encode(value(run, scope)) for value, encode in pairs])]

    return render


class _Template:
    """A statement whose text depends on how many values a list has.

    A list that exceeds the limit of parameters travels as one parameter. The statement is not cut into several, as
    Prisma's own runtime does where the plan says `chunkable`: that is wrong under NOT and OR, in `none` and `every`, in
    `find_first`, and in updates of the field that is searched. Only an `INSERT` is cut, whose rows are independent.
    """

    def __init__(self, raw: dict[str, Any], values: list[Value], dialect: Dialect) -> None:
        self._fragments: list[dict[str, Any]] = raw["fragments"]
        self._values = values
        self._dialect = dialect
        self._limit = dialect.max_parameters
        self._rows = _inserted_rows(raw["fragments"])
        placeholder = raw["placeholderFormat"]
        self._prefix: str = placeholder["prefix"]
        self._numbered: bool = placeholder["hasNumbering"]
        # One encoder per parameter; a parameter that is a list of tuples has one per element of the tuple.
        self._encoders: list[list[Encoder | None]] = [
            [
                dialect.encoder(ArgumentType.parse(element))
                for element in (kind["elements"] if kind["arity"] == "tuple" else [kind])
            ]
            for kind in raw["argTypes"]
        ]

    def render(self, run: Run, scope: Scope) -> list[Statement]:
        arguments = [value(run, scope) for value in self._values]
        if self._size(arguments) <= self._limit:
            return [self._render(arguments)]
        if self._rows is not None:
            return [self._render(part) for part in self._parts(arguments, self._rows)]
        statement = self._render(arguments, whole_lists=True)
        if len(statement[1]) > self._limit:
            raise parameters_exceeded()
        return [statement]

    def _render(self, arguments: list[Any], *, whole_lists: bool = False) -> Statement:
        parts: list[str] = []
        parameters: list[Any] = []

        def slot(value: Any, encode: Encoder | None) -> str:
            parameters.append(value if encode is None else encode(value))
            return f"{self._prefix}{len(parameters)}" if self._numbered else self._prefix

        def slots(values: list[Any], encode: Encoder | None, fragment: dict[str, Any]) -> str:
            first = len(parameters) + 1
            parameters.extend(values if encode is None else map(encode, values))
            before, after = fragment["itemPrefix"] + self._prefix, fragment["itemSuffix"]
            separator: str = fragment["itemSeparator"]
            if not self._numbered:
                return separator.join([before + after] * len(values))
            return separator.join([f"{before}{number}{after}" for number in range(first, first + len(values))])

        for fragment, value, encoders in self._pairs(arguments):
            kind = fragment["type"]
            if kind == "stringChunk":
                parts.append(fragment["chunk"])
            elif kind == "parameter":
                parts.append(slot(value, encoders[0]))
            elif kind == "parameterTuple" and whole_lists and (operator := _operator(parts[-1])):
                parts[-1] = parts[-1].removesuffix(operator)
                whole = self._whole_list(fragment, as_list(value), encoders[0], negated=operator == _NOT_IN)
                parts.append(f"{whole.before}{slot(whole.parameter, None)}{whole.after}")
            elif kind == "parameterTuple":
                parts.append(f"({slots(as_list(value), encoders[0], fragment) or 'NULL'})")
            else:
                parts.append(self._tuples(fragment, value, encoders, slot))
        return "".join(parts), parameters

    def _whole_list(
        self, fragment: dict[str, Any], items: list[Any], encode: Encoder | None, *, negated: bool
    ) -> WholeList:
        values = items if encode is None else [encode(item) for item in items]
        return self._dialect.whole_list(values, (fragment["itemPrefix"], fragment["itemSuffix"]), negated=negated)

    @staticmethod
    def _tuples(
        fragment: dict[str, Any], rows: list[list[Any]], encoders: list[Encoder | None], slot: Callable[..., str]
    ) -> str:
        separator, before, after = fragment["itemSeparator"], fragment["itemPrefix"], fragment["itemSuffix"]
        width = len(encoders)
        rendered = (
            before + separator.join(slot(item, encoders[index % width]) for index, item in enumerate(row)) + after
            for row in rows
        )
        text: str = fragment["groupSeparator"].join(rendered)
        return text

    def _pairs(self, arguments: list[Any]) -> Iterator[tuple[dict[str, Any], Any, list[Encoder | None]]]:
        index = 0
        for fragment in self._fragments:
            if fragment["type"] == "stringChunk":
                yield fragment, None, []
            else:
                yield fragment, arguments[index], self._encoders[index]
                index += 1

    def _size(self, arguments: list[Any]) -> int:
        """How many parameters the statement has when each value is one."""
        return sum(
            _size(fragment, value) for fragment, value, _ in self._pairs(arguments) if fragment["type"] != "stringChunk"
        )

    def _parts(self, arguments: list[Any], rows: int) -> Iterator[list[Any]]:
        """Cut the rows of an `INSERT` so that each part keeps within the limit; the other parameters are repeated."""
        before, after = arguments[:rows], arguments[rows + 1 :]
        others = self._size([*before, [], *after])
        for chunk in _chunks(arguments[rows], self._limit - others):
            yield [*before, chunk, *after]


def _inserted_rows(fragments: Sequence[dict[str, Any]]) -> int | None:
    """Return the index of the argument with the rows of an `INSERT`. None for other statements."""
    kinds = [fragment["type"] for fragment in fragments if fragment["type"] != "stringChunk"]
    is_insert = str(fragments[0].get("chunk", "")).startswith("INSERT ")
    return kinds.index(_ROWS) if is_insert and _ROWS in kinds else None


def _operator(text: str) -> str | None:
    """The operator at the end of a text that a list follows."""
    return next((operator for operator in (_NOT_IN, _IN) if text.endswith(f" {operator}")), None)


def _size(fragment: dict[str, Any], value: Any) -> int:
    if fragment["type"] == "parameterTuple":
        return len(as_list(value))
    if fragment["type"] == _ROWS:
        return sum(len(row) for row in value)
    return 1


def _chunks(rows: list[list[Any]], room: int) -> Iterator[list[list[Any]]]:
    """Consecutive parts of a list of rows, each of at most `room` values."""
    chunk: list[list[Any]] = []
    used = 0
    for row in rows:
        if chunk and used + len(row) > room:
            yield chunk
            chunk, used = [], 0
        chunk.append(row)
        used += len(row)
    yield chunk
