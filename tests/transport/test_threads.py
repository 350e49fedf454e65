"""Threads for plain `def` functions: what can be waited for, and what nothing can end."""

import asyncio
import contextvars
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from datetime import timedelta

import anyio.from_thread
import pytest

from fastapi_durable.transport.threads import Called, StillWorkingError, Threads
from tests.support.engine_rig import until

PARSE = Called(name="step 'parse'", key="run:0", owner="run")


class Work:
    """A function that works until it may end."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.go_on.wait(60)
        return "done"

    async def has_begun(self) -> bool:
        return self.begun.is_set()


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    threads = Threads()
    yield threads
    threads.close()


async def test_a_call_sees_the_context_of_its_caller_and_changes_only_a_copy(threads: Threads) -> None:
    variable = contextvars.ContextVar("variable", default="outside")
    variable.set("caller")

    def look() -> str:
        found = variable.get()
        variable.set("thread")
        return found

    assert await threads.call(look, PARSE) == "caller"
    assert variable.get() == "caller"


async def test_threads_are_used_again(threads: Threads) -> None:
    """What a function keeps for its thread, such as a connection, is there at the next call."""
    assert await threads.call(threading.get_ident, PARSE) == await threads.call(threading.get_ident, PARSE)


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, SystemExit, KeyboardInterrupt])
async def test_what_a_function_raises_comes_to_its_caller(threads: Threads, error: type[BaseException]) -> None:
    def fail() -> None:
        raise error("no")

    with pytest.raises(error):
        await threads.call(fail, PARSE)
    assert await threads.call(lambda: "still alive", PARSE) == "still alive"


async def test_an_iteration_that_ends_in_a_thread_is_an_error_there(threads: Threads) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await threads.call(lambda: next(iter(())), PARSE)


async def test_a_function_calls_back_into_the_event_loop_as_a_def_route_does(threads: Threads) -> None:
    async def here() -> int:
        return threading.get_ident()

    assert await threads.call(lambda: anyio.from_thread.run(here), PARSE) == threading.get_ident()


async def test_only_so_many_threads_work_at_a_time_but_what_gives_back_waits_for_none() -> None:
    threads, works = Threads(limit=1), [Work(), Work(), Work()]
    calls = [asyncio.create_task(threads.call(work, Called(name="work"))) for work in works[:2]]
    await until(works[0].has_begun)
    works[2].go_on.set()
    assert await threads.call(works[2], Called(name="give back"), limited=False) == "done"
    assert not works[1].begun.is_set()
    for work in works:
        work.go_on.set()
    assert await asyncio.gather(*calls) == ["done", "done"]
    threads.close()


async def test_a_call_that_is_cancelled_ends_with_its_thread(threads: Threads) -> None:
    """However often it is cancelled; what the thread returns is handed in, and then the cancellation goes on."""
    work, late = Work(), list[str]()
    call = asyncio.create_task(threads.call(work, PARSE, late=late.append))
    await until(work.has_begun)
    for _ in range(3):
        call.cancel()
        done, _ = await asyncio.wait({call}, timeout=0.01)
        assert not done
    assert threads.work_for("run")
    work.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert late == ["done"]
    assert not threads.work_for("run")


async def test_a_second_call_of_a_key_begins_when_the_thread_of_the_first_has_ended(threads: Threads) -> None:
    threads.grace = timedelta(0)
    first, second = Work(), Work()
    given_up = asyncio.create_task(threads.call(first, PARSE))
    await until(first.has_begun)
    given_up.cancel()
    await asyncio.wait({given_up})
    threads.grace = timedelta(seconds=60)
    call = asyncio.create_task(threads.call(second, PARSE))
    await asyncio.wait({call}, timeout=0.05)
    assert not second.begun.is_set()
    second.go_on.set()
    first.go_on.set()
    assert await call == "done"


async def test_a_thread_that_outlives_the_grace_is_named_and_keeps_others_of_its_key_from_beginning(
    threads: Threads, caplog: pytest.LogCaptureFixture
) -> None:
    threads.grace = timedelta(milliseconds=10)
    work = Work()
    call = asyncio.create_task(threads.call(work, PARSE))
    await until(work.has_begun)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert "step 'parse' was given up, but its thread still runs" in caplog.text
    with pytest.raises(StillWorkingError, match=r"an earlier call of step 'parse' still runs .* 0:00:00.010000"):
        await threads.call(Work(), PARSE)
    assert await threads.call(lambda: "other", Called(name="other", key="run:1")) == "other"
    work.go_on.set()
    threads.grace = timedelta(seconds=60)
    assert await threads.call(lambda: "again", PARSE) == "again"


async def test_nothing_is_waited_for_any_longer_once_the_process_is_about_to_end(threads: Threads) -> None:
    work = Work()
    call = asyncio.create_task(threads.call(work, PARSE))
    await until(work.has_begun)
    call.cancel()
    await asyncio.sleep(0)
    threads.give_up()
    async with asyncio.timeout(60):
        await asyncio.wait({call})
    assert call.cancelled()
    work.go_on.set()


def test_a_process_exits_while_a_thread_works() -> None:
    program = """
import asyncio, threading, time
from fastapi_durable.transport.threads import Called, Threads
async def main():
    threads, begun = Threads(), threading.Event()
    def work():
        begun.set()
        time.sleep(600)
    call = asyncio.create_task(threads.call(work, Called(name="work")))
    while not begun.is_set():
        await asyncio.sleep(0.01)
    threads.give_up()
asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=100, check=False).returncode == 0
