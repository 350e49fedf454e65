"""Statements of a plan: templates that are rendered with the values of one execution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from prisma_inprocess.drivers.base import ArgumentType, Dialect, Encoder
from prisma_inprocess.errors import EngineError
from prisma_inprocess.plan.values import Run, Scope, Value, compile_value

Statement = tuple[str, list[Any]]
Renderer = Callable[[Run, Scope], list[Statement]]


def compile_statement(raw: dict[str, Any], dialect: Dialect) -> Renderer:
    """A function that renders a statement: one, or several where its parameters exceed the database's limit and it may
    be split.
    """
    values = [compile_value(argument) for argument in raw["args"]]
    if raw["type"] == "rawSql":
        encoders = [dialect.encoder(ArgumentType.parse(kind)) for kind in raw["argTypes"]]
        return _fixed(raw["sql"], values, encoders)
    fragments = raw["fragments"]
    placeholder = raw["placeholderFormat"]
    numbered, prefix = placeholder["hasNumbering"], placeholder["prefix"]
    if all(fragment["type"] in ("stringChunk", "parameter") for fragment in fragments):
        encoders = [dialect.encoder(ArgumentType.parse(kind)) for kind in raw["argTypes"]]
        return _fixed(_fixed_text(fragments, prefix, numbered), values, encoders)
    return _Template(raw, values, dialect).render


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


def _fixed(text: str, values: list[Value], encoders: list[Encoder | None]) -> Renderer:
    """The common case: the text never changes, only the values do."""
    pairs = list(zip(values, encoders, strict=True))

    def render(run: Run, scope: Scope) -> list[Statement]:
        return [(text, [value(run, scope) if encode is None else encode(value(run, scope)) for value, encode in pairs])]

    return render


class _Template:
    """A statement whose text depends on how many values a list has."""

    def __init__(self, raw: dict[str, Any], values: list[Value], dialect: Dialect) -> None:
        self._fragments: list[dict[str, Any]] = raw["fragments"]
        self._values = values
        self._limit = dialect.max_parameters
        self._chunkable = bool(raw["chunkable"])
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
        sets = self._split(arguments) if self._chunkable else [arguments]
        statements = [self._render(one) for one in sets]
        if any(len(parameters) > self._limit for _, parameters in statements):
            raise EngineError("The query parameter limit supported by your database is exceeded.", "P2029")
        return statements

    def _render(self, arguments: list[Any]) -> Statement:
        parts: list[str] = []
        parameters: list[Any] = []

        def slot(value: Any, encode: Encoder | None) -> str:
            parameters.append(value if encode is None else encode(value))
            return f"{self._prefix}{len(parameters)}" if self._numbered else self._prefix

        for fragment, value, encoders in self._pairs(arguments):
            kind = fragment["type"]
            if kind == "stringChunk":
                parts.append(fragment["chunk"])
            elif kind == "parameter":
                parts.append(slot(value, encoders[0]))
            elif kind == "parameterTuple":
                items = value if isinstance(value, list) else [value]
                before, after = fragment["itemPrefix"], fragment["itemSuffix"]
                slots = fragment["itemSeparator"].join(f"{before}{slot(item, encoders[0])}{after}" for item in items)
                parts.append(f"({slots or 'NULL'})")
            else:
                parts.append(self._tuples(fragment, value, encoders, slot))
        return "".join(parts), parameters

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

    def _split(self, arguments: list[Any]) -> list[list[Any]]:
        """Split the longest list so that each statement keeps within the limit; the other parameters are repeated."""
        sizes = [
            _size(fragment, value) for fragment, value, _ in self._pairs(arguments) if fragment["type"] != "stringChunk"
        ]
        total = sum(sizes)
        if total <= self._limit:
            return [arguments]
        longest = max(range(len(sizes)), key=sizes.__getitem__)
        room = self._limit - (total - sizes[longest])
        value = arguments[longest]
        if room < 1 or not isinstance(value, list):
            return [arguments]
        return [[*arguments[:longest], chunk, *arguments[longest + 1 :]] for chunk in _chunks(value, room)]


def _size(fragment: dict[str, Any], value: Any) -> int:
    if fragment["type"] == "parameterTuple" and isinstance(value, list):
        return len(value)
    if fragment["type"] == "parameterTupleList":
        return sum(len(row) for row in value)
    return 1


def _chunks(values: list[Any], room: int) -> Iterator[list[Any]]:
    """Consecutive parts of a list, each of at most `room` parameters (a tuple counts as many as it has elements)."""
    chunk: list[Any] = []
    used = 0
    for value in values:
        size = len(value) if isinstance(value, list) else 1
        if chunk and used + size > room:
            yield chunk
            chunk, used = [], 0
        chunk.append(value)
        used += size
    if chunk:
        yield chunk
