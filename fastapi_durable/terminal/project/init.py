"""`fastapi-durable init`: writes a new project, or the missing parts of an existing one."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi_durable.schema import PrismaSyntaxError, Provider, parse_schema
from fastapi_durable.terminal.project import containers, templates
from fastapi_durable.terminal.project.completion import (
    Completed,
    NotCompletable,
    client_module,
    completed_environment,
    completed_lines,
    completed_requirements,
    completed_schema,
)
from prisma_inprocess.files import write_whole

SCHEMA: Final = "schema.prisma"
APPLICATIONS: Final = ("main.py", "app.py", "api.py", "app/main.py", "app/app.py", "app/api.py")
"""Files in which `fastapi dev` looks for an application."""
COMPOSE_FILES: Final = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
"""Files in which `docker compose` looks for services."""


class InitError(Exception):
    """Some missing parts could not be written. The text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Change:
    """A file to write, and the line that reports it."""

    path: Path
    text: str
    said: str


def prepare(folder: Path, database: Provider | None, *, docker: bool = False) -> list[Change]:
    """Return the files that `init` would write into a folder, without those that exist already.

    Args:
        folder: The project's folder.
        database: The database of a new schema (default: SQLite; with `docker`, PostgreSQL).
        docker: Whether the project is to run in containers.

    Raises:
        InitError: what is there cannot be completed.
    """
    if docker and database == "sqlite":
        raise InitError("--with docker runs several containers on PostgreSQL: leave --database sqlite out")
    try:
        return list(_changes(folder, database, docker=docker))
    except NotCompletable as error:
        listed = "".join(f"\n  {problem}" for problem in error.args)
        raise InitError(f"{folder / SCHEMA} must be changed by hand first, nothing was written:{listed}") from error
    except (PrismaSyntaxError, UnicodeDecodeError) as error:
        raise InitError(f"{folder / SCHEMA} cannot be read, nothing was written: {error}") from error
    except OSError as error:
        raise InitError(f"{error.filename} cannot be read, nothing was written: {error.strerror}") from error


def write(changes: list[Change]) -> None:
    """Write each file atomically. After a crash, `init` writes the remaining files.

    Raises:
        InitError: a file cannot be written; those before it are.
    """
    for change in changes:
        try:
            change.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(change.path, change.text)
        except OSError as error:
            raise InitError(
                f"{change.path} cannot be written: {error.strerror}. Fix that, and run init again"
            ) from error


def _changes(folder: Path, database: Provider | None, *, docker: bool) -> Iterator[Change]:
    text = _read(folder / SCHEMA)
    if docker and parse_schema(text).provider is None:
        database = "postgresql"
    schema = completed_schema(text, database)
    parsed = parse_schema(schema.text)
    if docker and parsed.provider != "postgresql":
        raise NotCompletable(
            f"the schema's datasource is {parsed.provider!r}, and --with docker runs several containers on PostgreSQL: "
            "change the datasource, or leave --with docker out"
        )
    yield from _change(folder / SCHEMA, schema, ", ".join(schema.added))
    variable = parsed.url_variable or templates.VARIABLE
    application = next((name for name in APPLICATIONS if (folder / name).exists()), None)
    if application is None:
        text = templates.main(client_module(parsed), variable)
        yield Change(folder / "main.py", text, "an application with one workflow")
    provider: Provider = "postgresql" if parsed.provider == "postgresql" else "sqlite"
    environment = completed_environment(_read(folder / ".env"), variable, provider)
    yield from _change(folder / ".env", environment, variable)
    ignored = completed_lines(_read(folder / ".gitignore"), list(templates.IGNORED))
    yield from _change(folder / ".gitignore", ignored, "the client, the database, .env")
    if docker:
        yield from _container_changes(folder, application or "main.py", variable)


def _container_changes(folder: Path, application: str, variable: str) -> Iterator[Change]:
    requirements = completed_requirements(_read(folder / "requirements.txt"))
    yield from _change(folder / "requirements.txt", requirements, "what the image installs")
    ignored = completed_lines(_read(folder / ".dockerignore"), list(containers.IGNORED))
    yield from _change(folder / ".dockerignore", ignored, "what stays out of the image")
    if not (folder / "Dockerfile").exists():
        yield Change(folder / "Dockerfile", containers.dockerfile(application), "an image for web and worker")
    if not any((folder / name).exists() for name in COMPOSE_FILES):
        text = containers.compose(application, variable)
        yield Change(folder / "compose.yaml", text, "web, worker and PostgreSQL")


def _change(path: Path, completed: Completed, said: str) -> Iterator[Change]:
    if completed.added:
        yield Change(path, completed.text, said)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def report(changes: list[Change], folder: Path) -> str:
    """Return a report of the changes, and the commands that run the project."""
    lines = [f"{change.path.relative_to(folder)}: {change.said}" for change in changes]
    if not changes:
        lines = ["All files that init writes exist already"]
    if any(change.path.name == ".env" and "postgresql" in change.text for change in changes):
        lines.append("\nPut your server's address into .env. Then:")
    else:
        lines.append("\nNow:")
    enter = [] if folder == Path.cwd() else [f"  cd {shlex.quote(str(folder))}"]
    commands = ["  fastapi-durable migrate dev --name first", "  fastapi dev"]
    if any(change.path.name == "compose.yaml" for change in changes):
        commands.append("  DATABASE_PASSWORD=choose-one docker compose up --build")
    return "\n".join([*lines, *enter, *commands])
