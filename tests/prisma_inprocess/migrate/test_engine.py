"""The engine itself: panics, and what it imports from JavaScript."""

import asyncio
from pathlib import Path

import pytest

from prisma_inprocess.errors import MigrationError
from prisma_inprocess.migrate import deploy
from prisma_inprocess.migrate.project import open_session
from prisma_inprocess.wasm.javascript import JsError, RegExp, to_python
from prisma_inprocess.wasm.jobs import Closure, Jobs, Promise, Rejected
from tests.prisma_inprocess.migrate.conftest import only_sqlite
from tests.prisma_inprocess.migrate.workshop import CREATE_USERS, FIRST, Workshop

VALIDITY = {"datasource": {"tag": "ConnectionString", "url": ""}}


@only_sqlite
async def test_after_a_panic_the_next_command_has_a_new_instance(workshop: Workshop) -> None:
    workshop.write_migration(FIRST, CREATE_USERS)
    async with open_session(workshop.project(), create=True) as session:
        with pytest.raises(MigrationError, match="panicked"):
            await session.engine.panic()
        await session.engine.run("ensureConnectionValidity", VALIDITY)
    assert (await deploy(workshop.project())).applied == [FIRST]


@only_sqlite
async def test_a_command_that_the_engine_refuses_leaves_it_usable(workshop: Workshop) -> None:
    async with open_session(workshop.project(), create=True) as session:
        with pytest.raises(MigrationError):
            await session.engine.run("applyMigrations", {"nonsense": True})
        await session.engine.run("ensureConnectionValidity", VALIDITY)


async def test_a_promise_passes_values_reasons_and_promises_on() -> None:
    jobs = Jobs()
    first, inner = Promise(jobs), Promise(jobs)
    seen: list[object] = []

    def see(value: object) -> int:
        seen.append(value)
        return len(seen)

    chained = first.then(lambda value: inner).then(see)
    first.resolve(1)
    inner.resolve("inner")
    first.resolve(2)  # settled: nothing changes
    assert await jobs.result(chained) == 1
    assert seen == ["inner"]

    def throw(_: object) -> None:
        raise JsError("no")

    with pytest.raises(Rejected, match="no"):
        await jobs.result(first.then(throw))
    rejected = Promise(jobs)
    rejected.reject("why")
    assert await jobs.result(rejected.then(throw, lambda reason: f"because {reason}")) == "because why"


async def test_jobs_run_in_their_order_and_timers_later() -> None:
    jobs = Jobs()
    seen: list[str] = []
    done = Promise(jobs)

    def fire() -> None:
        seen.append("timer")
        done.resolve()

    jobs.set_timer(fire, 1)
    jobs.add(lambda: jobs.add(lambda: seen.append("third")))
    jobs.add(lambda: seen.append("second"))
    jobs.run()
    await jobs.result(done)
    assert seen == ["second", "third", "timer"]


async def test_a_defect_in_a_coroutine_ends_everything_that_waits() -> None:
    jobs = Jobs()

    async def broken() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await jobs.result(jobs.promise_of(broken()))
    await jobs.close()


def test_a_closure_frees_its_environment_when_its_last_reference_is_gone() -> None:
    calls: list[tuple[object, ...]] = []
    closure = Closure(lambda *values: closure.release(), lambda *values: calls.append(values), 7, 9)
    closure("argument")  # gives itself up while it runs
    assert calls == [(7, 9)]


@pytest.mark.parametrize(
    ("pattern", "flags", "text", "groups"),
    [
        ("a(b)?", "", "xa", ["a", None]),
        ("(?<name>B)", "i", "ab", ["b", "b"]),
        ("(?<!x)y", "", "xy y", ["y"]),
        ("nothing", "", "x", None),
    ],
)
def test_regular_expressions_of_javascript(
    pattern: str, flags: str, text: str, groups: list[str | None] | None
) -> None:
    found = RegExp(pattern, flags).exec(text)
    assert to_python(found) == groups


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    from prisma_inprocess.files import make_folder_whole, write_whole

    target = tmp_path / "migrations" / "first"
    target.parent.mkdir()
    with pytest.raises(FileNotFoundError):
        make_folder_whole(target, {"a": "1", "missing/b": "2"})
    assert not target.exists()
    make_folder_whole(target, {"a": "1"})
    with pytest.raises(OSError):
        make_folder_whole(target, {"a": "2"})
    assert (target / "a").read_text() == "1"
    write_whole(target / "a", "3")
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["a", "first", "migrations"]


async def test_what_has_just_ended_when_a_command_is_cancelled_begins_nothing_more() -> None:
    """Else the next statement would run with nobody to interrupt it, and the command would wait for it."""
    jobs = Jobs()
    begun: list[str] = []

    async def statement(name: str) -> str:
        begun.append(name)
        return name

    first = jobs.promise_of(statement("first"))
    first.then(lambda _: jobs.promise_of(statement("second")))
    await asyncio.sleep(0)  # it has ended, and nobody was told yet
    await jobs.cancel()
    await asyncio.sleep(0.01)
    assert begun == ["first"]
