"""Several processes, and processes that are killed."""

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from prisma_inprocess.errors import MigrationError
from prisma_inprocess.migrate import deploy, file_lock
from prisma_inprocess.migrate.file_lock import FileLock
from prisma_inprocess.migrate.project import open_session
from tests.prisma_inprocess.migrate.conftest import only_postgres, only_sqlite
from tests.prisma_inprocess.migrate.workshop import CREATE_USERS, FIRST, Workshop

pytestmark = pytest.mark.slow

Capsys = pytest.CaptureFixture[str]
# Each takes until its process is killed.
ENDLESS = {
    "sqlite": "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c;",
    "postgresql": "SELECT pg_sleep(600);",
}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within a minute"
        time.sleep(0.02)


async def test_of_several_that_deploy_at_a_time_one_migrates(workshop: Workshop) -> None:
    workshop.write_migration(FIRST, CREATE_USERS)
    project = workshop.project()
    done = await asyncio.gather(*(deploy(project) for _ in range(3)))
    assert sorted(len(one.applied) for one in done) == [0, 0, 1]


@pytest.mark.slow
def test_of_ten_processes_that_deploy_one_migrates_and_nine_find_nothing_to_do(workshop: Workshop) -> None:
    workshop.write_migration(FIRST, CREATE_USERS)
    processes = [workshop.start("migrate", "deploy") for _ in range(10)]
    outputs = [process.communicate(timeout=100)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 10, outputs
    assert sorted("Applied 1 migration" in output for output in outputs) == [False] * 9 + [True]
    assert workshop.history() == [(FIRST, True, False)]


async def test_who_cannot_have_the_lock_in_time_is_told_so(workshop: Workshop) -> None:
    workshop.write_migration(FIRST, CREATE_USERS)
    project = workshop.project()
    async with open_session(project, create=True, lock_timeout=0):
        with pytest.raises(MigrationError, match="--lock-timeout") as caught:
            await deploy(project, lock_timeout=0.1)
    assert caught.value.code == "P1002"
    assert (await deploy(project)).applied == [FIRST]


def test_a_deploy_that_is_killed_in_the_middle_is_found_by_the_next(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_migration(FIRST, ENDLESS[workshop.provider])
    process = workshop.start("migrate", "deploy")
    try:
        wait_until(lambda: has_begun(workshop))
    finally:
        process.kill()
        process.communicate()
    # The lock does not outlive its process, and what the process began is not begun again.
    error = workshop.report("migrate", "deploy", capsys=capsys, code=1)["error"]
    assert error["code"] == "P3009"
    assert f"migrate resolve --rolled-back {FIRST}" in error["message"]

    (workshop.migrations / FIRST / "migration.sql").write_text(CREATE_USERS)
    workshop.run("migrate", "resolve", "--rolled-back", FIRST, capsys=capsys)
    assert workshop.report("migrate", "deploy", capsys=capsys)["applied"] == [FIRST]


def test_a_deploy_that_is_interrupted_ends_at_once_and_is_recorded(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_migration(FIRST, ENDLESS[workshop.provider])
    process = workshop.start("migrate", "deploy")
    try:
        wait_until(lambda: has_begun(workshop))
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    assert output.strip().splitlines()[-1].startswith("error: interrupted")
    report = workshop.report("migrate", "deploy", capsys=capsys, code=1)
    assert report["error"]["code"] == "P3009"


@only_postgres
def test_a_dev_that_is_interrupted_leaves_no_shadow_database(workshop: Workshop) -> None:
    workshop.write_migration(FIRST, ENDLESS[workshop.provider])
    at_work = "SELECT 1 FROM pg_stat_activity WHERE datname LIKE 'prisma_inprocess_shadow%' AND query LIKE '%pg_sleep%'"
    # What counts as applied is applied to the shadow database first.
    process = workshop.start("migrate", "resolve", "--applied", FIRST)
    assert "Marked" in process.communicate(timeout=60)[0]
    process = workshop.start("migrate", "dev")
    try:
        wait_until(lambda: workshop.sql(at_work) == [(1,)])
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    assert workshop.sql("SELECT 1 FROM pg_database WHERE datname LIKE 'prisma_inprocess_shadow%'") == []


def has_begun(workshop: Workshop) -> bool:
    try:
        return workshop.history() == [(FIRST, False, False)]
    except Exception:  # there is no table yet
        return False


@only_sqlite
def test_a_database_that_an_application_has_open_can_be_migrated(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_migration(FIRST, CREATE_USERS)
    with closing(sqlite3.connect(workshop.url.removeprefix("file:"))) as application:
        application.execute("PRAGMA journal_mode = WAL")
        reading = application.execute("SELECT 1 FROM sqlite_master UNION SELECT 2")
        reading.fetchone()
        assert workshop.report("migrate", "deploy", capsys=capsys)["applied"] == [FIRST]


@only_sqlite
def test_no_file_is_left_beside_the_database(workshop: Workshop, capsys: Capsys) -> None:
    workshop.write_migration(FIRST, CREATE_USERS)
    workshop.run("migrate", "deploy", capsys=capsys)
    database = Path(workshop.url.removeprefix("file:"))
    assert [file.name for file in database.parent.iterdir() if file.is_file()] == [database.name]


async def test_a_lock_of_a_file_that_was_deleted_meanwhile_is_none(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, second, third = FileLock(path), FileLock(path), FileLock(path)
    await first.acquire(0)
    # The second has opened the file when the first deletes it, and could lock what is no file any more.
    opened = os.open(path, os.O_RDWR)
    first.release()
    assert file_lock._lock(opened)
    assert not second._is_current(opened)
    await third.acquire(0)
    assert not second._is_current(opened)
    os.close(opened)
    with pytest.raises(MigrationError):
        await second.acquire(0)
    third.release()
    assert not path.exists()
