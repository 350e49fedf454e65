"""Explains the schema engine's errors to the user of a command, in one line that also says what to do."""

from __future__ import annotations

import re
from typing import Final

from prisma_inprocess.errors import MigrationError

_QUOTED: Final = re.compile(r"`([^`]+)`|migration (\S+) could not be found")
_TERMINAL_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")

# By Prisma's code. `{name}` is the name that the engine's message quotes.
_TEXTS: Final = {
    "P1012": "the schema is invalid: {line}. Correct it; `validate` shows every error",
    "P3005": "the database is not empty, and has no history of migrations. If it already has what a migration makes, "
    "mark that as applied with `migrate resolve --applied NAME`; else use an empty database",
    "P3006": "migration {name} cannot be applied to an empty database: {cause}. Correct its migration.sql",
    "P3008": "migration {name} is already applied, so there is nothing to resolve",
    "P3011": "migration {name} was never applied to this database. Check the name with `migrate status`",
    "P3012": "migration {name} did not fail, so it cannot be marked as rolled back",
    "P3017": "there is no migration {name} in the folder of migrations. Pass the folder's whole name",
    "P3019": "the schema and migration_lock.toml name different providers. Name another folder with --migrations, or "
    "start a new history in an empty one",
    "P4001": "the database has no tables to read. Check the connection URL",
}
_FAILED_BEFORE: Final = re.compile(r"The `([^`]+)` migration")


def explained(error: MigrationError) -> MigrationError:
    """The error in our words, where there are any, with its code."""
    text = _TERMINAL_COLOURS.sub("", error.message)
    code = error.code
    if code == "P3009" and (failed := _FAILED_BEFORE.search(text)):
        return failed_before(failed[1])
    known = _TEXTS.get(code or "")
    if known is None:
        summary = text.partition("\n")[0].rstrip(".: ")
        if error.details and error.details not in summary:
            summary += f": {error.details}"
        return MigrationError(summary, code, details=text)
    quoted = _QUOTED.search(text)
    name = (quoted[1] or quoted[2]) if quoted else ""
    line = text.partition("\n")[0].removeprefix("error: ").rstrip(".")
    known = known.format(name=name, line=line, cause=error.details or line)
    return MigrationError(known, code, details=text)


def failed_before(name: str) -> MigrationError:
    """The error for a migration that failed, or was broken off, some time ago (P3009)."""
    return MigrationError(
        f"migration {name} failed or was interrupted before. No migration is applied until it is resolved. "
        f"{_resolve(name)}",
        "P3009",
    )


def failed_now(name: str, cause: str) -> MigrationError:
    """The error for a migration that has just failed (P3018)."""
    return MigrationError(f"migration {name} failed: {cause}. {_resolve(name)}", "P3018", details=cause)


def _resolve(name: str) -> str:
    return (
        f"Check the database. Then either undo its changes and run `migrate resolve --rolled-back {name}`, or "
        f"complete it by hand and run `migrate resolve --applied {name}`"
    )
