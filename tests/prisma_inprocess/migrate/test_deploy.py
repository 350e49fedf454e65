"""`migrate deploy`, `status`, `resolve` and `reset`: what they do, and what they leave when something fails."""

import hashlib

import pytest

from tests.prisma_inprocess.migrate.conftest import only_postgres, only_sqlite
from tests.prisma_inprocess.migrate.workshop import CREATE_USERS, FIRST, SECOND, Workshop

Capsys = pytest.CaptureFixture[str]
ADD_NAME = 'ALTER TABLE "User" ADD COLUMN "name" TEXT;\n'
# The second statement fails.
BROKEN = 'CREATE TABLE "Half" ("id" INTEGER);\nINSERT INTO "Missing" VALUES (1);\n'


def test_deploy_applies_what_is_missing_and_nothing_twice(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_migration(FIRST, CREATE_USERS)
    assert workshop.report("migrate", "deploy", capsys=capsys) == {"applied": [FIRST], "found": 1}
    workshop.write_migration(SECOND, ADD_NAME)
    assert workshop.report("migrate", "deploy", capsys=capsys)["applied"] == [SECOND]
    assert "has all 2 migrations" in workshop.run("migrate", "deploy", capsys=capsys)
    assert workshop.history() == [(FIRST, True, False), (SECOND, True, False)]
    assert workshop.sql('SELECT "name" FROM "User"') == []


def test_a_folder_without_migrations_is_nothing_to_do(workshop: Workshop, capsys: Capsys) -> None:
    assert workshop.report("migrate", "deploy", capsys=capsys) == {"applied": [], "found": 0}


def test_status_tells_what_is_missing_on_either_side(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_migration(FIRST, CREATE_USERS)
    workshop.run("migrate", "deploy", capsys=capsys)
    assert "up to date" in workshop.run("migrate", "status", capsys=capsys)
    (workshop.migrations / FIRST).rename(workshop.migrations / SECOND)
    report = workshop.report("migrate", "status", capsys=capsys, code=1)
    assert (report["unapplied"], report["missing"], report["up_to_date"]) == ([SECOND], [FIRST], False)


def test_status_writes_nothing(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_migration(FIRST, CREATE_USERS)
    if workshop.provider == "sqlite":
        text = workshop.run("migrate", "status", capsys=capsys, code=1)
        assert "does not exist" in text
        assert not list(workshop.root.parent.glob("empty.db*"))
    else:
        report = workshop.report("migrate", "status", capsys=capsys, code=1)
        assert report["managed"] is False
        assert workshop.sql("SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == []


def test_a_migration_that_fails_is_recorded_and_named_with_what_to_do(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_migration(FIRST, CREATE_USERS)
    workshop.write_migration(SECOND, BROKEN)
    error = workshop.report("migrate", "deploy", capsys=capsys, code=1)["error"]
    assert error["code"] == "P3018"
    for part in (SECOND, "Missing", f"migrate resolve --rolled-back {SECOND}", f"--applied {SECOND}"):
        assert part in error["message"]
    assert workshop.history() == [(FIRST, True, False), (SECOND, False, False)]
    (logs,) = workshop.sql("SELECT logs FROM _prisma_migrations WHERE finished_at IS NULL")[0]
    assert "Missing" in logs


@only_postgres
def test_a_failed_script_leaves_nothing_on_postgresql_and_names_the_line(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_migration(FIRST, BROKEN)
    assert "(line 2)" in workshop.run("migrate", "deploy", capsys=capsys, code=1)
    assert workshop.tables() == set()


@only_sqlite
def test_a_failed_script_leaves_what_came_before_on_sqlite(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_migration(FIRST, BROKEN)
    workshop.run("migrate", "deploy", capsys=capsys, code=1)
    assert workshop.tables() == {"Half"}


def test_a_transaction_that_a_failed_script_left_open_is_rolled_back(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_migration(FIRST, "BEGIN;\n" + BROKEN + "COMMIT;\n")
    workshop.run("migrate", "deploy", capsys=capsys, code=1)
    assert workshop.tables() == set()
    assert workshop.history() == [(FIRST, False, False)]


def test_a_transaction_that_a_script_does_not_end_is_a_failure(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_migration(FIRST, "BEGIN;\n" + CREATE_USERS)
    error = workshop.report("migrate", "deploy", capsys=capsys, code=1)["error"]
    assert error["code"] == "P3018"
    assert "COMMIT" in error["message"]
    assert workshop.tables() == set()
    assert workshop.history() == [(FIRST, False, False)]


def test_nothing_is_applied_behind_a_failure_until_it_is_resolved(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_migration(FIRST, BROKEN.replace("CREATE TABLE", "-- CREATE TABLE"))
    workshop.run("migrate", "deploy", capsys=capsys, code=1)
    error = workshop.report("migrate", "deploy", capsys=capsys, code=1)["error"]
    assert error["code"] == "P3009"
    assert f"--rolled-back {FIRST}" in error["message"]
    assert workshop.report("migrate", "status", capsys=capsys, code=1)["failed"] == [FIRST]

    (workshop.migrations / FIRST / "migration.sql").write_text(CREATE_USERS)
    workshop.run("migrate", "resolve", "--rolled-back", FIRST, capsys=capsys)
    assert workshop.report("migrate", "deploy", capsys=capsys)["applied"] == [FIRST]
    assert workshop.history() == [(FIRST, False, True), (FIRST, True, False)]


def test_a_failure_that_was_completed_by_hand_is_marked_as_applied(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_migration(FIRST, BROKEN.replace("CREATE TABLE", "-- CREATE TABLE"))
    workshop.run("migrate", "deploy", capsys=capsys, code=1)
    workshop.run("migrate", "resolve", "--applied", FIRST, capsys=capsys)
    assert "up to date" in workshop.run("migrate", "status", capsys=capsys)


def test_a_database_with_tables_and_no_history_is_refused_until_it_is_taken_over(
    workshop: Workshop, capsys: Capsys
) -> None:
    workshop.sql('CREATE TABLE "User" ("id" INTEGER)')
    workshop.write_migration(FIRST, CREATE_USERS)
    error = workshop.report("migrate", "deploy", capsys=capsys, code=1)["error"]
    assert error["code"] == "P3005"
    assert "migrate resolve --applied" in error["message"]
    workshop.run("migrate", "resolve", "--applied", FIRST, capsys=capsys)
    assert workshop.report("migrate", "deploy", capsys=capsys)["applied"] == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--applied", "20300101000000_unknown"), "P3017"),
        (("--rolled-back", "20300101000000_unknown"), "P3011"),
        (("--applied", FIRST), "P3008"),
        (("--rolled-back", FIRST), "P3012"),
    ],
)
def test_what_cannot_be_resolved_is_refused(
    workshop: Workshop, capsys: Capsys, arguments: tuple[str, str], code: str
) -> None:
    workshop.write_migration(FIRST, CREATE_USERS)
    workshop.run("migrate", "deploy", capsys=capsys)
    error = workshop.report("migrate", "resolve", *arguments, capsys=capsys, code=1)["error"]
    assert error["code"] == code
    assert arguments[1] in error["message"]


def test_reset_deletes_everything_and_applies_all(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_migration(FIRST, CREATE_USERS)
    workshop.run("migrate", "deploy", capsys=capsys)
    workshop.sql('CREATE TABLE "Other" ("id" INTEGER REFERENCES "User" ("id"))')
    workshop.sql('CREATE VIEW "Seen" AS SELECT * FROM "Other"')
    workshop.sql("""INSERT INTO "User" VALUES (1, 'a@example.org')""")
    assert workshop.report("migrate", "reset", "--force", capsys=capsys)["applied"] == [FIRST]
    assert workshop.tables() == {"User"}
    assert workshop.sql('SELECT * FROM "User"') == []


def test_reset_without_an_answer_deletes_nothing(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_migration(FIRST, CREATE_USERS)
    workshop.run("migrate", "deploy", capsys=capsys)
    assert "--force" in workshop.run("migrate", "reset", capsys=capsys, code=1)
    assert workshop.tables() == {"User"}


def test_a_folder_for_another_database_is_refused(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_migration(FIRST, CREATE_USERS)
    (workshop.migrations / "migration_lock.toml").write_text('provider = "mysql"\n')
    assert "P3019" in workshop.run("migrate", "deploy", capsys=capsys, code=1)


def test_a_migration_without_its_script_is_named(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_migration(FIRST, CREATE_USERS)
    (workshop.migrations / FIRST / "migration.sql").unlink()
    text = workshop.run("migrate", "deploy", capsys=capsys, code=1)
    assert FIRST in text
    assert "P3015" in text


def test_the_checksum_is_that_of_the_files_bytes(workshop: Workshop, capsys: Capsys) -> None:
    content = CREATE_USERS.replace("\n", "\r\n").encode()
    workshop.write_migration(FIRST, "")
    (workshop.migrations / FIRST / "migration.sql").write_bytes(content)
    workshop.run("migrate", "deploy", capsys=capsys)
    assert workshop.sql("SELECT checksum FROM _prisma_migrations") == [(hashlib.sha256(content).hexdigest(),)]
    (workshop.migrations / FIRST / "migration.sql").write_text(CREATE_USERS + "-- and more")
    report = workshop.report("migrate", "status", capsys=capsys)
    assert (report["edited"], report["up_to_date"]) == ([FIRST], True)


def test_a_database_without_history_has_none_of_the_migrations(workshop: Workshop, capsys: Capsys) -> None:
    workshop.sql('CREATE TABLE "Other" ("id" INTEGER)')
    workshop.write_migration(FIRST, CREATE_USERS)
    report = workshop.report("migrate", "status", capsys=capsys, code=1)
    assert (report["managed"], report["unapplied"]) == (False, [FIRST])
