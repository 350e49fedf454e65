"""Recognises raw statements that would begin or end a transaction without the client's knowledge."""

from __future__ import annotations

import re
from typing import Final

from prisma_inprocess.errors import EngineError, Fault

# Atomic: a comment ends at its first end, and many of them cost no more than their length.
_GAP: Final = r"(?>\s+|--[^\n]*(?:\n|$)|/\*.*?\*/)"
_FLAGS: Final = re.IGNORECASE | re.DOTALL
_START: Final = rf"(?:{_GAP}|;)*+"
# `ROLLBACK TO` and `COMMIT PREPARED` are other things.
_BOUNDARY: Final = re.compile(
    rf"{_START}(BEGIN|START{_GAP}+TRANSACTION|END|ABORT|PREPARE{_GAP}+TRANSACTION|COMMIT(?!{_GAP}+PREPARED\b)"
    rf"|ROLLBACK(?!{_GAP}+PREPARED\b)(?!(?:{_GAP}+(?:WORK|TRANSACTION))?{_GAP}+TO\b))\b",
    _FLAGS,
)
_SAVEPOINT: Final = re.compile(rf"{_START}(SAVEPOINT|RELEASE|ROLLBACK(?!{_GAP}+PREPARED\b))\b", _FLAGS)
_CHANGE: Final = re.compile(rf"{_START}(?:INSERT|REPLACE|UPDATE|DELETE|WITH)\b", _FLAGS)
_RETURNING: Final = re.compile(r"\bRETURNING\b", _FLAGS)
# SQLSTATE "invalid transaction state", on SQLite too.
_CODE: Final = "25000"


def refuse_control(sql: str, *, in_transaction: bool) -> None:
    """Refuse a raw statement that begins or ends a transaction, and savepoints outside of one.

    Raises:
        EngineError: P2010, with the code 25000 in its meta.
    """
    found = _BOUNDARY.match(sql) or (None if in_transaction else _SAVEPOINT.match(sql))
    if found is None:
        return
    word = found[1].split()[0].upper()
    if in_transaction:
        advice = "the transaction commits at the end of its `tx()` block, and rolls back when the block raises"
    else:
        advice = "statements outside of `tx()` commit one by one, on connections that other callers use as well"
    raise _refusal(f"{word} must not be sent as a raw statement: {advice}")


def changes_and_returns(sql: str) -> bool:
    """Whether a statement may change rows and then give some, at which it can still fail."""
    return _CHANGE.match(sql) is not None and _RETURNING.search(sql) is not None


def left_open() -> EngineError:
    """The error for a raw statement that began a transaction all the same; it was rolled back."""
    return _refusal("the statement began a transaction outside of `tx()`. It was rolled back")


def ended_by_statement() -> EngineError:
    """The error for a transaction that one of its raw statements ended all the same."""
    return EngineError("Transaction already closed: a raw statement ended it.", "P2028", fault=Fault.TRANSACTION_CLOSED)


def _refusal(message: str) -> EngineError:
    return EngineError(
        f"Raw query failed. Code: `{_CODE}`. Message: `{message}`", "P2010", {"code": _CODE, "message": message}
    )
