"""Schemas and databases, without a history: `diff`, `db push`, `db pull`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prisma_inprocess.datasource import keep_configuration, strip_urls
from prisma_inprocess.errors import MigrationError
from prisma_inprocess.files import write_whole
from prisma_inprocess.migrate.folder import MigrationsFolder
from prisma_inprocess.migrate.project import LOCK_TIMEOUT, Project, Session, open_session, read_schema
from prisma_inprocess.migrate.results import Ask, Difference, Pushed, Source
from prisma_inprocess.migrate.steps import FILTERS, empty, joined, run, schema_files


async def diff(project: Project, before: Source, after: Source, *, script: bool = False) -> Difference:
    """Describe the changes from one state to another.

    Args:
        project: The project. Its database server also holds the shadow database that reads migrations.
        before: The first state.
        after: The second state.
        script: Whether to return SQL.

    Returns:
        The changes.

    Raises:
        MigrationError: a schema is invalid (P1012), a migration cannot be applied (P3006), or the database cannot be
            opened (P1xxx).
    """
    async with open_session(project) as session:
        return await compare(session, _target(project, before), _target(project, after), script=script)


async def push(
    project: Project,
    *,
    accept_data_loss: bool = False,
    force_reset: bool = False,
    ask: Ask | None = None,
    lock_timeout: float = LOCK_TIMEOUT,
) -> Pushed:
    """Change the database to fit the schema, without a migration.

    Args:
        project: The project.
        accept_data_loss: Whether data may be deleted without a question.
        force_reset: Whether to delete everything first.
        ask: Function that asks before data is deleted. None: no data is deleted.
        lock_timeout: Seconds to wait for another process that migrates the database.

    Returns:
        The number of changes, and what they deleted.

    Raises:
        MigrationError: the change cannot be made, or deletes data and was not confirmed; the schema is invalid
            (P1012).
    """
    async with open_session(project, create=True, lock_timeout=lock_timeout) as session:
        # An invalid schema is refused before anything is deleted.
        await compare(session, {"tag": "empty"}, schema_target(project), script=False)
        if force_reset:
            await empty(session)
        files = schema_files(project)
        done = await run(session, "schemaPush", schema=files, force=accept_data_loss, filters=FILTERS)
        if done["unexecutable"]:
            raise MigrationError(
                f"the change cannot be made: {joined(done['unexecutable'])}. Change the data or the schema, or pass "
                "--force-reset to delete everything first"
            )
        if done["warnings"] and not accept_data_loss:
            question = f"{joined(done['warnings'])}. Continue?"
            if ask is None or not ask(question):
                raise MigrationError(
                    f"nothing was changed, because data would be lost: {joined(done['warnings'])}. Pass "
                    "--accept-data-loss to agree"
                )
            warnings = done["warnings"]
            done = await run(session, "schemaPush", schema=files, force=True, filters=FILTERS)
            return Pushed(done["executedSteps"], warnings)
        return Pushed(done["executedSteps"], done["warnings"])


async def pull(project: Project, *, write: bool = True) -> str:
    """Write the tables of the database into the schema as models. Names of existing models are kept.

    Args:
        project: The project.
        write: Whether to replace the schema's file.

    Returns:
        The new schema.

    Raises:
        MigrationError: the database has no tables (P4001), or the schema is invalid (P1012).
    """
    async with open_session(project) as session:
        found = await run(
            session,
            "introspect",
            schema=schema_files(project),
            baseDirectoryPath=str(project.schema.parent),
            force=False,
            compositeTypeDepth=-1,
            namespaces=list(project.datasource.schemas) or None,
        )
    text = keep_configuration(found["schema"]["files"][0]["content"], project.text)
    if write and text != project.text:
        try:
            write_whole(project.schema, text)
        except OSError as error:
            raise MigrationError(f"the schema {project.schema} cannot be written: {error.strerror}") from error
    return text


async def compare(session: Session, before: Mapping[str, Any], after: Mapping[str, Any], *, script: bool) -> Difference:
    """Compare two of the engine's targets in an open database."""
    parameters = {
        "from": before,
        "to": after,
        "script": script,
        "exitCode": True,
        "shadowDatabaseUrl": None,
        "filters": FILTERS,
    }
    found = await run(session, "diff", **parameters)
    return Difference(found["stdout"] or "", empty=found["exitCode"] == 0)


def _target(project: Project, source: Source) -> dict[str, Any]:
    if source.kind == "empty":
        return {"tag": "empty"}
    if source.kind == "database":
        return {"tag": "schemaDatasource", **schema_files(project), "configDir": str(project.schema.parent)}
    if source.kind == "migrations":
        folder = project.migrations if source.path is None else MigrationsFolder(source.path.resolve())
        return {"tag": "migrations", **folder.as_list()}
    if source.path is None:
        return schema_target(project)
    content, _ = strip_urls(read_schema(source.path))
    return {"tag": "schemaDatamodel", "files": [{"path": source.path.name, "content": content}]}


def schema_target(project: Project) -> dict[str, Any]:
    """The schema of a project as the engine's target."""
    return {"tag": "schemaDatamodel", **schema_files(project)}
