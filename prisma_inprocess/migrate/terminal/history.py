"""`migrate deploy | status | dev | resolve | reset`."""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import asdict

from prisma_inprocess.errors import MigrationError
from prisma_inprocess.migrate import development, history
from prisma_inprocess.migrate.results import Status
from prisma_inprocess.migrate.terminal.command import (
    Commands,
    Finding,
    Report,
    add_command,
    add_generation,
    add_lock,
    add_project,
    asker,
    count,
    finish,
    listed,
    project_of,
    shown,
)


def describe(commands: Commands) -> None:
    """Describe the commands that work on a history of migrations."""
    _describe_deploy(commands)
    _describe_status(commands)
    _describe_dev(commands)
    _describe_resolve(commands)
    _describe_reset(commands)


def _describe_deploy(commands: Commands) -> None:
    parser = add_command(
        commands, "deploy", _deploy, "apply the migrations that the database does not have; for production and tests"
    )
    add_project(parser)
    add_lock(parser)


def _deploy(options: argparse.Namespace) -> tuple[Report, str]:
    done = asyncio.run(history.deploy(project_of(options), lock_timeout=options.lock_timeout))
    if not done.applied:
        return asdict(done), f"Nothing to apply: the database has all {count(done.found, 'migration')}"
    return asdict(done), f"Applied {count(len(done.applied), 'migration')}:\n{listed(done.applied)}"


def _describe_status(commands: Commands) -> None:
    add_project(
        add_command(commands, "status", _status, "compare the database with the migrations; exit code 1 if they differ")
    )


def _status(options: argparse.Namespace) -> tuple[Report, str]:
    found = asyncio.run(history.status(project_of(options)))
    report = {**asdict(found), "up_to_date": found.up_to_date}
    if found.up_to_date:
        return report, f"The database is up to date: it has all {count(len(found.migrations), 'migration')}"
    raise Finding(report, _differences(found))


def _differences(found: Status) -> str:
    parts = []
    if found.failed:
        parts.append(f"Failed or interrupted, and not resolved:\n{listed(found.failed)}")
    if found.missing:
        parts.append(f"In the database, but not in the folder of migrations:\n{listed(found.missing)}")
    if found.unapplied:
        parts.append(f"Not yet applied:\n{listed(found.unapplied)}")
    name = found.failed[0] if found.failed else ""
    if found.failed:
        parts.append(
            f"Resolve the failure with `migrate resolve --rolled-back {name}` (once all its changes are undone), or "
            f"`--applied {name}` (once all of them are made)"
        )
    elif found.unapplied:
        parts.append("Apply them with `migrate deploy`")
    elif found.missing:
        parts.append("Restore the missing folders from version control")
    else:
        parts.append("The database has no history of migrations. `migrate deploy` starts one")
    return "\n".join(parts)


def _describe_dev(commands: Commands) -> None:
    parser = add_command(
        commands,
        "dev",
        _dev,
        "write a migration of the schema's changes, and apply it to a development database",
    )
    add_project(parser)
    add_lock(parser)
    parser.add_argument("--name", "-n", help="name of the new migration, such as add_orders")
    parser.add_argument(
        "--create-only", action="store_true", help="write the migration, even an empty one, without applying it"
    )
    add_generation(parser)


def _dev(options: argparse.Namespace) -> tuple[Report, str]:
    project = project_of(options)
    done = asyncio.run(
        development.dev(
            project,
            name=options.name,
            create_only=options.create_only,
            ask=asker(),
            lock_timeout=options.lock_timeout,
        )
    )
    lines = []
    if done.created is not None:
        lines.append(f"Wrote {shown(project.migrations.path / done.created / 'migration.sql')}")
    lines += [f"Warning: {warning}" for warning in done.warnings]
    if done.applied:
        lines.append(f"Applied {count(len(done.applied), 'migration')}:\n{listed(done.applied)}")
    elif done.created is None:
        lines.append("Nothing to do: the database has all migrations, and they match the schema")
    return finish(options, project, asdict(done), lines, generates=not options.create_only)


def _describe_resolve(commands: Commands) -> None:
    parser = add_command(commands, "resolve", _resolve, "record how a failed migration was resolved")
    add_project(parser)
    add_lock(parser)
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--applied", metavar="NAME", help="the migration whose changes are all in the database")
    group.add_argument("--rolled-back", metavar="NAME", help="the failed migration whose changes are all undone")


def _resolve(options: argparse.Namespace) -> tuple[Report, str]:
    project = project_of(options)
    if options.applied is not None:
        asyncio.run(history.resolve(project, options.applied, "applied", lock_timeout=options.lock_timeout))
        return {"applied": options.applied}, f"Marked {options.applied} as applied"
    asyncio.run(history.resolve(project, options.rolled_back, "rolled-back", lock_timeout=options.lock_timeout))
    text = f"Marked {options.rolled_back} as rolled back: `migrate deploy` applies it again"
    return {"rolled_back": options.rolled_back}, text


def _describe_reset(commands: Commands) -> None:
    parser = add_command(commands, "reset", _reset, "delete everything in the database, and apply all migrations")
    add_project(parser)
    add_lock(parser)
    parser.add_argument("--force", "-f", action="store_true", help="do not ask")


def _reset(options: argparse.Namespace) -> tuple[Report, str]:
    project = project_of(options)
    ask = asker()
    if not options.force and (
        ask is None or not ask("Delete everything in the database, and apply all migrations again?")
    ):
        raise MigrationError("nothing was deleted: answer the question at a terminal, or pass --force")
    done = asyncio.run(history.reset(project, lock_timeout=options.lock_timeout))
    return asdict(done), f"Deleted everything, and applied {count(len(done.applied), 'migration')}"
