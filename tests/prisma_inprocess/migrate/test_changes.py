"""`migrate diff`, `db push`, `db pull`, `validate` and `format`."""

import pytest

from tests.prisma_inprocess.migrate.workshop import CREATE_USERS, FIRST, USERS, USERS_WITH_NAMES, Workshop

pytestmark = pytest.mark.slow

Capsys = pytest.CaptureFixture[str]


def insert(workshop: Workshop) -> None:
    workshop.sql("""INSERT INTO "User" ("id", "email") VALUES (1, 'a@example.org')""")


def test_a_difference_is_sql_or_a_summary(workshop: Workshop, capsys: Capsys) -> None:
    schema = str(workshop.root / "schema.prisma")
    workshop.write_migration(FIRST, CREATE_USERS)
    workshop.run("migrate", "deploy", capsys=capsys)
    sql = workshop.run("migrate", "diff", "--from-empty", "--to-schema", schema, "--script", capsys=capsys)
    assert 'CREATE TABLE "User"' in sql
    summary = workshop.run("migrate", "diff", "--from-empty", "--to-database", capsys=capsys)
    assert "Added tables" in summary


def test_a_difference_is_exit_code_2_where_that_is_asked_for(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_migration(FIRST, CREATE_USERS)
    workshop.run("migrate", "deploy", capsys=capsys)
    sides = ("--from-migrations", str(workshop.migrations), "--to-database")
    assert "No difference" in workshop.run("migrate", "diff", *sides, "--exit-code", capsys=capsys)
    workshop.sql('ALTER TABLE "User" ADD COLUMN "age" INTEGER')
    assert "age" in workshop.run("migrate", "diff", *sides, "--exit-code", capsys=capsys, code=2)
    assert "age" in workshop.run("migrate", "diff", *sides, capsys=capsys)


def test_push_makes_the_database_fit_without_a_history(workshop: Workshop, capsys: Capsys) -> None:
    assert workshop.report("db", "push", capsys=capsys)["steps"] > 0
    assert workshop.tables() == {"User"}
    assert "fits the schema" in workshop.run("db", "push", capsys=capsys)
    assert workshop.report("migrate", "status", capsys=capsys, code=1)["managed"] is False


def test_push_deletes_no_data_that_nobody_agreed_to(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_schema(USERS_WITH_NAMES)
    workshop.run("db", "push", capsys=capsys)
    insert(workshop)
    workshop.sql("""UPDATE "User" SET "name" = 'Anna'""")
    workshop.write_schema(USERS)
    text = workshop.run("db", "push", capsys=capsys, code=1)
    assert "--accept-data-loss" in text
    assert workshop.sql('SELECT "name" FROM "User"') == [("Anna",)]
    report = workshop.report("db", "push", "--accept-data-loss", capsys=capsys)
    assert "`name`" in report["warnings"][0]
    assert workshop.sql('SELECT * FROM "User"') == [(1, "a@example.org")]


def test_push_says_what_cannot_be_done_and_can_begin_anew(workshop: Workshop, capsys: Capsys) -> None:
    workshop.run("db", "push", capsys=capsys)
    insert(workshop)
    workshop.write_schema(USERS.replace("}", "  age   Int\n}"))
    assert "--force-reset" in workshop.run("db", "push", capsys=capsys, code=1)
    workshop.run("db", "push", "--force-reset", capsys=capsys)
    assert workshop.sql('SELECT "age" FROM "User"') == []


def test_an_invalid_schema_deletes_nothing(workshop: Workshop, capsys: Capsys) -> None:
    workshop.run("db", "push", capsys=capsys)
    insert(workshop)
    workshop.write_schema("model User {\n  id Strin @id\n}\n")
    assert "P1012" in workshop.run("db", "push", "--force-reset", capsys=capsys, code=1)
    assert workshop.sql('SELECT "id" FROM "User"') == [(1,)]


def test_pull_writes_models_and_keeps_the_rest_of_the_schema(workshop: Workshop, capsys: Capsys) -> None:
    workshop.run("db", "push", capsys=capsys)
    workshop.sql('ALTER TABLE "User" ADD COLUMN "age" INTEGER')
    before = (workshop.root / "schema.prisma").read_text()
    printed = workshop.run("db", "pull", "--print", capsys=capsys)
    assert (workshop.root / "schema.prisma").read_text() == before
    workshop.run("db", "pull", capsys=capsys)
    after = (workshop.root / "schema.prisma").read_text()
    assert after.strip() == printed.strip()
    assert "age" in after
    assert 'url      = env("DATABASE_URL")' in after
    assert "has every table" in workshop.run("db", "pull", capsys=capsys)


def test_pull_from_an_empty_database_is_refused(workshop: Workshop, capsys: Capsys) -> None:
    workshop.sql('CREATE TABLE "User" ("id" INTEGER)')
    workshop.sql('DROP TABLE "User"')
    before = (workshop.root / "schema.prisma").read_text()
    assert "P4001" in workshop.run("db", "pull", capsys=capsys, code=1)
    assert (workshop.root / "schema.prisma").read_text() == before


def test_every_error_of_a_schema_is_listed_with_its_line(workshop: Workshop, capsys: Capsys) -> None:
    assert "is valid" in workshop.run("validate", capsys=capsys)
    workshop.write_schema("model User {\n  id   Strin @id\n  name Foo\n}\n")
    error = workshop.report("validate", capsys=capsys, code=1)["error"]
    assert error["code"] == "P1012"
    assert "and 1 more" in error["message"]
    assert "schema.prisma:6" in error["details"]
    assert "schema.prisma:7" in error["details"]


def test_format_lays_the_schema_out_and_check_writes_nothing(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_schema("model User {\n id Int @id\n  email String @unique // kept\n}\n")
    before = (workshop.root / "schema.prisma").read_text()
    workshop.run("format", "--check", capsys=capsys, code=1)
    assert (workshop.root / "schema.prisma").read_text() == before
    workshop.run("format", capsys=capsys)
    after = (workshop.root / "schema.prisma").read_text()
    assert "  id    Int    @id\n  email String @unique // kept\n" in after
    assert 'url      = env("DATABASE_URL")' in after
    assert "is formatted" in workshop.run("format", "--check", capsys=capsys)


def test_a_schema_that_cannot_be_read_is_not_formatted(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_schema("model User {\n id Strin @id\n}\n")
    before = (workshop.root / "schema.prisma").read_text()
    assert "P1012" in workshop.run("format", capsys=capsys, code=1)
    assert (workshop.root / "schema.prisma").read_text() == before
