"""`convert-dates`: rewrite the `DateTime` values of a SQLite file in one format."""

# ruff: noqa: S608 (names come from the schema and are quoted, values are none)

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prisma_inprocess.date_format import DateColumns, DateFormat
from prisma_inprocess.drivers.private_sqlite import ERRORS, private_sqlite
from prisma_inprocess.drivers.sqlite_dates import encode_iso, encode_milliseconds
from prisma_inprocess.drivers.sqlite_stored_dates import existing, quoted
from prisma_inprocess.errors import ConversionError, EngineError, GenerationError
from prisma_inprocess.package import ENGINE_FOLDER, GRAPH_FILE
from prisma_inprocess.url import parse_sqlite_url

_FUNCTION: Final = "prisma_inprocess_date"
_TYPES: Final = {DateFormat.ISO: "text", DateFormat.MILLISECONDS: "integer"}
_LOCK_SECONDS: Final = 5.0


def client_columns(client: Path) -> DateColumns:
    """The DateTime columns of the generated client in a folder. Raises: GenerationError when there is none."""
    file = client / ENGINE_FOLDER / GRAPH_FILE
    try:
        graph = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise GenerationError(
            f"--client must be the folder of a generated client, the `output` of its schema: {file} does not exist"
        ) from None
    return DateColumns.of_graph(client, graph)


@dataclass(slots=True, frozen=True)
class Converted:
    """The result of `convert_dates`.

    Attributes:
        path: The file.
        values: How many values were rewritten, by `Table.column`; columns without any are left out.
    """

    path: str
    values: dict[str, int]


def convert_dates(url: str, columns: DateColumns, to: DateFormat) -> Converted:
    """Rewrite all dates of a file in one format, in one transaction.

    A crash, a full disk or a value that is not a date leaves the file as it was. Values become times in UTC with
    milliseconds. Further digits are cut off, as the client does when it writes.

    Args:
        url: The file, as the client takes it.
        columns: The DateTime columns of the schema.
        to: The format.

    Raises:
        ConfigurationError: The URL is not one of SQLite.
        ConversionError: Nothing was converted: the file does not exist, another process keeps it locked, a value is
            not a date, or two values of a unique column are the same time in two formats.
    """
    path = parse_sqlite_url(url).path
    if not Path(path).is_file():
        raise ConversionError(f"there is no SQLite file {path}")
    try:
        with closing(_open(path, to)) as connection:
            return Converted(path, _convert(connection, columns, to))
    except ERRORS as error:
        raise ConversionError(f"nothing was converted: {error}") from error


def _open(path: str, to: DateFormat) -> sqlite3.Connection:
    connection: sqlite3.Connection = private_sqlite.connect(path, timeout=_LOCK_SECONDS, isolation_level=None)
    encode = encode_milliseconds if to is DateFormat.MILLISECONDS else encode_iso

    def converted(value: Any) -> Any:
        # SQLite would replace the exception's text, so NULL marks a value that is not a date.
        try:
            return encode(value)
        except EngineError:
            return None

    connection.create_function(_FUNCTION, 1, converted, deterministic=True)
    return connection


def _convert(connection: sqlite3.Connection, columns: DateColumns, to: DateFormat) -> dict[str, int]:
    values: dict[str, int] = {}
    # A date may be a key that other tables refer to. Both sides are converted, one after the other.
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("BEGIN IMMEDIATE")
    try:
        for table, names in existing(connection, columns):
            for name in names:
                count = _convert_column(connection, table, name, to)
                if count:
                    values[f"{table}.{name}"] = count
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return values


def _convert_column(connection: sqlite3.Connection, table: str, name: str, to: DateFormat) -> int:
    column = quoted(name)
    # Compare the type as well, because SQLite treats 1.0 and 1 as equal.
    differs = f"{column} IS NOT NULL AND (typeof({column}) <> '{_TYPES[to]}' OR {column} IS NOT {_FUNCTION}({column}))"
    [(unreadable,)] = connection.execute(
        f"SELECT count(*) FROM {quoted(table)} WHERE {column} IS NOT NULL AND {_FUNCTION}({column}) IS NULL"
    ).fetchall()
    if unreadable:
        raise ConversionError(
            f"nothing was converted: {unreadable} values of `{table}.{name}` are not dates. Correct or remove them, "
            "then convert again"
        )
    count = connection.execute(f"UPDATE {quoted(table)} SET {column} = {_FUNCTION}({column}) WHERE {differs}").rowcount
    [(refused,)] = connection.execute(
        f"SELECT count(*) FROM {quoted(table)} WHERE typeof({column}) NOT IN ('{_TYPES[to]}', 'null')"
    ).fetchall()
    if refused:
        raise ConversionError(
            f"nothing was converted: the declared type of `{table}.{name}` does not keep a value as {_TYPES[to]}. "
            "Declare the column as DATETIME, as Prisma does"
        )
    return count
