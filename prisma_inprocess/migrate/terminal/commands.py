"""All commands, for a parser: this package's own, or that of another package that offers them, too."""

from __future__ import annotations

from prisma_inprocess.migrate.terminal import history, schemas
from prisma_inprocess.migrate.terminal.command import Commands


def add_commands(commands: Commands) -> None:
    """Describe the commands to a parser.

    Each of them sets `work`, a function of the parsed arguments that returns the exit code.

    Args:
        commands: What `add_subparsers` of the parser returned.
    """
    migrate = commands.add_parser("migrate", help="apply, write and inspect migrations")
    migrations = migrate.add_subparsers(required=True, metavar="COMMAND")
    history.describe(migrations)
    schemas.describe_diff(migrations)
    database = commands.add_parser("db", help="push or pull a schema without migrations")
    schemas.describe_db(database.add_subparsers(required=True, metavar="COMMAND"))
    schemas.describe(commands)
