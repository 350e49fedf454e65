"""The Prisma CLI and this package on the same databases and files, in both directions: `make parity-migrate`."""

import json
from typing import Any

import pytest

from tests.prisma_inprocess.migrate.workshop import CREATE_USERS, FIRST, SECOND, USERS, USERS_WITH_NAMES, Workshop
from tests.support.migrations import REPOSITORY, migrate, prisma_cli, prisma_inprocess, project_of

pytestmark = [pytest.mark.node, pytest.mark.timeout(300)]
BROKEN = 'INSERT INTO "Missing" VALUES (1);\n'


@pytest.fixture
def both(workshop: Workshop) -> Workshop:
    """A project that the CLI can use, too: with this repository's configuration, for its own schema and migrations."""
    config = (REPOSITORY / "prisma.config.ts").read_text()
    for old, new in (
        ("postgresql ? 'schema.postgresql.prisma' : 'schema.prisma'", "'schema.prisma'"),
        ("postgresql ? 'migrations/postgresql' : 'migrations/sqlite'", "'migrations'"),
    ):
        assert old in config
        config = config.replace(old, new)
    (workshop.root / "prisma.config.ts").write_text(config)
    (workshop.root / "node_modules").symlink_to(REPOSITORY / "node_modules")
    workshop.write_migration(FIRST, CREATE_USERS)
    return workshop


def cli(workshop: Workshop, *arguments: str) -> str:
    return prisma_cli(*arguments, database_url=workshop.url, cwd=workshop.root)


def ours(workshop: Workshop, *arguments: str) -> Any:
    return json.loads(prisma_inprocess(*arguments, "--json", database_url=workshop.url, cwd=workshop.root))


def rows(workshop: Workshop) -> list[tuple[Any, ...]]:
    """What is in the history, without ids and times."""
    found = workshop.sql(
        "SELECT migration_name, checksum, applied_steps_count, finished_at IS NOT NULL, rolled_back_at IS NOT NULL, "
        "coalesce(logs, '') <> '' FROM _prisma_migrations ORDER BY started_at"
    )
    return [tuple(int(value) if isinstance(value, bool) else value for value in row) for row in found]


def test_what_we_migrate_the_cli_calls_up_to_date(empty_database_url: str) -> None:
    """With this repository's own schemas and migrations."""
    migrate(empty_database_url)
    assert "Database schema is up to date!" in prisma_cli("migrate", "status", database_url=empty_database_url)
    assert "No pending migrations" in prisma_cli("migrate", "deploy", database_url=empty_database_url)


def test_what_the_cli_migrates_is_up_to_date_here(empty_database_url: str) -> None:
    """With this repository's own schemas and migrations."""
    prisma_cli("migrate", "deploy", database_url=empty_database_url)
    options = project_of(empty_database_url)
    report = json.loads(prisma_inprocess("migrate", "status", "--json", *options, database_url=empty_database_url))
    assert (report["up_to_date"], report["edited"]) == (True, [])
    report = json.loads(
        prisma_inprocess("migrate", "dev", "--json", "--skip-generate", *options, database_url=empty_database_url)
    )
    assert (report["applied"], report["created"]) == ([], None)


def test_both_leave_the_same_history(both: Workshop) -> None:
    cli(both, "migrate", "deploy")
    theirs = rows(both)
    ours(both, "migrate", "reset", "--force")
    assert rows(both) == theirs


def test_each_goes_on_where_the_other_stopped(both: Workshop) -> None:
    assert ours(both, "migrate", "deploy")["applied"] == [FIRST]
    both.write_migration(SECOND, 'ALTER TABLE "User" ADD COLUMN "name" TEXT;\n')
    cli(both, "migrate", "deploy")
    third = "20260103000000_third"
    both.write_migration(third, 'ALTER TABLE "User" ADD COLUMN "age" INTEGER;\n')
    assert ours(both, "migrate", "deploy")["applied"] == [third]
    assert "up to date" in cli(both, "migrate", "status")


@pytest.mark.parametrize("first_is_ours", [True, False], ids=["ours_fails", "theirs_fails"])
def test_what_fails_with_one_stops_the_other_and_is_resolved_here(both: Workshop, first_is_ours: bool) -> None:
    """`migrate resolve` of the CLI has no JavaScript engine, so it is only ours that can be tried."""
    both.write_migration(SECOND, BROKEN)

    def deploy_and_fail(*, with_ours: bool) -> str:
        with pytest.raises(RuntimeError) as failed:
            (ours if with_ours else cli)(both, "migrate", "deploy")
        return str(failed.value)

    deploy_and_fail(with_ours=first_is_ours)
    after_first = rows(both)
    assert [row[0] for row in after_first] == [FIRST, SECOND]
    assert after_first[1][2:] == (0, 0, 0, 1)  # no step done, not finished, with a log
    assert "P3009" in deploy_and_fail(with_ours=not first_is_ours)
    assert rows(both) == after_first
    ours(both, "migrate", "resolve", "--rolled-back", SECOND)
    (both.migrations / SECOND / "migration.sql").write_text('CREATE TABLE "Repaired" ("id" INTEGER);\n')
    cli(both, "migrate", "deploy")
    assert ours(both, "migrate", "status")["up_to_date"] is True
    assert "up to date" in cli(both, "migrate", "status")


def test_a_migration_that_dev_writes_is_the_one_that_the_cli_would_write(both: Workshop) -> None:
    ours(both, "migrate", "deploy")
    before, after = both.root / "before.prisma", both.root / "schema.prisma"
    before.write_text(after.read_text())
    both.write_schema(USERS_WITH_NAMES + USERS.replace("User", "Other"))
    created = ours(both, "migrate", "dev", "--name", "more", "--create-only")["created"]
    schemas = ("--from-schema-datamodel", str(before), "--to-schema-datamodel", str(after))
    theirs = cli(both, "migrate", "diff", "--script", *schemas)
    assert (both.migrations / created / "migration.sql").read_text().strip() == theirs.strip()
