"""Statements of a plan: templates that are rendered with the values of one execution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from prisma_inprocess.drivers.base import ArgumentType, Dialect, Encoder
from prisma_inprocess.drivers.lists import WholeList
from prisma_inprocess.errors import parameters_exceeded
from prisma_inprocess.plan.records import as_list
from prisma_inprocess.plan.values import Run, Scope, Value, compile_value

Statement = tuple[str, list[Any]]
Renderer = Callable[[Run, Scope], list[Statement]]
# A parameter has one encoder; one that is a list of tuples has one for each element of a tuple.
_Parameter = tuple[Value, list[Encoder | None]]
_IN: Final = "IN "
_NOT_IN: Final = "NOT IN "
_ROWS: Final = "parameterTupleList"


def compile_statement(raw: dict[str, Any], dialect: Dialect) -> Renderer:
    """A function that renders a statement: one, or several for an `INSERT` of more rows than the database takes at
    once.
    """
    parameters = [_parameter(value, kind, dialect) for value, kind in zip(raw["args"], raw["argTypes"], strict=True)]
    if raw["type"] == "rawSql":
        return _fixed(raw["sql"], parameters, dialect.max_parameters)
    fragments = raw["fragments"]
    placeholder = raw["placeholderFormat"]
    numbered, prefix = placeholder["hasNumbering"], placeholder["prefix"]
    if all(fragment["type"] in ("stringChunk", "parameter") for fragment in fragments):
        return _fixed(_fixed_text(fragments, prefix, numbered), parameters, dialect.max_parameters)
    return _Template(raw, parameters, dialect).render


def reads(raw: dict[str, Any]) -> bool:
    """Whether a statement of a plan changes nothing."""
    text: str = raw["sql"] if raw["type"] == "rawSql" else raw["fragments"][0].get("chunk", "")
    return text.startswith("SELECT")


def _parameter(raw: Any, kind: dict[str, Any], dialect: Dialect) -> _Parameter:
    """A parameter's value, and what encodes it for the driver. A constant is encoded here, once."""
    elements = kind["elements"] if kind["arity"] == "tuple" else [kind]
    encoders = [dialect.encoder(ArgumentType.parse(element)) for element in elements]
    encode = encoders[0]
    if isinstance(raw, (dict, list)) or encode is None:
        return compile_value(raw), encoders
    return compile_value(encode(raw)), [None]


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


def _fixed(text: str, parameters: list[_Parameter], limit: int) -> Renderer:
    """The common case: the text never changes, only the values do."""
    pairs = [(value, encode) for value, (encode, *_) in parameters]
    too_many = len(pairs) > limit

    def render(run: Run, scope: Scope) -> list[Statement]:
        if too_many:
            raise parameters_exceeded()
        return [(text, [value(run, scope) if encode is None else encode(value(run, scope)) for value, encode in pairs])]

    return render


class _Slot(NamedTuple):
    """A place for a value, or for several, in the text of a statement.

    Attributes:
        before: The text between the slot before and this one.
        fragment: The slot, as the plan describes it.
        kind: The type of that fragment.
        value: What it is filled with.
        encoders: What encodes that.
    """

    before: str
    fragment: dict[str, Any]
    kind: str
    value: Value
    encoders: list[Encoder | None]

    def items(self, placeholders: list[str]) -> str:
        """The text for the values of a list, each between the prefix and the suffix."""
        before, after = self.fragment["itemPrefix"], self.fragment["itemSuffix"]
        separator = after + self.fragment["itemSeparator"] + before
        return f"{before}{separator.join(placeholders)}{after}"

    def row(self, placeholders: list[str]) -> str:
        """The text for the values of a tuple, all together between the prefix and the suffix."""
        before, after = self.fragment["itemPrefix"], self.fragment["itemSuffix"]
        return f"{before}{self.fragment['itemSeparator'].join(placeholders)}{after}"


class _Template:
    """A statement whose text depends on how many values a list has.

    A list that exceeds the limit of parameters travels as one parameter. The statement is not cut into several, as
    Prisma's own runtime does where the plan says `chunkable`: that is wrong under NOT and OR, in `none` and `every`, in
    `find_first`, and in updates of the field that is searched. Only an `INSERT` is cut, whose rows are independent.
    """

    def __init__(self, raw: dict[str, Any], parameters: list[_Parameter], dialect: Dialect) -> None:
        self._slots, self._end = _slots(raw["fragments"], parameters)
        self._dialect = dialect
        self._limit = dialect.max_parameters
        self._rows = _inserted_rows(self._slots)
        placeholder = raw["placeholderFormat"]
        self._prefix: str = placeholder["prefix"]
        self._numbered: bool = placeholder["hasNumbering"]

    def render(self, run: Run, scope: Scope) -> list[Statement]:
        arguments = [slot.value(run, scope) for slot in self._slots]
        statement = self._render(arguments)
        if len(statement[1]) <= self._limit:
            return [statement]
        if self._rows is not None:
            return [self._render(part) for part in self._parts(arguments, self._rows)]
        statement = self._render(arguments, whole_lists=True)
        if len(statement[1]) > self._limit:
            raise parameters_exceeded()
        return [statement]

    def _render(self, arguments: list[Any], *, whole_lists: bool = False) -> Statement:
        parts: list[str] = []
        parameters: list[Any] = []
        for slot, value in zip(self._slots, arguments, strict=True):
            before, encode = slot.before, slot.encoders[0]
            if slot.kind == "parameter":
                parts += before, *self._add([value], encode, parameters)
            elif slot.kind == "parameterTuple" and whole_lists and (operator := _operator(before)):
                whole = self._whole_list(slot, as_list(value), negated=operator == _NOT_IN)
                placeholder = self._add([whole.parameter], None, parameters)[0]
                parts += before.removesuffix(operator), whole.before, placeholder, whole.after
            elif slot.kind == "parameterTuple":
                placeholders = self._add(as_list(value), encode, parameters)
                parts += before, "(", slot.items(placeholders) if placeholders else "NULL", ")"
            else:
                rows = [slot.row(self._add_tuple(row, slot.encoders, parameters)) for row in value]
                parts += before, slot.fragment["groupSeparator"].join(rows)
        parts.append(self._end)
        return "".join(parts), parameters

    def _add(self, values: list[Any], encode: Encoder | None, parameters: list[Any]) -> list[str]:
        """Add values to the parameters of a statement. Return their placeholders."""
        first = len(parameters) + 1
        parameters.extend(values if encode is None else map(encode, values))
        if not self._numbered:
            return [self._prefix] * len(values)
        return [f"{self._prefix}{number}" for number in range(first, len(parameters) + 1)]

    def _add_tuple(self, row: list[Any], encoders: list[Encoder | None], parameters: list[Any]) -> list[str]:
        width = len(encoders)
        return [self._add([item], encoders[index % width], parameters)[0] for index, item in enumerate(row)]

    def _whole_list(self, slot: _Slot, items: list[Any], *, negated: bool) -> WholeList:
        encode, fragment = slot.encoders[0], slot.fragment
        values = items if encode is None else [encode(item) for item in items]
        return self._dialect.whole_list(values, (fragment["itemPrefix"], fragment["itemSuffix"]), negated=negated)

    def _size(self, arguments: list[Any]) -> int:
        """How many parameters the statement has when each value is one."""
        return sum(_size(slot.kind, value) for slot, value in zip(self._slots, arguments, strict=True))

    def _parts(self, arguments: list[Any], rows: int) -> Iterator[list[Any]]:
        """Cut the rows of an `INSERT` so that each part keeps within the limit; the other parameters are repeated."""
        before, after = arguments[:rows], arguments[rows + 1 :]
        others = self._size([*before, [], *after])
        for chunk in _chunks(arguments[rows], self._limit - others):
            yield [*before, chunk, *after]


def _slots(fragments: Sequence[dict[str, Any]], parameters: list[_Parameter]) -> tuple[list[_Slot], str]:
    """The slots of a statement, and the text after the last one."""
    slots: list[_Slot] = []
    remaining = iter(parameters)
    text = ""
    for fragment in fragments:
        if fragment["type"] == "stringChunk":
            text += fragment["chunk"]
        else:
            slots.append(_Slot(text, fragment, fragment["type"], *next(remaining)))
            text = ""
    return slots, text


def _inserted_rows(slots: Sequence[_Slot]) -> int | None:
    """Which argument holds the rows of an `INSERT`, or None for other statements."""
    kinds = [slot.kind for slot in slots]
    return kinds.index(_ROWS) if _ROWS in kinds and slots[0].before.startswith("INSERT ") else None


def _operator(text: str) -> str | None:
    """The operator at the end of a text that a list follows."""
    return next((operator for operator in (_NOT_IN, _IN) if text.endswith(f" {operator}")), None)


def _size(kind: str, value: Any) -> int:
    if kind == "parameterTuple":
        return len(as_list(value))
    if kind == _ROWS:
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
