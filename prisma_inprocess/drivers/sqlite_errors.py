"""Converts errors of SQLite to Prisma's errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from prisma_inprocess.drivers.private_sqlite import ERRORS, WARNINGS
from prisma_inprocess.errors import EngineError, Fault, parameters_exceeded

# Other errors of sqlite3: for a number beyond 64 bits, a lone surrogate, or several statements at once (before Python
# 3.12).
DATABASE_ERRORS: Final[tuple[type[Exception], ...]] = (*ERRORS, *WARNINGS, OverflowError, UnicodeEncodeError)
_UNIQUE = re.compile(r"^UNIQUE constraint failed: (.+)$")
_NOT_NULL = re.compile(r"^NOT NULL constraint failed: (.+)$")


# By primary result code, which is the last byte of an extended one.
_FAULTS: Final[Mapping[int, Fault]] = {
    5: Fault.LOCK_TIMEOUT,  # SQLITE_BUSY
    6: Fault.LOCK_TIMEOUT,  # SQLITE_LOCKED
    7: Fault.INSUFFICIENT_RESOURCES,  # SQLITE_NOMEM
    8: Fault.READ_ONLY,
    9: Fault.STATEMENT_CANCELLED,  # SQLITE_INTERRUPT
    10: Fault.INSUFFICIENT_RESOURCES,  # SQLITE_IOERR
    13: Fault.INSUFFICIENT_RESOURCES,  # SQLITE_FULL
    14: Fault.INSUFFICIENT_RESOURCES,  # SQLITE_CANTOPEN
    17: Fault.PLAN_CHANGED,  # SQLITE_SCHEMA
}
_IOERR: Final = 10
_LOCKED: Final = (5, 6)
_TOO_MANY: Final = ("too many SQL variables", "variable number must be between")


def query_error(error: BaseException, *, raw: bool, committing: bool = False) -> EngineError:
    """Prisma's error for one of `DATABASE_ERRORS`.

    Args:
        error: The error of sqlite3.
        raw: Whether it is the user's own statement.
        committing: Whether it may have happened in a commit. Its outcome is unknown if the disk fails.
    """
    failure = _described(error, raw=raw)
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        primary = code & 0xFF
        failure.fault, failure.database_code = _FAULTS.get(primary), str(code)
        failure.in_doubt = committing and primary == _IOERR
    return failure


def open_error(error: Exception, path: str) -> EngineError:
    """Prisma's error for a file that cannot be opened."""
    code = getattr(error, "sqlite_errorcode", 0)
    return EngineError(
        f"Can't open the database file {path}: {error}",
        "P1003",
        {"database_file_path": path},
        fault=Fault.LOCK_TIMEOUT if code & 0xFF in _LOCKED else Fault.UNREACHABLE,
        database_code=str(code),
    )


def _described(error: BaseException, *, raw: bool) -> EngineError:
    # "Could not decode to UTF-8 column 'a' with text '...'"
    message = str(error).partition(" with text ")[0]
    error.args = (message,)  # a traceback shows it as the cause
    code = str(getattr(error, "sqlite_errorcode", "N/A"))
    if isinstance(error, UnicodeEncodeError):
        return EngineError("Input error: a text contains a lone surrogate, which SQLite cannot store", "P2019")
    if isinstance(error, OverflowError):
        return EngineError("Value out of range for the type: an integer does not fit into 64 bits", "P2020")
    if message.startswith(_TOO_MANY):
        return parameters_exceeded()
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
