"""`migrate diff`, `db push | pull`, `validate` and `format`."""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import asdict
from pathlib import Path

from prisma_inprocess.migrate import changes
from prisma_inprocess.migrate.results import Source
from prisma_inprocess.migrate.schemas import format_schema, validate_schema
from prisma_inprocess.migrate.terminal.command import (
    Commands,
    Finding,
    Report,
    add_command,
    add_generation,
    add_lock,
    add_project,
    add_schema,
    asker,
    finish,
    project_of,
    shown,
)


def describe(commands: Commands) -> None:
    """Describe the commands that only read a schema."""
    _describe_validate(commands)
    _describe_format(commands)


def describe_db(commands: Commands) -> None:
    """Describe the commands that do not use migrations."""
    _describe_push(commands)
    _describe_pull(commands)


def describe_diff(commands: Commands) -> None:
    """Describe the command that compares schemas, databases and migrations."""
    parser = add_command(
        commands, "diff", _diff, "print the changes from one schema, database or folder of migrations to another"
    )
    add_project(parser)
    for side in ("from", "to"):
        group = parser.add_mutually_exclusive_group(required=True)
        group.add_argument(f"--{side}-empty", action="store_true", help="nothing at all")
        group.add_argument(
            f"--{side}-schema", f"--{side}-schema-datamodel", type=Path, metavar="FILE", help="a schema file"
        )
        group.add_argument(
            f"--{side}-migrations", type=Path, metavar="DIR", help="the result of a folder of migrations"
        )
        group.add_argument(f"--{side}-database", action="store_true", help="the database of --schema")
    parser.add_argument("--script", action="store_true", help="print SQL")
    parser.add_argument("--exit-code", action="store_true", help="exit with 2 if there is a difference")


def _diff(options: argparse.Namespace) -> tuple[Report, str]:
    before, after = _source(options, "from"), _source(options, "to")
    found = asyncio.run(changes.diff(project_of(options), before, after, script=options.script))
    text = found.text.strip("\n") or "No difference"
    if options.exit_code and not found.empty:
        raise Finding(asdict(found), text, code=2)
    return asdict(found), text


def _source(options: argparse.Namespace, side: str) -> Source:
    given = {kind: getattr(options, f"{side}_{kind}") for kind in ("empty", "schema", "migrations", "database")}
    if given["schema"] is not None:
        return Source("schema", given["schema"])
    if given["migrations"] is not None:
        return Source("migrations", given["migrations"])
    return Source("database" if given["database"] else "empty")


def _describe_push(commands: Commands) -> None:
    parser = add_command(commands, "push", _push, "change the database to fit the schema, without a migration")
    add_project(parser)
    add_lock(parser)
    parser.add_argument("--accept-data-loss", action="store_true", help="do not ask before data is deleted")
    parser.add_argument("--force-reset", action="store_true", help="delete everything first")
    add_generation(parser)


def _push(options: argparse.Namespace) -> tuple[Report, str]:
    project = project_of(options)
    done = asyncio.run(
        changes.push(
            project,
            accept_data_loss=options.accept_data_loss,
            force_reset=options.force_reset,
            ask=asker(),
            lock_timeout=options.lock_timeout,
        )
    )
    lines = [f"Warning: {warning}" for warning in done.warnings]
    lines.append("The database fits the schema now" if done.steps else "Nothing to do: the database fits the schema")
    return finish(options, project, asdict(done), lines)


def _describe_pull(commands: Commands) -> None:
    parser = add_command(commands, "pull", _pull, "write the tables of the database into the schema as models")
    add_project(parser)
    parser.add_argument("--print", action="store_true", help="print the schema, and leave the file as it is")


def _pull(options: argparse.Namespace) -> tuple[Report, str]:
    project = project_of(options)
    text = asyncio.run(changes.pull(project, write=not options.print))
    report = {"schema": text, "changed": text != project.text}
    if options.print:
        return report, text.rstrip("\n")
    if not report["changed"]:
        return report, f"Nothing to do: {shown(project.schema)} has every table"
    return report, f"Wrote {shown(project.schema)}"


def _describe_validate(commands: Commands) -> None:
    add_schema(add_command(commands, "validate", _validate, "check a schema"))


def _validate(options: argparse.Namespace) -> tuple[Report, str]:
    validate_schema(options.schema, wasm_dir=options.wasm_dir)
    return {"valid": True}, f"The schema {options.schema} is valid"


def _describe_format(commands: Commands) -> None:
    parser = add_command(commands, "format", _format, "format a schema as Prisma does")
    add_schema(parser)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the schema would change")


def _format(options: argparse.Namespace) -> tuple[Report, str]:
    done = format_schema(options.schema, write=not options.check, wasm_dir=options.wasm_dir)
    report = {"changed": done.changed}
    if options.check and done.changed:
        raise Finding(report, f"{options.schema} is not formatted. Run `format`")
    return report, f"Formatted {options.schema}" if done.changed else f"Nothing to do: {options.schema} is formatted"
