"""A process that dies while `convert-dates` works leaves the file as it was, or converted."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from prisma_inprocess.convert_dates import convert_dates
from prisma_inprocess.date_format import DateColumns, DateFormat
from tests.prisma_inprocess.workbench import SCHEMAS

COLUMNS: Final = {"events": ["happens_at", "made", "changed", "since"], "Literal": ["moment"]}
ROWS: Final = 200
HOUR: Final = 3_600_000

# Converts a file, and kills itself when SQLite begins the given statement of it. So small a cache makes SQLite write
# changes into the file before the commit. Only a machine that dies asks for `synchronous`; it takes long.
SCRIPT: Final = """
import json, os, signal, sys
from pathlib import Path
from prisma_inprocess import convert_dates as module
from prisma_inprocess.date_format import DateColumns, DateFormat

path, columns, last = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
opened, begun = module._open, 0

def traced(statement):
    global begun
    begun += 1
    if begun == last:
        os.kill(os.getpid(), signal.SIGKILL)

def open_traced(*arguments):
    connection = opened(*arguments)
    connection.execute("PRAGMA cache_size = 3")
    connection.execute("PRAGMA synchronous = OFF")
    connection.set_trace_callback(traced)
    return connection

module._open = open_traced
module.convert_dates(f"file:{path}", DateColumns(Path(), columns), DateFormat.ISO)
print(begun)
"""


def write_milliseconds(path: Path, journal: str) -> None:
    """A file as the native engine wrote it."""
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode = {journal}")
    connection.executescript((SCHEMAS / "dates.sqlite.sql").read_text())
    rows = [(f"event {number} {'x' * 100}", *[number * HOUR] * 4) for number in range(ROWS)]
    connection.executemany("INSERT INTO events (name, happens_at, made, changed, since) VALUES (?, ?, ?, ?, ?)", rows)
    connection.execute("INSERT INTO Literal (moment) VALUES (0)")
    connection.commit()
    connection.close()


def contents(path: Path) -> list[list[Any]]:
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [connection.execute(f'SELECT * FROM "{table}" ORDER BY id').fetchall() for table in COLUMNS]
    finally:
        connection.close()


def types(path: Path) -> set[str]:
    """The types of all dates."""
    connection = sqlite3.connect(path)
    try:
        return {
            kind
            for table, names in COLUMNS.items()
            for name in names
            for (kind,) in connection.execute(f'SELECT DISTINCT typeof("{name}") FROM "{table}"')
        }
    finally:
        connection.close()


def convert_and_die(path: Path, last: int) -> tuple[int, str]:
    """Convert in a process that dies before a statement. Returns its exit code, and what it printed."""
    command = [sys.executable, "-c", SCRIPT, str(path), json.dumps(COLUMNS), str(last)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_conversion_that_is_killed_leaves_the_old_dates_and_goes_through_the_next_time(
    tmp_path: Path, journal: str
) -> None:
    whole = tmp_path / "whole.db"
    write_milliseconds(whole, journal)
    code, printed = convert_and_die(whole, 0)
    assert code == 0
    statements = int(printed)
    converted = contents(whole)
    assert types(whole) == {"text"}

    # In the middle, and at the commit itself.
    for last in (statements // 2, statements):
        path = tmp_path / f"{last}.db"
        write_milliseconds(path, journal)
        before = contents(path)
        assert convert_and_die(path, last) == (-signal.SIGKILL, "")
        changed = Path(f"{path}-{'wal' if journal == 'wal' else 'journal'}")
        assert changed.stat().st_size > 0, "it had not written anything yet"
        assert contents(path) == before
        assert types(path) == {"integer"}
        done = convert_dates(f"file:{path}", DateColumns(tmp_path, COLUMNS), DateFormat.ISO)
        assert done.values == {**{f"events.{name}": ROWS for name in COLUMNS["events"]}, "Literal.moment": 1}
        assert contents(path) == converted
