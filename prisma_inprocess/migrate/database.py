"""The interface of a database that the schema engine needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from prisma_inprocess.errors import MigrationError

# The engine's own numbers for the types of columns; a list of a type is that much more.
INT64: Final = 1
DOUBLE: Final = 3
NUMERIC: Final = 4
BOOLEAN: Final = 5
CHARACTER: Final = 6
TEXT: Final = 7
DATE: Final = 8
TIME: Final = 9
DATETIME: Final = 10
JSON: Final = 11
BYTES: Final = 13
UUID: Final = 15
LIST: Final = 64

LEFT_OPEN: Final = "the script begins a transaction and does not end it, so its changes are lost. End it with COMMIT"

_SAFE_INTEGER: Final = 2**53 - 1


class DatabaseFailure(Exception):
    """A statement failed.

    Attributes:
        message: The database's own text.
        payload: The failure as the engine reads it: `kind` and what belongs to that kind.
        state: The database's own code: PostgreSQL's SQLSTATE, SQLite's extended result code.
    """

    def __init__(self, message: str, payload: Mapping[str, Any], state: str) -> None:
        super().__init__(message)
        self.message = message
        self.payload = dict(payload)
        self.state = state


@dataclass(slots=True, frozen=True)
class ResultSet:
    """Rows as the engine reads them: every value is text, a number, a boolean, None, or a list of these."""

    names: list[str]
    types: list[int]
    rows: list[list[Any]]


class Connection(Protocol):
    """One open connection. All methods raise DatabaseFailure when the database refuses."""

    async def query(self, sql: str, arguments: Sequence[Any]) -> ResultSet: ...

    async def execute(self, sql: str, arguments: Sequence[Any]) -> int:
        """Run a statement. Returns the number of rows that it changed, 0 where that is not known."""
        ...

    async def run_script(self, script: str) -> None:
        """Run the statements of a script, up to the first that fails."""
        ...

    async def close(self) -> None: ...


class Database(Protocol):
    """A database that is open to be migrated.

    Attributes:
        provider: The engine's name for its kind, `sqlite` or `postgres`.
        schema_name: The schema that unqualified tables live in, or None where there are no schemas.
        place: Its location for messages, without a password.
        connection: The connection that migrations run on.
    """

    provider: str
    schema_name: str | None
    place: str

    @property
    def connection(self) -> Connection: ...

    async def open_shadow(self) -> Connection:
        """An empty database that is not the real one, and that is gone when its connection is closed."""
        ...

    async def lock(self, limit: float) -> None:
        """Keep other processes from migrating the database, until `close`.

        Args:
            limit: Seconds to wait for a process that does so now.

        Raises:
            MigrationError: it was not done by then (P1002).
        """
        ...

    async def has_history(self) -> bool:
        """Whether the database has Prisma's table of migrations."""
        ...

    async def prepare_history(self) -> None:
        """Create Prisma's table of migrations, if it is missing and the engine does not create it."""
        ...

    async def empty(self) -> None:
        """Drop everything, in one transaction."""
        ...

    async def close(self) -> None:
        """Close the connection, and let the next process have the lock."""
        ...


def lock_timeout(limit: float) -> MigrationError:
    """The error for a lock that another process held for `limit` seconds."""
    return MigrationError(
        f"another process has been migrating this database for {limit:g} s. Wait for it and run the command again, "
        "or pass --lock-timeout SECONDS to wait longer",
        "P1002",
    )


def integer(value: int) -> int | str:
    """A whole number for the engine, which has JavaScript's numbers only."""
    return value if -_SAFE_INTEGER <= value <= _SAFE_INTEGER else str(value)
