"""PostgreSQL's and asyncpg's errors as Prisma's."""

from __future__ import annotations

import re

import asyncpg

from prisma_inprocess.errors import EngineError
from prisma_inprocess.url import PostgresUrl

_KEY = re.compile(r"Key \(([^)]+)\)")
_QUOTED = re.compile(r'"([^"]+)"')
_CLOSED = "Server has closed the connection."


def is_connection_lost(error: BaseException) -> bool:
    """Whether the connection is gone or useless, rather than the statement wrong."""
    if isinstance(error, asyncpg.PostgresConnectionError | OSError | TimeoutError):
        return True
    # asyncpg's protocol lost count when the connection was cut in the middle of an operation.
    if isinstance(error, asyncpg.InternalClientError):
        return True
    # 57P01..57P03: the server shuts down or starts up.
    if isinstance(error, asyncpg.PostgresError):
        return str(getattr(error, "sqlstate", None) or "").startswith(("08", "57P0"))
    return isinstance(error, asyncpg.InterfaceError) and not isinstance(error, asyncpg.DataError)


def query_error(error: BaseException, *, raw: bool) -> EngineError:
    """Prisma's error for a failed statement; `raw` for the user's own statements."""
    if isinstance(error, TimeoutError):
        return EngineError("Operation has timed out", "P1008")
    if is_connection_lost(error):
        return EngineError(_CLOSED, "P1017")
    if not isinstance(error, asyncpg.PostgresError):
        return _argument_error(error, raw=raw)
    state, message = str(getattr(error, "sqlstate", None)), str(error.args[0] if error.args else error)
    if raw:
        return EngineError(
            f"Raw query failed. Code: `{state}`. Message: `{message}`", "P2010", {"code": state, "message": message}
        )
    return _planned(error, state, message)


def _argument_error(error: BaseException, *, raw: bool) -> EngineError:
    # asyncpg quotes the value; a message must not.
    reason = str(error).rpartition("(")[2].rstrip(")") if "(" in str(error) else type(error).__name__
    if raw:
        message = f"a parameter does not fit its type: {reason}"
        return EngineError(
            f"Raw query failed. Code: `22P02`. Message: `{message}`", "P2010", {"code": "22P02", "message": message}
        )
    if "out of range" in reason or isinstance(error, OverflowError):
        return EngineError(f"Value out of range for the type: {reason}", "P2020")
    return EngineError(f"Invalid input value: {reason}", "P2007")


def _planned(error: asyncpg.PostgresError, state: str, message: str) -> EngineError:
    fields = _key_fields(error)
    if state == "23505":
        target = fields or [str(error.constraint_name)]
        described = (
            "fields: (" + ", ".join(f"`{field}`" for field in fields) + ")" if fields else f"constraint: `{target[0]}`"
        )
        return EngineError(
            f"Unique constraint failed on the {described}", "P2002", {"target": target, "modelName": error.table_name}
        )
    if state in ("23503", "23001"):
        name = str(error.constraint_name)
        return EngineError(
            f"Foreign key constraint violated on the constraint: `{name}`", "P2003", {"field_name": name}
        )
    if state == "23502":
        column = str(error.column_name)
        return EngineError(f"Null constraint violation on the fields: (`{column}`)", "P2011", {"constraint": [column]})
    if state == "22001":
        column = str(error.column_name or "(not available)")
        text = f"The provided value for the column is too long for the column's type. Column: {column}"
        return EngineError(text, "P2000", {"column_name": column})
    if state == "22003":
        return EngineError(f"Value out of range for the type: {message}", "P2020", {"details": message})
    if state in ("22P02", "22021"):
        return EngineError(f"Invalid input value: {_without_value(message)}", "P2007")
    if state == "42P01":
        table = _first_quoted(message)
        return EngineError(f"The table `{table}` does not exist in the current database.", "P2021", {"table": table})
    if state == "42703":
        column = (
            message.removeprefix("column ")
            .partition(" does not exist")[0]
            .partition(" of relation")[0]
            .replace('"', "")
        )
        return EngineError(
            f"The column `{column}` does not exist in the current database.", "P2022", {"column": column}
        )
    if state in ("40001", "40P01"):
        text = "Transaction failed due to a write conflict or a deadlock. Please retry your transaction"
        return EngineError(text, "P2034")
    if state == "57014":
        return EngineError("Operation has timed out", "P1008")
    if state == "53300":
        return EngineError(f"Too many database connections opened: {message}", "P2037")
    return EngineError(f"Database error. Code: `{state}`. Message: `{message}`", "P2039", {"code": state})


def connection_error(error: BaseException, url: PostgresUrl) -> EngineError:
    """Prisma's error for a connection that could not be opened: host, port and database, never the password."""
    meta = {"database_host": url.host, "database_port": url.port, "database_name": url.database}
    state = str(getattr(error, "sqlstate", None) or "")
    if state in ("28P01", "28000"):
        text = (
            f"Authentication failed against the database server at `{url.address}` (database `{url.database}`), "
            f"the provided database credentials for `{url.user or '(not available)'}` are not valid"
        )
        return EngineError(text, "P1000", meta)
    if state == "3D000":
        return EngineError(
            f"Database `{url.database}` does not exist on the database server at `{url.address}`", "P1003", meta
        )
    if state == "53300":
        return EngineError(
            f"Too many database connections opened at `{url.address}` (database `{url.database}`)", "P2037", meta
        )
    reason = f"no answer within {url.connect_timeout:g} s" if isinstance(error, TimeoutError) else _reason(error, url)
    text = f"Can't reach database server at `{url.address}` (database `{url.database}`): {reason}"
    return EngineError(text, "P1001", meta)


def _reason(error: BaseException, url: PostgresUrl) -> str:
    text = str(error) or type(error).__name__
    return text.replace(url.password, "***") if url.password else text


def _key_fields(error: asyncpg.PostgresError) -> list[str]:
    found = _KEY.search(error.detail or "")
    return [field.strip('"') for field in found[1].split(", ")] if found else []


def _first_quoted(message: str) -> str:
    found = _QUOTED.search(message)
    return found[1] if found else "(not available)"


def _without_value(message: str) -> str:
    """PostgreSQL quotes the refused value at the end: `invalid input syntax for type uuid: "..."`."""
    return message.partition(': "')[0]
