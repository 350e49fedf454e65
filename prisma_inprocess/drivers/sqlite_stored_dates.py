"""Finds the format of the dates in a SQLite file."""

# ruff: noqa: S608 (names come from the schema and are quoted, values are none)

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from prisma_inprocess.date_format import DateColumns, DateFormat
from prisma_inprocess.drivers.private_sqlite import private_sqlite
from prisma_inprocess.errors import ConfigurationError

# What `encode_iso` writes, as a pattern for GLOB. Texts of this form compare as the times do.
CANONICAL: Final = "dddd-dd-ddTdd:dd:dd.ddd+00:00".replace("d", "[0-9]")
# Number of rows that are read from each end of a table, so that connecting to a large file takes no longer.
_SAMPLE: Final = 100


@dataclass(slots=True, frozen=True)
class StoredDates:
    """Formats of the DateTime columns of a file, in the rows that were read, as `Table.column`."""

    milliseconds: tuple[str, ...]
    texts: tuple[str, ...]
    other_texts: tuple[str, ...]
    """Columns with a text in another form than `encode_iso` writes, such as that of `CURRENT_TIMESTAMP`."""

    def format(self, wanted: DateFormat | None, path: str, command: str) -> DateFormat:
        """Return the file's format.

        Args:
            wanted: The format in the URL. It decides for a file without dates.
            path: The file, for messages.
            command: The command that converts it, for messages.

        Raises:
            ConfigurationError: The file has both formats, or another one than the URL.
        """
        if self.milliseconds and self.texts:
            raise ConfigurationError(
                f"{path} stores DateTime values in two formats: integers in {_listed(self.milliseconds)}, text in "
                f"{_listed(self.texts)}. Filters and order would be wrong. Stop the processes that write to the "
                f"file, and convert it: {command} --to {DateFormat.ISO} (or {DateFormat.MILLISECONDS})"
            )
        found = DateFormat.MILLISECONDS if self.milliseconds else DateFormat.ISO if self.texts else None
        if found is not None and wanted is not None and found is not wanted:
            raise ConfigurationError(
                f"timestampFormat={wanted} in the connection URL does not fit {path}, which stores {found} in "
                f"{_listed(self.milliseconds or self.texts)}. Remove the option. Or stop the processes that write to "
                f"the file, and convert it: {command} --to {wanted}"
            )
        return found or wanted or DateFormat.ISO


def look_at_dates(connection: sqlite3.Connection, columns: DateColumns) -> StoredDates:
    """Find the formats of DateTime columns, from the first and the last rows of each table.

    Tables and columns that do not exist yet are skipped. Raises: sqlite3's errors, of the private copy.
    """
    milliseconds: list[str] = []
    texts: list[str] = []
    others: list[str] = []
    for table, names in existing(connection, columns):
        for name, (is_number, is_text, is_other) in zip(names, _sampled(connection, table, names), strict=True):
            label = f"{table}.{name}"
            if is_number:
                milliseconds.append(label)
            if is_text:
                texts.append(label)
            if is_other:
                others.append(label)
    return StoredDates(tuple(milliseconds), tuple(texts), tuple(others))


def existing(connection: sqlite3.Connection, columns: DateColumns) -> Iterator[tuple[str, list[str]]]:
    """Return the tables and columns that exist in the file."""
    found: dict[str, set[str]] = {}
    cursor = connection.cursor()
    cursor.row_factory = None
    cursor.execute(
        "SELECT t.name, c.name FROM sqlite_master AS t JOIN pragma_table_info(t.name) AS c WHERE t.type = 'table'"
    )
    for table, name in cursor.fetchall():
        found.setdefault(table, set()).add(name)
    for table, names in columns.tables.items():
        there = [name for name in names if name in found.get(table, ())]
        if there:
            yield table, there


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _sampled(connection: sqlite3.Connection, table: str, names: Sequence[str]) -> list[tuple[bool, bool, bool]]:
    """Return for each column whether it has a number, a text, or a text in another form than `encode_iso` writes."""
    listed = ", ".join(f"{quoted(name)} AS c{index}" for index, name in enumerate(names))
    source = f"SELECT {listed} FROM {quoted(table)}"
    asked = ", ".join(
        f"max(typeof(c{index}) IN ('integer', 'real')), max(typeof(c{index}) = 'text'),"
        f" max(typeof(c{index}) = 'text' AND c{index} NOT GLOB '{CANONICAL}')"
        for index in range(len(names))
    )
    ends = " UNION ALL ".join(
        f"SELECT * FROM ({source} ORDER BY rowid {direction} LIMIT {_SAMPLE})" for direction in ("ASC", "DESC")
    )
    cursor = connection.cursor()
    cursor.row_factory = None
    try:
        cursor.execute(f"SELECT {asked} FROM ({ends})")
    except private_sqlite.OperationalError:  # a table WITHOUT ROWID has no order that is as cheap
        cursor.execute(f"SELECT {asked} FROM (SELECT * FROM ({source} LIMIT {2 * _SAMPLE}))")
    [row] = cursor.fetchall()
    return [(bool(row[at]), bool(row[at + 1]), bool(row[at + 2])) for at in range(0, len(row), 3)]


def _listed(labels: Sequence[str]) -> str:
    shown = ", ".join(f"`{label}`" for label in labels[:3])
    return shown if len(labels) <= 3 else f"{shown} and {len(labels) - 3} more"
