"""Several raw statements that happen together, of which a later one may need the rows of an earlier one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prisma_inprocess.drivers.base import RawResult, RawStatement, Session
from prisma_inprocess.request import dump_json


@dataclass(frozen=True, slots=True)
class RowsOf:
    """A parameter that stands for the rows of an earlier statement of the batch, as JSON text.

    Attributes:
        statement: The number of the statement, from 0.
    """

    statement: int


def parse(batch: Sequence[Sequence[Any]]) -> list[RawStatement]:
    """Return the statements of a batch, each of which is given as its SQL and its parameters.

    Raises:
        TypeError: one has no SQL.
        ValueError: a parameter stands for the rows of a statement that does not come before.
    """
    return [_parsed(number, statement) for number, statement in enumerate(batch)]


def _parsed(number: int, statement: Sequence[Any]) -> RawStatement:
    if not isinstance(statement, (tuple, list)) or not statement or not isinstance(statement[0], str):
        raise TypeError(
            f"statement {number} of a batch must be a tuple of its SQL and its parameters, got "
            f"{type(statement).__name__}"
        )
    sql, *parameters = statement
    for value in parameters:
        if isinstance(value, RowsOf) and not 0 <= value.statement < number:
            raise ValueError(
                f"rows_of() in statement {number} must name an earlier statement of the batch, got {value.statement}"
            )
    return sql, parameters


async def one_by_one(session: Session, statements: Sequence[RawStatement]) -> list[RawResult]:
    """Run the statements in the transaction that the session is."""
    results: list[RawResult] = []
    for sql, parameters in statements:
        results.append(await session.fetch_raw(sql, with_rows(parameters, results), for_model=False))
    return results


def with_rows(parameters: Sequence[Any], results: Sequence[RawResult]) -> list[Any]:
    """Return the parameters with the rows for which some of them stand."""
    return [_as_text(results[value.statement]) if isinstance(value, RowsOf) else value for value in parameters]


def _as_text(result: RawResult) -> str:
    return dump_json([dict(zip(result.columns, row, strict=True)) for row in result.rows])
