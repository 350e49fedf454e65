"""`migrate dev`: from a changed schema to a migration, on a development database."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from prisma_inprocess.errors import MigrationError
from prisma_inprocess.migrate.changes import compare, schema_target
from prisma_inprocess.migrate.project import LOCK_TIMEOUT, Project, Session, open_session
from prisma_inprocess.migrate.results import Ask, Developed
from prisma_inprocess.migrate.steps import FILTERS, apply, empty, joined, run, schema_files


async def dev(
    project: Project,
    *,
    name: str | None = None,
    create_only: bool = False,
    ask: Ask | None = None,
    lock_timeout: float = LOCK_TIMEOUT,
) -> Developed:
    """Bring a development database to its schema.

    It applies missing migrations, writes a migration of the changes, and applies it.

    Args:
        project: The project.
        name: Name of the new migration. Its folder's name has the letters and digits of it.
        create_only: Whether to write the new migration without applying it, even if it is empty.
        ask: Function that asks before anything is deleted. None: nothing is deleted.
        lock_timeout: Seconds to wait for another process that migrates the database.

    Returns:
        What was applied and written.

    Raises:
        MigrationError: as `deploy`; the database differs from its migrations, or migrations were edited or deleted,
            and a reset was not confirmed; the change cannot be made, or deletes data and was not confirmed.
    """
    slug = None if name is None else _slug(name)
    async with open_session(project, create=True, lock_timeout=lock_timeout) as session:
        # An invalid schema is refused before anything is written.
        await compare(session, {"tag": "empty"}, schema_target(project), script=False)
        await _reset_if_history_differs(session, ask)
        applied = await apply(session)
        if applied:
            # The engine remembers what those migrations make that it has compared, which were the ones applied before.
            # It needs to know it of all of them next, and does not find it out there.
            await _reset_if_history_differs(session, ask)
        return await _develop(session, applied, slug, create_only, ask)


async def _reset_if_history_differs(session: Session, ask: Ask | None) -> None:
    migrations = session.project.migrations.as_list()
    found = (await run(session, "devDiagnostic", migrationsList=migrations, filters=FILTERS))["action"]
    if found["tag"] != "reset":
        return
    reason = str(found["reason"]).strip()
    question = f"{reason}\n\nDelete everything in {session.database.place}, and apply all migrations again?"
    if ask is None or not ask(question):
        raise MigrationError(
            f"the database differs from its migrations: {_headline(reason)}. Restore the migrations, or delete all "
            "data with `migrate reset`",
            details=reason,
        )
    await empty(session)


async def _develop(
    session: Session, applied: list[str], name: str | None, create_only: bool, ask: Ask | None
) -> Developed:
    project = session.project
    migrations, files = project.migrations.as_list(), schema_files(project)
    loss = await run(session, "evaluateDataLoss", migrationsList=migrations, schema=files, filters=FILTERS)
    impossible, warnings = _messages(loss["unexecutableSteps"]), _messages(loss["warnings"])
    if not loss["migrationSteps"] and not create_only:
        return Developed(applied, None, [])
    if impossible and not create_only:
        raise MigrationError(
            f"the change cannot be made: {joined(impossible)}. Change the data or the schema, or pass --create-only "
            "and write the migration's SQL yourself"
        )
    if not name:
        raise MigrationError("the schema has changed, so the new migration must have a name. Pass --name")
    if warnings and not create_only and (ask is None or not ask(f"{joined(warnings)}. Create the migration?")):
        raise MigrationError(
            f"no migration was written, because data would be lost: {joined(warnings)}. Answer the question at a "
            "terminal, or pass --create-only, read the SQL, and run `migrate deploy`"
        )
    made = await run(
        session,
        "createMigration",
        migrationsList=migrations,
        schema=files,
        draft=create_only,
        migrationName=name,
        filters=FILTERS,
    )
    created = made["generatedMigrationName"]
    # Written before it is applied: after a crash between the two it is a migration like any other, and the next
    # command applies it.
    project.migrations.write(created, made["migrationScript"] or "", project.datasource.provider)
    if not create_only:
        applied = applied + await apply(session)
    return Developed(applied, created, warnings)


def _slug(name: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "_", ascii_only.lower()).strip("_")
    if not slug:
        raise MigrationError(f"the name of a migration must have letters or digits from a-z and 0-9, got {name!r}")
    return slug


def _messages(feedback: list[dict[str, Any]]) -> list[str]:
    return [str(step["message"]) for step in feedback]


def _headline(reason: str) -> str:
    """The findings of the engine's report, in one line."""
    findings = [line.removeprefix("- ").strip() for line in reason.splitlines() if line.startswith("- ")]
    return joined(findings or [reason.partition("\n")[0]])
