"""Applying the migrations of a folder, and keeping their history: `deploy`, `status`, `resolve`, `reset`."""

from __future__ import annotations

from typing import Literal

from prisma_inprocess.migrate.project import LOCK_TIMEOUT, Project, open_session
from prisma_inprocess.migrate.results import Deployed, Status
from prisma_inprocess.migrate.steps import apply, empty, read_status, run


async def deploy(project: Project, *, lock_timeout: float = LOCK_TIMEOUT) -> Deployed:
    """Apply the migrations that the database does not have yet. The database is created if it does not exist.

    Args:
        project: The project.
        lock_timeout: Seconds to wait for another process that migrates the database.

    Returns:
        The applied migrations, and how many the folder has.

    Raises:
        MigrationError: a migration failed (P3018), or failed before (P3009); the database has tables and no history
            (P3005); the lock was not free in time (P1002); the database cannot be opened (P1xxx).
    """
    async with open_session(project, create=True, lock_timeout=lock_timeout) as session:
        return Deployed(await apply(session), len(project.migrations.names()))


async def status(project: Project) -> Status:
    """Compare the database with the folder of migrations. It writes nothing.

    Args:
        project: The project.

    Returns:
        Which migrations are unapplied, missing, failed or edited.

    Raises:
        MigrationError: the database cannot be opened (P1xxx).
    """
    async with open_session(project) as session:
        return await read_status(session)


async def resolve(
    project: Project, name: str, as_: Literal["applied", "rolled-back"], *, lock_timeout: float = LOCK_TIMEOUT
) -> None:
    """Record how a failed migration was resolved, or that the database already has what a migration makes.

    Args:
        project: The project.
        name: The migration's whole name.
        as_: `applied`: the database has all of it. `rolled-back`: the database has nothing of it, and `deploy` applies
            it again.
        lock_timeout: Seconds to wait for another process that migrates the database.

    Raises:
        MigrationError: there is no such migration (P3017, P3011), it is applied already (P3008), or it did not fail
            (P3012).
    """
    async with open_session(project, lock_timeout=lock_timeout) as session:
        if as_ == "rolled-back":
            await run(session, "markMigrationRolledBack", migrationName=name)
        else:
            # A name that is refused must leave nothing.
            if name in project.migrations.names():
                await session.database.prepare_history()
            await run(session, "markMigrationApplied", migrationName=name, migrationsList=project.migrations.as_list())


async def reset(project: Project, *, lock_timeout: float = LOCK_TIMEOUT) -> Deployed:
    """Delete everything in the database, and apply all migrations. The function does not ask for confirmation.

    Args:
        project: The project.
        lock_timeout: Seconds to wait for another process that migrates the database.

    Returns:
        The applied migrations, and how many the folder has.

    Raises:
        MigrationError: as `deploy`.
    """
    async with open_session(project, create=True, lock_timeout=lock_timeout) as session:
        await empty(session)
        return Deployed(await apply(session), len(project.migrations.names()))
