"""SQLite's errors as Prisma's."""

from __future__ import annotations

import re
import sqlite3

from prisma_inprocess.errors import EngineError

# What sqlite3 raises besides sqlite3.Error: a number beyond 64 bits, a lone surrogate, several statements at once
# (before Python 3.12).
DATABASE_ERRORS = (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeEncodeError)
_UNIQUE = re.compile(r"^UNIQUE constraint failed: (.+)$")
_NOT_NULL = re.compile(r"^NOT NULL constraint failed: (.+)$")


def query_error(error: BaseException, *, raw: bool) -> EngineError:
    """Prisma's error for one of `DATABASE_ERRORS`; `raw` for the user's own statements."""
    message = str(error)
    code = str(getattr(error, "sqlite_errorcode", "N/A"))
    if isinstance(error, UnicodeEncodeError):
        return EngineError("Input error: a text contains a lone surrogate, which SQLite cannot store", "P2019")
    if isinstance(error, OverflowError):
        return EngineError("Value out of range for the type: an integer does not fit into 64 bits", "P2020")
    if raw:
        return EngineError(
            f"Raw query failed. Code: `{code}`. Message: `{message}`", "P2010", {"code": code, "message": message}
        )
    return _planned(message, code)


def _planned(message: str, code: str) -> EngineError:
    if found := _UNIQUE.match(message):
        fields = _fields(found[1])
        quoted = ", ".join(f"`{field}`" for field in fields)
        return EngineError(f"Unique constraint failed on the fields: ({quoted})", "P2002", {"target": fields})
    if found := _NOT_NULL.match(message):
        fields = _fields(found[1])
        quoted = ", ".join(f"`{field}`" for field in fields)
        return EngineError(f"Null constraint violation on the fields: ({quoted})", "P2011", {"constraint": fields})
    if message.startswith("FOREIGN KEY constraint failed"):
        return EngineError("Foreign key constraint violated on the foreign key", "P2003", {"field_name": "foreign key"})
    if message.startswith("no such table: "):
        table = message.removeprefix("no such table: ")
        return EngineError(f"The table `{table}` does not exist in the current database.", "P2021", {"table": table})
    if message.startswith("no such column: ") or " has no column named " in message:
        column = message.rsplit(" ", 1)[-1]
        return EngineError(
            f"The column `{column}` does not exist in the current database.", "P2022", {"column": column}
        )
    if "database is locked" in message or "database table is locked" in message:
        return EngineError("Operation has timed out: another process kept the database locked", "P1008")
    if message == "interrupted":
        return EngineError("Operation was interrupted", "P1008")
    return EngineError(f"Database error. Code: `{code}`. Message: `{message}`", "P2039", {"code": code})


def _fields(columns: str) -> list[str]:
    return [column.rsplit(".", 1)[-1] for column in columns.split(", ")]
