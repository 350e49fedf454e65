"""Steps on an open database that several commands share."""

from __future__ import annotations

from typing import Any, Final

from prisma_inprocess.errors import MigrationError
from prisma_inprocess.migrate.database import DatabaseFailure
from prisma_inprocess.migrate.explanations import explained, failed_now
from prisma_inprocess.migrate.project import Project, Session
from prisma_inprocess.migrate.results import Status

FILTERS: Final[dict[str, list[str]]] = {"externalTables": [], "externalEnums": []}


async def run(session: Session, command: str, **parameters: Any) -> Any:
    """Run a command of the engine. Raises: MigrationError, in our words."""
    try:
        return await session.engine.run(command, parameters)
    except MigrationError as error:
        raise explained(error) from error


async def apply(session: Session) -> list[str]:
    """Apply the migrations that the database does not have. Returns their names."""
    migrations = session.project.migrations.as_list()
    try:
        done = await session.engine.run("applyMigrations", {"migrationsList": migrations, "filters": FILTERS})
    except MigrationError as error:
        failed = [] if (error.code or "").startswith("P3") else await _failed_migrations(session)
        if failed:
            raise failed_now(failed[-1], error.details or error.message) from error
        raise explained(error) from error
    applied: list[str] = done["appliedMigrationNames"]
    return applied


async def read_status(session: Session) -> Status:
    """Compare the database with the folder of migrations."""
    migrations = session.project.migrations
    found = await run(
        session,
        "diagnoseMigrationHistory",
        migrationsList=migrations.as_list(),
        filters=FILTERS,
        optInToShadowDatabase=False,
    )
    history = found["history"] or {}
    return Status(
        migrations=migrations.names(),
        managed=await session.database.has_history(),
        unapplied=history.get("unappliedMigrationNames", []),
        missing=history.get("unpersistedMigrationNames", []),
        failed=found["failedMigrationNames"],
        edited=found["editedMigrationNames"],
    )


async def _failed_migrations(session: Session) -> list[str]:
    try:
        return (await read_status(session)).failed
    except MigrationError:  # the connection is lost, which is what the first error says
        return []


async def empty(session: Session) -> None:
    """Delete everything in the database, or nothing."""
    try:
        await session.database.empty()
    except DatabaseFailure as failure:
        raise MigrationError(
            f"the database cannot be emptied: {failure.message}. Nothing was deleted. Give the user the right to "
            "drop everything in it"
        ) from failure


def schema_files(project: Project) -> dict[str, Any]:
    """The schema as the engine reads it."""
    return {"files": [{"path": path, "content": content} for path, content in project.files]}


def joined(messages: list[str]) -> str:
    """Several messages in one line."""
    return "; ".join(message.strip().rstrip(".") for message in messages)
