"""`migrate dev`: what it writes, and what it never does unasked."""

import asyncio
from pathlib import Path

import pytest

from prisma_inprocess.migrate import dev
from prisma_inprocess.migrate.terminal import command
from tests.prisma_inprocess.migrate.conftest import only_postgres, only_sqlite
from tests.prisma_inprocess.migrate.workshop import CREATE_USERS, FIRST, USERS, USERS_WITH_NAMES, Workshop

pytestmark = pytest.mark.slow

Capsys = pytest.CaptureFixture[str]


def develop(workshop: Workshop, capsys: Capsys, *arguments: str) -> dict[str, object]:
    report: dict[str, object] = workshop.report("migrate", "dev", *arguments, capsys=capsys)
    return report


def started(workshop: Workshop, capsys: Capsys) -> str:
    """A project whose first migration is applied, with one row. Returns the migration's name."""
    created = develop(workshop, capsys, "--name", "first")["created"]
    workshop.sql("""INSERT INTO "User" ("id", "email") VALUES (1, 'a@example.org')""")
    return str(created)


def emails(workshop: Workshop) -> list[str]:
    return [row[0] for row in workshop.sql('SELECT "email" FROM "User"')]


def test_dev_writes_a_migration_of_what_changed_and_applies_it(workshop: Workshop, capsys: Capsys) -> None:
    first = started(workshop, capsys)
    assert first.endswith("_first")
    assert f'provider = "{workshop.provider}"' in (workshop.migrations / "migration_lock.toml").read_text()
    workshop.write_schema(USERS_WITH_NAMES)
    report = develop(workshop, capsys, "--name", "Add names")
    assert report["applied"] == [report["created"]]
    assert 'ADD COLUMN     "name"' in script(workshop, report) or 'ADD COLUMN "name"' in script(workshop, report)
    assert workshop.sql('SELECT "email", "name" FROM "User"') == [("a@example.org", None)]
    assert workshop.report("migrate", "status", capsys=capsys)["up_to_date"] is True
    # nothing half is left, neither beside the migrations nor beside their folder
    assert sorted(entry.name for entry in workshop.root.iterdir()) == ["migrations", "schema.prisma"]
    assert sorted(entry.name for entry in workshop.migrations.iterdir()) == sorted(
        [first, str(report["created"]), "migration_lock.toml"]
    )


def script(workshop: Workshop, report: dict[str, object]) -> str:
    return (workshop.migrations / str(report["created"]) / "migration.sql").read_text()


def test_without_a_change_nothing_is_written(workshop: Workshop, capsys: Capsys) -> None:
    first = started(workshop, capsys)
    report = develop(workshop, capsys)
    assert (report["applied"], report["created"]) == ([], None)
    assert [entry.name for entry in workshop.migrations.iterdir() if entry.is_dir()] == [first]


@pytest.mark.parametrize(("name", "folder"), [("../../Up & away", "up_away"), ("Übersicht", "ubersicht")])
@only_sqlite
def test_a_name_becomes_part_of_a_folders_name(workshop: Workshop, capsys: Capsys, name: str, folder: str) -> None:
    created = str(develop(workshop, capsys, "--name", name, "--create-only")["created"])
    assert created.partition("_")[2] == folder
    assert (workshop.migrations / created).is_dir()


@only_sqlite
def test_a_name_without_letters_is_refused(workshop: Workshop, capsys: Capsys) -> None:
    assert "got '//'" in workshop.run("migrate", "dev", "--name", "//", capsys=capsys, code=1)
    assert not workshop.migrations.exists()


@only_sqlite
def test_dev_generates_the_client_that_the_schema_asks_for(workshop: Workshop, capsys: Capsys) -> None:
    generator = 'generator client {\n  provider = "prisma_inprocess"\n  output = "./client"\n}\n'
    workshop.write_schema(generator + USERS)
    report = develop(workshop, capsys, "--name", "first")
    assert report["generated"] == str(workshop.root / "client")
    assert (workshop.root / "client" / "models.py").is_file()
    workshop.write_schema(generator.replace('  output = "./client"\n', "") + USERS_WITH_NAMES)
    text = workshop.run("migrate", "dev", "--name", "second", capsys=capsys, code=1)
    assert "the database was changed" in text
    assert "output" in text


def test_a_change_without_a_name_is_refused(workshop: Workshop, capsys: Capsys) -> None:
    assert "--name" in workshop.run("migrate", "dev", capsys=capsys, code=1)
    assert not workshop.migrations.exists()


def test_a_migration_that_was_only_written_is_applied_by_the_next(workshop: Workshop, capsys: Capsys) -> None:
    created = develop(workshop, capsys, "--name", "first", "--create-only")
    assert (created["applied"], workshop.tables()) == ([], set())
    report = develop(workshop, capsys)
    assert (report["applied"], report["created"]) == ([created["created"]], None)


def test_an_edited_migration_is_named_and_nothing_is_deleted(workshop: Workshop, capsys: Capsys) -> None:
    first = started(workshop, capsys)
    with (workshop.migrations / first / "migration.sql").open("a") as file:
        file.write('CREATE TABLE "More" ("id" INTEGER);\n')
    error = workshop.report("migrate", "dev", capsys=capsys, code=1)["error"]
    assert first in error["message"]
    assert "migrate reset" in error["message"]
    assert emails(workshop) == ["a@example.org"]


def test_a_missing_migration_is_named_and_nothing_is_deleted(workshop: Workshop, capsys: Capsys) -> None:
    first = started(workshop, capsys)
    (workshop.migrations / first).rename(workshop.root / "elsewhere")
    assert first in workshop.run("migrate", "dev", capsys=capsys, code=1)
    assert emails(workshop) == ["a@example.org"]


def test_a_database_that_was_changed_by_hand_is_told_of(workshop: Workshop, capsys: Capsys) -> None:
    started(workshop, capsys)
    workshop.sql('ALTER TABLE "User" ADD COLUMN "age" INTEGER')
    error = workshop.report("migrate", "dev", capsys=capsys, code=1)["error"]
    assert "Drift detected" in error["message"]
    assert "age" in error["details"]
    assert emails(workshop) == ["a@example.org"]


@pytest.mark.parametrize("answer", [True, False])
def test_a_reset_needs_an_answer(workshop: Workshop, capsys: Capsys, answer: bool) -> None:
    started(workshop, capsys)
    workshop.sql('ALTER TABLE "User" ADD COLUMN "age" INTEGER')
    questions: list[str] = []

    def ask(question: str) -> bool:
        questions.append(question)
        return answer

    work = dev(workshop.project(), ask=ask)
    if answer:
        assert len(asyncio.run(work).applied) == 1
    else:
        with pytest.raises(Exception, match="Drift detected"):
            asyncio.run(work)
    assert "Delete everything in" in questions[0]
    assert emails(workshop) == ([] if answer else ["a@example.org"])


def test_a_change_that_deletes_data_is_refused_where_nobody_can_answer(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_schema(USERS_WITH_NAMES)
    started(workshop, capsys)
    workshop.sql("""UPDATE "User" SET "name" = 'Anna'""")
    workshop.write_schema(USERS)
    text = workshop.run("migrate", "dev", "--name", "drop_names", capsys=capsys, code=1)
    assert "data would be lost" in text
    assert "`name`" in text
    assert len([entry for entry in workshop.migrations.iterdir() if entry.is_dir()]) == 1
    report = develop(workshop, capsys, "--name", "drop_names", "--create-only")
    assert report["applied"] == []
    assert workshop.sql('SELECT "name" FROM "User"') == [("Anna",)]


def test_a_change_that_cannot_be_made_is_refused(workshop: Workshop, capsys: Capsys) -> None:
    started(workshop, capsys)
    workshop.write_schema(USERS.replace("}", "  age   Int\n}"))
    text = workshop.run("migrate", "dev", "--name", "add_age", capsys=capsys, code=1)
    assert "cannot be made" in text
    assert "`age`" in text


def test_an_invalid_schema_is_refused_before_anything_is_done(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_migration(FIRST, CREATE_USERS)
    workshop.write_schema(USERS + "model Broken {\n  name Strin\n}\n")
    error = workshop.report("migrate", "dev", "--name", "x", capsys=capsys, code=1)["error"]
    assert error["code"] == "P1012"
    assert "Strin" in error["message"]
    assert workshop.tables() == set()


def test_a_migration_that_does_not_apply_is_named(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_migration(FIRST, 'INSERT INTO "Missing" VALUES (1);')
    error = workshop.report("migrate", "dev", capsys=capsys, code=1)["error"]
    assert error["code"] == "P3006"
    assert FIRST in error["message"]
    assert "Missing" in error["message"]
    if workshop.provider == "postgresql":
        assert shadows(workshop) == []


def test_nobody_is_asked_where_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in command._UNATTENDED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert command.can_ask()
    monkeypatch.setenv("CI", "true")
    assert not command.can_ask()


def test_a_folder_that_cannot_be_written_leaves_everything_as_it_was(workshop: Workshop, capsys: Capsys) -> None:
    workshop.migrations.write_text("a file, where the folder should be")
    assert "cannot be written" in workshop.run("migrate", "dev", "--name", "first", capsys=capsys, code=1)
    assert workshop.tables() == set()
    assert sorted(entry.name for entry in workshop.root.iterdir()) == ["migrations", "schema.prisma"]


def shadows(workshop: Workshop) -> list[str]:
    rows = workshop.sql("SELECT datname::text FROM pg_database WHERE datname LIKE 'prisma\\_inprocess\\_shadow%'")
    return [row[0] for row in rows]


@only_postgres
def test_the_shadow_database_is_dropped_and_an_abandoned_one_with_it(workshop: Workshop, capsys: Capsys) -> None:
    workshop.sql("CREATE DATABASE prisma_inprocess_shadow_1000000000_abandoned")
    started(workshop, capsys)
    assert shadows(workshop) == []


@only_postgres
def test_a_shadow_database_of_another_process_is_left_alone(workshop: Workshop, capsys: Capsys) -> None:
    name = "prisma_inprocess_shadow_9999999999_in_use"
    workshop.sql(f"CREATE DATABASE {name}")
    try:
        started(workshop, capsys)
        assert shadows(workshop) == [name]
    finally:
        workshop.sql(f"DROP DATABASE {name}")


@pytest.fixture
def shadow_url(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> str:
    """Another database, which the schema names as its shadow database."""
    url = workshop.url.rpartition("/")[0] + "/" + workshop.url.rpartition("/")[2] + "_shadow"
    workshop.sql(f'CREATE DATABASE "{url.rpartition("/")[2]}"')
    monkeypatch.setenv("SHADOW_URL", url)
    workshop.write_schema(USERS, '  shadowDatabaseUrl = env("SHADOW_URL")\n')
    return url


@only_postgres
def test_a_shadow_database_that_is_named_is_emptied_and_used(
    workshop: Workshop, capsys: Capsys, shadow_url: str
) -> None:
    shadow = Workshop(Path(), "postgresql", shadow_url)
    try:
        shadow.sql('CREATE TABLE "Old" ("id" INTEGER)')
        started(workshop, capsys)
        develop(workshop, capsys)
        assert shadow.tables() == {"User"}
    finally:
        workshop.sql(f'DROP DATABASE "{shadow_url.rpartition("/")[2]}"')


@only_postgres
def test_a_shadow_database_with_a_history_is_refused(workshop: Workshop, capsys: Capsys, shadow_url: str) -> None:
    shadow = Workshop(Path(), "postgresql", shadow_url)
    try:
        shadow.sql("CREATE TABLE _prisma_migrations (id INTEGER)")
        text = workshop.run("migrate", "dev", "--name", "x", capsys=capsys, code=1)
        assert "shadowDatabaseUrl" in text
        assert shadow.sql("SELECT * FROM _prisma_migrations") == []
    finally:
        workshop.sql(f'DROP DATABASE "{shadow_url.rpartition("/")[2]}"')


@only_postgres
def test_the_real_database_is_no_shadow_database_however_it_is_named(
    workshop: Workshop, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(workshop, capsys)
    workshop.sql("DROP TABLE _prisma_migrations")
    monkeypatch.setenv("SHADOW_URL", workshop.url.replace("127.0.0.1", "localhost") + "?connect_timeout=9")
    workshop.write_schema(USERS, '  shadowDatabaseUrl = env("SHADOW_URL")\n')
    assert "P3016" in str(workshop.report("migrate", "dev", capsys=capsys, code=1))
    assert emails(workshop) == ["a@example.org"]
