"""The results of the commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Ask = Callable[[str], bool]
"""Asks the user a question to answer with yes or no."""


@dataclass(slots=True, frozen=True)
class Deployed:
    """The result of `deploy`.

    Attributes:
        applied: Names of the migrations that it applied. Empty: there was nothing to do.
        found: Number of migrations in the folder.
    """

    applied: list[str]
    found: int


@dataclass(slots=True, frozen=True)
class Status:
    """How a database differs from the folder of migrations.

    Attributes:
        migrations: Names of the migrations in the folder.
        managed: Whether the database has a history of migrations.
        unapplied: Migrations that are in the folder, but not in the database.
        missing: Migrations that are in the database, but not in the folder.
        failed: Migrations that failed or were interrupted, and are not resolved.
        edited: Migrations whose file has changed since they were applied.
    """

    migrations: list[str]
    managed: bool
    unapplied: list[str]
    missing: list[str]
    failed: list[str]
    edited: list[str]

    @property
    def up_to_date(self) -> bool:
        """Whether the database has all migrations and no others. Changed files do not count."""
        return self.managed and not (self.unapplied or self.missing or self.failed)


@dataclass(slots=True, frozen=True)
class Developed:
    """The result of `dev`.

    Attributes:
        applied: Names of the migrations that it applied, the new one included.
        created: Name of the migration that it wrote. None: the schema has not changed.
        warnings: What the new migration deletes.
    """

    applied: list[str]
    created: str | None
    warnings: list[str]


@dataclass(slots=True, frozen=True)
class Pushed:
    """The result of `push`.

    Attributes:
        steps: Number of changes.
        warnings: What the changes deleted.
    """

    steps: int
    warnings: list[str]


@dataclass(slots=True, frozen=True)
class Source:
    """One side of a `diff`.

    Attributes:
        kind: Nothing at all, a schema file, a folder of migrations, or the database of the project.
        path: The file or folder.
    """

    kind: Literal["empty", "schema", "migrations", "database"]
    path: Path | None = None


@dataclass(slots=True, frozen=True)
class Difference:
    """The result of `diff`.

    Attributes:
        text: SQL, or a summary for people.
        empty: Whether there is no difference.
    """

    text: str
    empty: bool
