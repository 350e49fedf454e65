"""What a command works on: schema, URL, folder; and what it refuses."""

from pathlib import Path

import pytest

from prisma_inprocess.migrate.project import _read_env_file
from tests.prisma_inprocess.migrate.conftest import only_postgres, only_sqlite
from tests.prisma_inprocess.migrate.workshop import CREATE_USERS, FIRST, USERS, Workshop

Capsys = pytest.CaptureFixture[str]


def test_the_url_stands_in_a_file_beside_the_schema(
    workshop: Workshop, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    workshop.write_migration(FIRST, CREATE_USERS)
    text = workshop.run("migrate", "deploy", capsys=capsys, code=1)
    assert "DATABASE_URL is not set" in text
    (workshop.root / ".env").write_text(f'# ours\nexport DATABASE_URL="{workshop.url}" # the database\n')
    workshop.run("migrate", "deploy", capsys=capsys)
    assert workshop.tables() == {"User"}


def test_the_environment_comes_before_the_file(workshop: Workshop, capsys: Capsys) -> None:
    (workshop.root / ".env").write_text("DATABASE_URL=nonsense://x\n")
    workshop.write_migration(FIRST, CREATE_USERS)
    workshop.run("migrate", "deploy", capsys=capsys)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("A = b c  # why", "b c"),
        ("A='b # c'", "b # c"),
        ('A="b"', "b"),
        ("A=", ""),
        ("A=b=c?d#e", "b=c?d#e"),
        ("# A=b", None),
        ("A", None),
    ],
)
def test_lines_of_an_env_file(tmp_path: Path, line: str, value: str | None) -> None:
    (tmp_path / ".env").write_text(line)
    assert _read_env_file(tmp_path / ".env").get("A") == value


def test_migrations_run_on_the_direct_url(workshop: Workshop, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIRECT_URL", workshop.url)
    monkeypatch.setenv("DATABASE_URL", "nonsense://pooler")
    workshop.write_schema(USERS, '  directUrl = env("DIRECT_URL")\n')
    workshop.write_migration(FIRST, CREATE_USERS)
    workshop.run("migrate", "deploy", capsys=capsys)
    assert workshop.tables() == {"User"}


def test_migrations_are_taken_from_another_folder(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_migration(FIRST, CREATE_USERS)
    workshop.migrations.rename(workshop.root / "elsewhere")
    folder = str(workshop.root / "elsewhere")
    assert workshop.report("migrate", "deploy", "--migrations", folder, capsys=capsys)["applied"] == [FIRST]


@pytest.mark.parametrize(
    ("schema", "part"),
    [
        (None, "there is no schema file"),
        ("model User {\n  id Int @id\n}\n", "no datasource block"),
        ('datasource db {\n  provider = "mysql"\n  url = "x"\n}\n', "'mysql'"),
        ('datasource db {\n  provider = "sqlite"\n  url = ""\n}\n', "is empty"),
    ],
)
@only_sqlite
def test_a_schema_that_cannot_be_used_is_refused(
    workshop: Workshop, capsys: Capsys, schema: str | None, part: str
) -> None:
    if schema is None:
        (workshop.root / "schema.prisma").unlink()
    else:
        (workshop.root / "schema.prisma").write_text(schema)
    text = workshop.run("migrate", "deploy", capsys=capsys, code=1)
    assert part in text
    assert len(text.strip().splitlines()) == 1


@only_sqlite
@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("file::memory:", "in memory"),
        ("file:/nowhere/at/all.db", "does not exist"),
        ("postgresql://localhost/x", "`file:`"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    workshop: Workshop, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, url: str, part: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    assert part in workshop.run("migrate", "deploy", capsys=capsys, code=1)


@only_sqlite
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(workshop: Workshop, capsys: Capsys) -> None:
    path = Path(workshop.url.removeprefix("file:"))
    path.write_text("no database, " * 100)
    assert "not a database" in workshop.run("migrate", "deploy", capsys=capsys, code=1)
    assert path.read_text() == "no database, " * 100


@only_sqlite
def test_a_history_with_times_in_milliseconds_is_read(workshop: Workshop, capsys: Capsys) -> None:
    """Prisma's native engine writes times as numbers."""
    workshop.write_migration(FIRST, CREATE_USERS)
    workshop.run("migrate", "deploy", capsys=capsys)
    workshop.sql("UPDATE _prisma_migrations SET started_at = 1767225600000, finished_at = 1767225600001")
    assert "up to date" in workshop.run("migrate", "status", capsys=capsys)


@only_postgres
def test_no_message_has_the_password(workshop: Workshop, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in (
        "postgresql://someone:se%2Fcret@127.0.0.1:1/nothing",
        workshop.url.replace("postgres@", "nobody:se%2Fcret@") + "?connect_timeout=nonsense-se/cret",
        "postgresql://someone:se/cret@127.0.0.1:1/nothing",
    ):
        monkeypatch.setenv("DATABASE_URL", url)
        for flags in ((), ("--json",)):
            text = workshop.run("migrate", "deploy", *flags, capsys=capsys, code=1)
            assert "cret@" not in text
            assert "se%2Fcret" not in text


@only_postgres
def test_a_user_with_few_rights_can_deploy_and_is_told_what_dev_needs(
    workshop: Workshop, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = workshop.url.rpartition("/")[2] + "_user"
    workshop.sql(f'CREATE ROLE "{role}" LOGIN')
    try:
        workshop.sql(f'GRANT ALL ON SCHEMA public TO "{role}"')
        monkeypatch.setenv("DATABASE_URL", workshop.url.replace("postgres@", f"{role}@"))
        workshop.write_migration(FIRST, CREATE_USERS)
        workshop.run("migrate", "deploy", capsys=capsys)
        error = workshop.report("migrate", "dev", capsys=capsys, code=1)["error"]
        assert error["code"] == "P3014"
        assert "shadowDatabaseUrl" in error["message"]
        assert "Nothing was deleted" in workshop.run("migrate", "reset", "--force", capsys=capsys, code=1)
        assert workshop.tables() == {"User"}
    finally:
        workshop.sql(f'DROP OWNED BY "{role}" CASCADE')
        workshop.sql(f'DROP ROLE "{role}"')


def test_the_description_of_a_project_has_no_url(workshop: Workshop) -> None:
    assert workshop.url not in repr(workshop.project())


@only_postgres
def test_a_database_and_a_schema_that_do_not_exist_are_created(
    workshop: Workshop, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = workshop.url.rpartition("/")[2] + "_new"
    url = f"{workshop.url.rpartition('/')[0]}/{name}"
    monkeypatch.setenv("DATABASE_URL", f"{url}?schema=it's%20mine")
    workshop.write_migration(FIRST, CREATE_USERS)
    try:
        assert "P1003" in workshop.run("migrate", "status", capsys=capsys, code=1)
        workshop.run("migrate", "deploy", capsys=capsys)
        found = Workshop(Path(), "postgresql", url).sql(
            "SELECT DISTINCT schemaname::text FROM pg_tables WHERE tablename IN ('User', '_prisma_migrations')"
        )
        assert found == [("it's mine",)]
        assert "up to date" in workshop.run("migrate", "status", capsys=capsys)
    finally:
        workshop.sql(f'DROP DATABASE "{name}" WITH (FORCE)')
