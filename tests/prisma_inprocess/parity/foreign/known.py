"""Differences that docs/prisma_inprocess.md explains, by their names.

A difference in what is written would make all later operations differ. Such writes are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from tests.prisma_inprocess.parity.foreign.models import Field


def explain(record: Mapping[str, Any], answer: Mapping[str, Any], found: Set[str]) -> str | None:
    """Return the name of the difference between an operation here and the official runtime's answer, if it has one."""
    if found == {"request"} and _has_whole_float(record["literal"]):
        return "a float without a fraction is a Float here, and an Int in JavaScript"
    return None


def _has_whole_float(literal: Any) -> bool:
    if isinstance(literal, Mapping):
        return any(map(_has_whole_float, literal.values()))
    if isinstance(literal, list):
        return any(map(_has_whole_float, literal))
    return isinstance(literal, float) and literal.is_integer()


def list_operators(field: Field) -> tuple[str, ...]:
    """Return the ways to change a list that write the same with both; "plain" is the list without an operator."""
    if _is_sent_differently(field):
        return ("plain",)
    return ("plain", "set") if field.type == "Json" or field.kind == "enum" else ("plain", "set", "push")


def list_filters(field: Field) -> tuple[str, ...]:
    """Return the filters on a list that find the same with both. Their rows may be written, so others are left out."""
    return ("has", "is_empty", *(() if _is_sent_differently(field) else ("equals", "has_every", "has_some")))


def number_operators(field: Field, provider: str) -> tuple[str, ...]:
    """Return the ways to change a number that write the same with both."""
    is_divided_with_a_fraction = provider == "sqlite" and field.type in ("Int", "BigInt")
    return ("increment", "decrement", "multiply", *(() if is_divided_with_a_fraction else ("divide",)))


def _is_sent_differently(field: Field) -> bool:
    """Return whether the official runtime does not convert the items of such a list."""
    return field.type == "Bytes" or field.native == "Time"
