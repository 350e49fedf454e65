"""What every command has: its arguments, its output, its exit code.

A command prints what it did, or with `--json` one JSON object. One that fails ends with a line on standard error that
says what is wrong and what to do, and exit code 1; with `--json` it also prints an object with that error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from prisma_inprocess.errors import GenerationError, MigrationError, PrismaInProcessError
from prisma_inprocess.migrate.project import LOCK_TIMEOUT, Project, load_project
from prisma_inprocess.migrate.results import Ask

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Report = Mapping[str, Any]
Act = Callable[[argparse.Namespace], tuple[Report, str]]
"""Does a command's work. Returns what `--json` prints, and what is printed without it."""

# Systems that run commands for people who do not watch them. Some give them a terminal all the same.
_UNATTENDED: Final = ("CI", "CONTINUOUS_INTEGRATION", "BUILD_NUMBER", "GITHUB_ACTIONS", "GITLAB_CI")


class Finding(Exception):
    """The command did what it was asked for, and what it found is not exit code 0.

    Args:
        report: What `--json` prints.
        text: What is printed without it.
        code: The exit code.
    """

    def __init__(self, report: Report, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.report = report
        self.text = text
        self.code = code


def can_ask() -> bool:
    """Return whether a user at a terminal can answer questions."""
    return sys.stdin.isatty() and sys.stderr.isatty() and not any(os.environ.get(name) for name in _UNATTENDED)


def add_command(commands: Commands, name: str, act: Act, help_: str) -> argparse.ArgumentParser:
    """Add a command with the arguments that all have."""
    parser = commands.add_parser(name, help=help_, description=help_[0].upper() + help_[1:] + ".")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(work=lambda options: _work(options, act))
    return parser


def add_schema(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a command that reads a schema."""
    parser.add_argument(
        "--schema",
        type=Path,
        default=Path("schema.prisma"),
        metavar="FILE",
        help="schema file (default: schema.prisma)",
    )
    parser.add_argument(
        "--wasm-dir", type=Path, metavar="DIR", help="the node_modules folder with Prisma's wasm packages"
    )


def add_project(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a command that works on a project."""
    add_schema(parser)
    parser.add_argument(
        "--migrations", type=Path, metavar="DIR", help="folder of migrations (default: migrations beside the schema)"
    )


def add_lock(parser: argparse.ArgumentParser) -> None:
    """Add the argument of a command that writes to a database."""
    parser.add_argument(
        "--lock-timeout",
        type=_seconds,
        default=LOCK_TIMEOUT,
        metavar="SECONDS",
        help=f"how long to wait for another process that migrates the database (default: {LOCK_TIMEOUT:g})",
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"must be a number of seconds, got {text}")
    return value


def project_of(options: argparse.Namespace) -> Project:
    """The project that the arguments name."""
    return load_project(options.schema, migrations=options.migrations, wasm_dir=options.wasm_dir)


def _work(options: argparse.Namespace, act: Act) -> int:
    try:
        report, text = act(options)
    except Finding as finding:
        _print(options, finding.report, finding.text)
        return finding.code
    except PrismaInProcessError as error:
        if options.json:
            _print(options, {"error": _described(error)}, "")
        if isinstance(error, MigrationError) and "\n" in error.details:
            sys.stderr.write(f"{error.details.strip()}\n")
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted. `migrate status` shows what was done\n")
        return 130
    _print(options, report, text)
    return 0


def _print(options: argparse.Namespace, report: Report, text: str) -> None:
    sys.stdout.write((json.dumps(report) if options.json else text) + "\n")


def _described(error: PrismaInProcessError) -> dict[str, Any]:
    if isinstance(error, MigrationError):
        return {"code": error.code, "message": error.message, "details": error.details}
    return {"code": None, "message": str(error), "details": ""}


def asker() -> Ask | None:
    """Return the function that asks the user. None if no user can answer."""
    return _ask_at_terminal if can_ask() else None


def _ask_at_terminal(question: str) -> bool:
    # On standard error: standard output may be a file.
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def add_generation(parser: argparse.ArgumentParser) -> None:
    """Add the argument of a command that generates the client when its work is done."""
    parser.add_argument("--skip-generate", action="store_true", help="do not generate the client afterwards")


def finish(
    options: argparse.Namespace, project: Project, done: Mapping[str, Any], lines: list[str], *, generates: bool = True
) -> tuple[Report, str]:
    """Generate the client, unless the command is not to, and return the command's report and text.

    Raises: MigrationError when the client cannot be generated; the database is done then.
    """
    folder = _generate(options, project) if generates and not options.skip_generate else None
    if folder is not None:
        lines.append(f"Generated a client in {shown(folder)}")
    return {**done, "generated": None if folder is None else str(folder)}, "\n".join(lines)


def _generate(options: argparse.Namespace, project: Project) -> Path | None:
    """Generate the client, if the schema asks for one. Returns its folder."""
    from prisma_inprocess.generator import generate, wants_client

    if not wants_client(project.text):
        return None
    try:
        return generate(project.schema, wasm_dir=options.wasm_dir).output
    except GenerationError as error:
        raise MigrationError(
            f"the database was changed, but the client cannot be generated: {error}. Correct that, and run `generate`"
        ) from error


def shown(path: Path) -> str:
    """A path for messages: from the current folder, if it is in there."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def listed(names: list[str]) -> str:
    """Names, one a line."""
    return "\n".join(f"  {name}" for name in names)


def count(number: int, noun: str) -> str:
    """A number of things."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
