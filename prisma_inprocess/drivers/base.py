"""The interface of a database that the plan interpreter and the engine need."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from prisma_inprocess.drivers.lists import WholeList
from prisma_inprocess.errors import EngineError

T = TypeVar("T")
Encoder = Callable[[Any], Any]
Decoder = Callable[[Any], Any]
RawStatement = tuple[str, Sequence[Any]]
"""A raw statement of the user, and its parameters."""


class Unreadable(ValueError):
    """A stored value that the client's type cannot represent. The text describes it, and never contains the value."""


class Rows(list[Sequence[Any]]):
    """Rows of one statement, each its values in the order of the columns.

    Attributes:
        columns: The names of their columns. May be empty where there is no row.
    """

    __slots__ = ("columns",)

    def __init__(self, columns: tuple[str, ...], rows: Iterable[Sequence[Any]] = ()) -> None:
        super().__init__(rows)
        self.columns = columns

    def as_dicts(self) -> list[dict[str, Any]]:
        """The rows, each by the names of its columns."""
        return [dict(zip(self.columns, row, strict=True)) for row in self]


@dataclass(slots=True, frozen=True)
class ArgumentType:
    """The type the compiler gives to one parameter of a statement.

    Attributes:
        scalar: `string`, `int`, `bigint`, `float`, `decimal`, `boolean`, `enum`, `uuid`, `json`, `datetime`,
            `bytes` or `unknown`.
        database: The native type where the schema names one (`TIMESTAMPTZ`, `DATE`), in capitals, else None.
        is_list: Whether the parameter is an array.
    """

    scalar: str
    database: str | None
    is_list: bool

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> ArgumentType:
        """The type from its form in a plan."""
        database = raw.get("dbType")
        return cls(raw["scalarType"], database.upper() if database else None, raw["arity"] == "list")


@dataclass(slots=True, frozen=True)
class RawResult:
    """Rows of a raw query, with the client's name for each column's type (`int`, `bigint`, `json`, `datetime`,
    `string-array`, ...).
    """

    columns: list[str]
    types: list[str]
    rows: list[list[Any]]


class Dialect(Protocol):
    """How values travel to and from one kind of database. Immutable, and equal to others that convert alike, so that
    compiled plans can be shared between connections.
    """

    @property
    def max_parameters(self) -> int: ...

    def __hash__(self) -> int: ...

    def encoder(self, kind: ArgumentType) -> Encoder | None:
        """A function from a plan's value to the driver's, or None if they are the same. It must accept None and values
        read earlier.
        """
        ...

    def decoder(self, kind: str) -> Decoder | None:
        """A function from the driver's value (never None) to what the client's models are built from, or None if they
        are the same. It may raise Unreadable.
        """
        ...

    def whole_list(self, values: Sequence[Any], item: tuple[str, str], *, negated: bool) -> WholeList:
        """What follows a column instead of `IN (...)` or `NOT IN (...)`, with a single parameter.

        Args:
            values: The list, encoded for the driver.
            item: What the plan writes before and after each item.
            negated: Whether the condition is `NOT IN`.
        """
        ...


class Reader(Protocol):
    """Runs planned statements that only read."""

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> Rows:
        """Run a planned statement and return its rows. Raises: EngineError with Prisma's code."""
        ...


class Session(Reader, Protocol):
    """Runs statements: a transaction, or the driver itself, where each statement commits alone.

    All methods raise EngineError with Prisma's code.
    """

    @property
    def in_transaction(self) -> bool: ...

    async def read_together(self, work: Callable[[Reader], Coroutine[Any, Any, T]]) -> T:
        """Run several statements that only read, and the work on their rows, on one connection where that saves time.

        Args:
            work: Awaits nothing but the reader that it is given.
        """
        ...

    async def execute(self, sql: str, arguments: Sequence[Any]) -> int:
        """Run a planned statement and return the number of rows it changed."""
        ...

    async def fetch_raw(self, sql: str, parameters: Sequence[Any], *, for_model: bool) -> RawResult:
        """Run the user's own statement. With `for_model` values are as the client's models want them, without as plain
        JSON-like data.
        """
        ...

    async def execute_raw(self, sql: str, parameters: Sequence[Any]) -> int:
        """Run the user's own statement and return the number of rows it changed."""
        ...

    async def fetch_raw_together(self, statements: Sequence[RawStatement]) -> list[RawResult]:
        """Run the user's own statements in the transaction that is open, or in one of their own.

        Parameters may be `RowsOf` an earlier statement. In a transaction of their own, all happen or none does.
        """
        ...


class Transaction(Session, Protocol):
    """A transaction on a connection of its own. Exactly one of the three endings must be called; each frees the
    connection.
    """

    async def commit(self, *, within: float | None = None) -> None:
        """Commit.

        Args:
            within: Seconds to wait for the answer. None: the driver's own limit. SQLite ignores it, because its commit
                cannot be abandoned.

        Raises: EngineError, `in_doubt` where the answer was lost.
        """
        ...

    async def rollback(self) -> None:
        """Roll back, within a limit. It does not fail: a connection that cannot roll back is closed, which does so."""
        ...

    async def abandon(self, reason: EngineError) -> None:
        """End the transaction now, even while a statement runs in it. That one, and every later one, gets `reason`."""
        ...


class Driver(Session, Protocol):
    """A database: its connections, autocommit statements, and transactions."""

    @property
    def dialect(self) -> Dialect: ...

    async def connect(self) -> None:
        """Open the first connection. Raises: EngineError (P1xxx) naming host, port and database, never the password."""
        ...

    async def close(self) -> None:
        """Close all connections; bounded in time, harmless when repeated."""
        ...

    def close_now(self) -> None:
        """Close without an event loop, for a client that was forgotten."""
        ...

    async def begin(self, *, max_wait: float | None = None, isolation_level: str | None = None) -> Transaction:
        """Start a transaction.

        Args:
            max_wait: Seconds to wait for a connection; None for the driver's own limit.
            isolation_level: Prisma's name of it, for instance `Serializable`; None for the database's default.

        Raises: TimeoutError when no connection became free within `max_wait`; EngineError (P2024) within the driver's
        own limit.
        """
        ...
