"""The errors of this package, as one small tree.

    PrismaInProcessError
    ├── GenerationError          a schema, a wasm file or an option that `generate` cannot work with
    ├── ConfigurationError       a connection URL, or the file that it names, cannot be used
    ├── ConversionError          the dates of a SQLite file could not be converted, and are as they were
    ├── MigrationError           a migration command that did not do what it was asked for (carries Prisma's code)
    └── EngineError              a query, a transaction or a connection failed (carries Prisma's code, meta and a fault)

A user of a generated client never sees `EngineError`: the client's own exception classes (`UniqueViolationError`,
`RawQueryError`, ...) are raised in its place, with the same attributes. The others are raised as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final


class PrismaInProcessError(Exception):
    """Base of every error that this package raises itself."""


class GenerationError(PrismaInProcessError):
    """A client could not be generated. The message names the schema, file or option, and what to change."""


class ConfigurationError(PrismaInProcessError):
    """A connection URL, one of its options, or the date format of a SQLite file cannot be used.

    The message never contains the password of the URL.
    """


class ConversionError(PrismaInProcessError):
    """The dates of a SQLite file could not be converted. The file is as it was; the message says what to do."""


class MigrationError(PrismaInProcessError):
    """A migration command failed or was refused. The message says what happened and what to do.

    Its text is the message with the code.

    Attributes:
        message: One line for people, without a password.
        code: Prisma's code (`P3009`, `P3018`, ...). None: Prisma has none.
        details: More lines for people, such as the error of the database. May be empty.
    """

    def __init__(self, message: str, code: str | None = None, *, details: str = "") -> None:
        super().__init__(message if code is None else f"{message} ({code})")
        self.message = message
        self.code = code
        self.details = details


class Fault(StrEnum):
    """What failed between the client and its database. An error of the operation itself has no fault."""

    UNREACHABLE = "unreachable"
    """The server or file could not be opened: address, credentials or database."""
    SERVER_NOT_READY = "server_not_ready"
    """The server is starting up, shutting down or recovering (SQLSTATE 57P03)."""
    TOO_MANY_CONNECTIONS = "too_many_connections"
    """The server has no place for another connection (53300)."""
    NOT_CONNECTED = "not_connected"
    """The client is not connected, or was disconnected meanwhile."""
    POOL_TIMEOUT = "pool_timeout"
    """No connection of the pool became free in time."""
    WAITS_FOR_ITSELF = "waits_for_itself"
    """The same as `POOL_TIMEOUT`, while the caller itself held a connection: its transaction's."""
    CONNECTION_LOST = "connection_lost"
    """The connection was cut."""
    SERVER_SHUTDOWN = "server_shutdown"
    """The server or an administrator ended the connection (57P01, 57P02)."""
    NO_ANSWER = "no_answer"
    """A statement was not answered within its limit; its connection is closed."""
    STATEMENT_CANCELLED = "statement_cancelled"
    """The server cancelled the statement, for instance by `statement_timeout` (57014)."""
    LOCK_TIMEOUT = "lock_timeout"
    """A lock was not granted in time (55P03; on SQLite, another process kept the file locked)."""
    WRITE_CONFLICT = "write_conflict"
    """The transaction conflicted with another one: deadlock or serialization failure (40P01, 40001)."""
    PLAN_CHANGED = "plan_changed"
    """A prepared statement no longer fits its tables, because they were altered (0A000, 26000)."""
    READ_ONLY = "read_only"
    """The server takes no writes, for instance after a failover (25006)."""
    INSUFFICIENT_RESOURCES = "insufficient_resources"
    """The server or file lacks memory or disk, or its input and output fails (classes 53 and 58)."""
    TRANSACTION_EXPIRED = "transaction_expired"
    """The time that the transaction was given is up."""
    TRANSACTION_CLOSED = "transaction_closed"
    """The transaction was committed or rolled back before, or one of its statements was cancelled by its caller."""
    TRANSACTION_FAILED = "transaction_failed"
    """An earlier statement of the transaction failed, so that the database keeps nothing of it."""


# The caller causes these faults, so a repetition would end in the same way.
_OWN: Final = frozenset(
    (Fault.WAITS_FOR_ITSELF, Fault.TRANSACTION_EXPIRED, Fault.TRANSACTION_CLOSED, Fault.TRANSACTION_FAILED)
)


class EngineError(PrismaInProcessError):
    """A failure with one of Prisma's codes (`P1xxx` connections, `P2xxx` queries).

    Attributes:
        message: Text for people, in Prisma's own words where Prisma has them.
        code: Prisma's code. None: Prisma has none.
        meta: Prisma's machine-readable details, such as `{"target": ["email"]}`.
        fault: What failed in the database or in the connection to it. None: the operation itself was wrong.
        in_doubt: Whether the statement or COMMIT may have taken effect, because its answer was lost.
        database_code: The database's own code: PostgreSQL's SQLSTATE, or SQLite's extended result code.
    """

    def __init__(
        self,
        message: str,
        code: str | None = None,
        meta: Mapping[str, Any] | None = None,
        *,
        fault: Fault | None = None,
        in_doubt: bool = False,
        database_code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.meta: dict[str, Any] = dict(meta or {})
        self.fault = fault
        self.in_doubt = in_doubt
        self.database_code = database_code

    @property
    def retryable(self) -> bool:
        """Whether nothing took effect, and the same operation, or its whole transaction, may succeed when repeated."""
        return self.fault is not None and self.fault not in _OWN and not self.in_doubt

    def again(self) -> EngineError:
        """Return the same error for another caller, with its own traceback."""
        return EngineError(
            self.message,
            self.code,
            self.meta,
            fault=self.fault,
            in_doubt=self.in_doubt,
            database_code=self.database_code,
        )

    def response(self) -> dict[str, Any]:
        """The error in the form of the native engine, from which the client's error classes are built."""
        return {
            "error": self.message,
            "user_facing_error": {
                "is_panic": False,
                "message": self.message,
                "meta": self.meta,
                "error_code": self.code,
            },
        }


def parameters_exceeded() -> EngineError:
    return EngineError("The query parameter limit supported by your database is exceeded.", "P2029")


def not_connected(message: str = "it was disconnected meanwhile") -> EngineError:
    return EngineError(f"The client is not connected: {message}", "P1017", fault=Fault.NOT_CONNECTED)


def transaction_closed() -> EngineError:
    """Return the error for a statement after the end of its transaction."""
    return EngineError(
        "Transaction already closed: A query cannot be executed on a closed transaction.",
        "P2028",
        fault=Fault.TRANSACTION_CLOSED,
    )


def transaction_failed(cause: EngineError | None) -> EngineError:
    """Return the error for a transaction that the database aborted after an earlier error, which the caller ignored.

    If the earlier error was a fault of the database, this one is too.
    """
    inherited = cause.fault if cause is not None and cause.retryable else None
    return EngineError(
        "Transaction already closed: the database rolled it back after an earlier error.",
        "P2028",
        fault=inherited or Fault.TRANSACTION_FAILED,
        database_code=cause.database_code if cause is not None else None,
    )
