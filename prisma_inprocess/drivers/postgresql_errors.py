"""Converts errors of PostgreSQL and asyncpg to Prisma's errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import asyncpg

from prisma_inprocess.errors import EngineError, Fault
from prisma_inprocess.url import PostgresUrl

_KEY = re.compile(r"Key \(([^)]+)\)")
# The parts of asyncpg's message that explain a refused argument. They name types, and never the value.
_REASON = re.compile(
    r"value out of \w+ range|expected [\w.]+, got [\w.]+|an? [\w. ]+ (?:is )?(?:required|expected)"
    r"(?: \(got type '?[\w.]+'?\))?"
)
_ARGUMENT = re.compile(r"query argument (\$\d+)")
# A quoted text in PostgreSQL's error about data is a value, unless it follows the kind of a name.
_QUOTED_VALUE = re.compile(r'(?<!enum )(?<!type )(?<!domain )(?<!column )(?<!relation )(?<!parameter )"[^"]*"')
_QUOTED = re.compile(r'"([^"]+)"')

# The errors of a statement: the server's errors, asyncpg's refusal to encode an argument, a broken connection.
DATABASE_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,  # TimeoutError is one of them
    TypeError,
    ValueError,
    OverflowError,
)
# After these, a connection cannot be used any more.
GONE: Final = frozenset((Fault.CONNECTION_LOST, Fault.SERVER_SHUTDOWN, Fault.SERVER_NOT_READY, Fault.NO_ANSWER))
_FAULTS: Final[Mapping[str, Fault]] = {
    "25006": Fault.READ_ONLY,
    "25P02": Fault.TRANSACTION_FAILED,
    "26000": Fault.PLAN_CHANGED,
    "40001": Fault.WRITE_CONFLICT,
    "40P01": Fault.WRITE_CONFLICT,
    "53300": Fault.TOO_MANY_CONNECTIONS,
    "55P03": Fault.LOCK_TIMEOUT,
    "57014": Fault.STATEMENT_CANCELLED,
    "57P01": Fault.SERVER_SHUTDOWN,
    "57P02": Fault.SERVER_SHUTDOWN,
    "57P03": Fault.SERVER_NOT_READY,
}
_CLASS_FAULTS: Final[Mapping[str, Fault]] = {
    "08": Fault.CONNECTION_LOST,
    "53": Fault.INSUFFICIENT_RESOURCES,
    "58": Fault.INSUFFICIENT_RESOURCES,
}


def query_error(error: BaseException, *, raw: bool, unanswered: bool = False) -> EngineError:
    """Prisma's error for a failed statement.

    Args:
        error: One of `DATABASE_ERRORS`.
        raw: Whether it is the user's own statement.
        unanswered: Whether the statement may have been done if the connection is gone: outside a transaction, and at
            its COMMIT.
    """
    fault, state = _fault(error)
    if fault is Fault.NO_ANSWER:
        return EngineError("Operation has timed out", "P1008", fault=fault, in_doubt=unanswered)
    if fault in GONE:
        never_sent = isinstance(error, asyncpg.InterfaceError)
        text = "Server has closed the connection."
        return EngineError(
            text, "P1017", fault=fault, in_doubt=unanswered and not never_sent, database_code=state or None
        )
    if isinstance(error, asyncpg.PostgresError) and not _is_refused_argument(error):
        message = _without_values(state, str(error.args[0] if error.args else error))
        if state == "26000":
            message += ". Behind a pooler in transaction mode, such as PgBouncer, add pgbouncer=true to the URL"
        failure = _raw(state, message) if raw else _planned(error, state, message)
    elif isinstance(error, ValueError | OverflowError) and not isinstance(error, asyncpg.PostgresError):
        failure = _unreadable_answer(raw=raw)
        failure.in_doubt = unanswered
    elif isinstance(error, asyncpg.OutdatedSchemaCacheError):
        # asyncpg noticed an altered type when it read the rows, so the statement took effect.
        failure = EngineError("Database error: a type was altered since the statement was prepared", "P2039")
        failure.in_doubt = unanswered
    else:
        failure = _argument_error(error, raw=raw)
    failure.fault, failure.database_code = fault, state or None
    _forget_values(error, failure)
    return failure


def _forget_values(error: BaseException, failure: EngineError) -> None:
    """Remove values from the driver's own error, which a traceback shows as the cause."""
    if isinstance(error, asyncpg.PostgresError):
        error.detail = None  # such as `Key (email)=(...) already exists.`
        if str(error.sqlstate or "").startswith("22"):
            error.args = (failure.message,)
    if _is_refused_argument(error) or not isinstance(error, asyncpg.PostgresError):
        error.args = (failure.message,)
        error.__cause__ = error.__context__ = None


def _fault(error: BaseException) -> tuple[Fault | None, str]:
    """Return the fault of the database, if there is one, and its own code."""
    if isinstance(error, TimeoutError):
        return Fault.NO_ANSWER, ""
    if isinstance(error, asyncpg.ConnectionDoesNotExistError) and isinstance(error.__cause__, asyncpg.PostgresError):
        error = error.__cause__  # the server's last message before it closed the connection
    if isinstance(error, asyncpg.PostgresError):
        state = str(getattr(error, "sqlstate", None) or "")
        found = _FAULTS.get(state) or _CLASS_FAULTS.get(state[:2])
        if found not in GONE and getattr(error, "severity_en", None) in ("FATAL", "PANIC"):
            found = Fault.CONNECTION_LOST
        return (Fault.PLAN_CHANGED if isinstance(error, asyncpg.InvalidCachedStatementError) else found), state
    if isinstance(error, asyncpg.OutdatedSchemaCacheError):
        return Fault.PLAN_CHANGED, ""
    # asyncpg's protocol loses count when the connection is cut in the middle of an operation (InternalClientError).
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError):
        return Fault.CONNECTION_LOST, ""
    return None, ""


def _is_refused_argument(error: BaseException) -> bool:
    """Return whether asyncpg itself refused to encode an argument. It raises the same error as the server, with the
    value in its text.
    """
    return type(error) is asyncpg.DataError and getattr(error, "severity", None) is None


def _raw(state: str, message: str) -> EngineError:
    return EngineError(
        f"Raw query failed. Code: `{state}`. Message: `{message}`", "P2010", {"code": state, "message": message}
    )


def _argument_error(error: BaseException, *, raw: bool) -> EngineError:
    # asyncpg quotes the value, and its reason may quote it too. A message must not contain values.
    cause = error.__cause__ or error
    reason = found[0] if (found := _REASON.fullmatch(str(cause))) else "it does not fit the type"
    place = f"query argument {found[1]}" if (found := _ARGUMENT.search(str(error))) else "a query argument"
    if raw:
        return _raw("22P02", f"{place}: {reason}")
    if isinstance(cause, OverflowError) or reason.startswith("value out of"):
        return EngineError(f"Value out of range for the type: {place}: {reason}", "P2020")
    return EngineError(f"Invalid input value: {place}: {reason}", "P2007")


def _unreadable_answer(*, raw: bool) -> EngineError:
    """Return the error for rows with a value that Python cannot hold. The statement took effect."""
    reason = "a row holds a value that Python cannot hold, such as a timestamp outside of the years 1 to 9999"
    return _raw("22008", reason) if raw else EngineError(f"Inconsistent column data: {reason}", "P2023")


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
    if state in ("22P02", "22021", "22007", "22008"):
        return EngineError(f"Invalid input value: {message}", "P2007")
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
    fault, code = Fault.UNREACHABLE, "P1001"
    if state in ("28P01", "28000"):
        code = "P1000"
        text = (
            f"Authentication failed against the database server at `{url.address}` (database `{url.database}`), "
            f"the provided database credentials for `{url.user or '(not available)'}` are not valid"
        )
    elif state == "3D000":
        code = "P1003"
        text = f"Database `{url.database}` does not exist on the database server at `{url.address}`"
    elif state == "53300":
        fault, code = Fault.TOO_MANY_CONNECTIONS, "P2037"
        text = f"Too many database connections opened at `{url.address}` (database `{url.database}`)"
    else:
        if state == "57P03":
            fault = Fault.SERVER_NOT_READY
        no_answer = isinstance(error, TimeoutError)
        reason = f"no answer within {url.connect_timeout:g} s" if no_answer else _reason(error, url)
        text = f"Can't reach database server at `{url.address}` (database `{url.database}`): {reason}"
    return EngineError(text, code, meta, fault=fault, database_code=state or None)


def _reason(error: BaseException, url: PostgresUrl) -> str:
    text = str(error) or type(error).__name__
    return text.replace(url.password, "***") if url.password else text


def _key_fields(error: asyncpg.PostgresError) -> list[str]:
    found = _KEY.search(error.detail or "")
    return [field.strip('"') for field in found[1].split(", ")] if found else []


def _first_quoted(message: str) -> str:
    found = _QUOTED.search(message)
    return found[1] if found else "(not available)"


def _without_values(state: str, message: str) -> str:
    """Return a message without the values that PostgreSQL quotes in errors about data (class 22)."""
    if not state.startswith("22"):
        return message
    # The refused value stands at the end: `invalid input syntax for type uuid: "..."`.
    return _QUOTED_VALUE.sub('"..."', message.partition(': "')[0])
