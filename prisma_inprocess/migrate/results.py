"""What the commands found, or did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Ask = Callable[[str], bool]
"""Asks somebody a question to answer with yes or no."""


@dataclass(slots=True, frozen=True)
class Deployed:
    """What `deploy` did.

    Attributes:
        applied: Names of the migrations that it applied; empty if there was nothing to do.
        found: How many migrations there are.
    """

    applied: list[str]
    found: int


@dataclass(slots=True, frozen=True)
class Status:
    """How a database stands to the folder of migrations.

    Attributes:
        migrations: Names of the migrations in the folder.
        managed: Whether the database has a history of migrations.
        unapplied: Migrations that are in the folder, and not in the database.
        missing: Migrations that are in the database, and not in the folder.
        failed: Migrations that failed, or were broken off, and are not resolved.
        edited: Migrations whose file is another one than when they were applied.
    """

    migrations: list[str]
    managed: bool
    unapplied: list[str]
    missing: list[str]
    failed: list[str]
    edited: list[str]

    @property
    def up_to_date(self) -> bool:
        """Whether the database has all migrations, and no others. A changed file is of interest to `dev` only."""
        return self.managed and not (self.unapplied or self.missing or self.failed)


@dataclass(slots=True, frozen=True)
class Developed:
    """What `dev` did.

    Attributes:
        applied: Names of the migrations that it applied, the new one included.
        created: Name of the migration that it wrote, or None if the schema has not changed.
        warnings: What the new migration deletes.
    """

    applied: list[str]
    created: str | None
    warnings: list[str]


@dataclass(slots=True, frozen=True)
class Pushed:
    """What `push` did.

    Attributes:
        steps: How many changes it made.
        warnings: What was deleted by them.
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
    """What a `diff` found.

    Attributes:
        text: SQL, or a summary for people.
        empty: Whether there is no difference.
    """

    text: str
    empty: bool
