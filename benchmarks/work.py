"""The work that every system does, and how it is measured. Standard library only: it runs in every environment.

A system's module calls `main`, which reads what to do from the command line and prints one line of JSON for each case.
"""

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from benchmarks.footprint import footprint


class System(Protocol):
    """A system with a worker that runs in this process. Methods that it lacks are cases that it is not measured in."""

    async def one_step(self, value: int) -> int:
        """Start a workflow of one step and wait for its result, `value + 1`."""
        ...

    async def steps(self, number: int) -> int:
        """Start a workflow of so many steps in sequence and wait for its result, their number."""
        ...


Case = Callable[[Any, int], Awaitable[dict[str, float]]]
"""Measures a system; the number says how much is done, in operations or, of callers, in seconds."""

_WARMING_UP = 4
"""Callers warm up for this part of the time."""


class Meter:
    """Wall time, CPU of this process and of the database server, and statements, from its beginning to `read`.

    Args:
        statements: How many statements were sent so far, for a system that can count them.
    """

    def __init__(self, statements: Callable[[], int] | None = None) -> None:
        self._statements = statements or (lambda: 0)
        self._before = self._statements()
        self._server = server_cpu()
        self._cpu = time.process_time()
        self._wall = time.perf_counter()

    def read(self, operations: int) -> dict[str, float]:
        seconds = time.perf_counter() - self._wall
        cpu = time.process_time() - self._cpu
        server = server_cpu() - self._server
        statements = self._statements() - self._before
        return {
            "per_second": operations / seconds,
            "cpu_ms": cpu / operations * 1e3,
            "server_cpu_ms": server / operations * 1e3,
            "statements": statements / operations,
        }


def one_step(callers: int) -> Case:
    return _together(callers, _one_step)


def steps(callers: int, length: int) -> Case:
    """Workflows of so many steps; a step is the operation that is counted."""

    async def run(system: Any, _number: int) -> None:
        assert await system.steps(length) == length

    return _together(callers, run, operations=length)


async def _one_step(system: Any, number: int) -> None:
    assert await system.one_step(number) == number + 1


def _together(callers: int, call: Callable[[Any, int], Awaitable[None]], *, operations: int = 1) -> Case:
    """Callers who make one call after the other for so many seconds, after a part of that for warming up.

    Time and not a number of calls, because the systems differ by a factor of hundreds: what is enough for the slowest
    is over for the fastest before it has begun.
    """

    async def case(system: Any, seconds: int) -> dict[str, float]:
        latencies: list[float] = []

        async def caller(end: float) -> None:
            number, now = 0, time.perf_counter()
            while not number or now < end:
                await call(system, number)
                number, begin, now = number + 1, now, time.perf_counter()
                latencies.append(now - begin)

        async def all_callers(seconds: float) -> None:
            end = time.perf_counter() + seconds
            await asyncio.gather(*(caller(end) for _ in range(callers)))

        await all_callers(seconds / _WARMING_UP)
        latencies.clear()
        meter = Meter(getattr(system, "statements", None))
        await all_callers(seconds)
        read = meter.read(len(latencies) * operations)
        return {**read, "p50_ms": statistics.median(latencies) * 1e3}

    return case


def own(name: str) -> Case:
    """A case that the system measures itself."""

    async def case(system: Any, size: int) -> dict[str, float]:
        measured: dict[str, float] = await getattr(system, name)(size)
        return measured

    return case


async def _footprint(system: Any, size: int) -> dict[str, float]:
    return await footprint(system, sys.argv[1], size)


CASES: dict[str, Case] = {
    "one step, 1 caller": one_step(1),
    "one step, 16 callers": one_step(16),
    "one step, 64 callers": one_step(64),
    "100 steps": steps(1, 100),
    "16 x 100 steps": steps(16, 100),
    "signal to receipt": own("signals"),
    "replay": own("replay"),
    "replay of a long run": own("replay"),
    "pick-up by another process": own("pick_up"),
    "cold start": own("cold_start"),
    "long run": own("long_run"),
    "beside finished runs": own("finished_runs"),
    "enqueue and drain": own("drain"),
    "resume of killed runs": own("resume"),
    "idle": own("idle"),
    "waiting runs": own("waiting"),
    "footprint": _footprint,
    "commits, 1 caller": own("commits_alone"),
    "commits, 16 callers": own("commits_together"),
}


def main(open_system: Callable[[str], AbstractAsyncContextManager[Any]]) -> None:
    """Do the cases of the command line: a database URL, a JSON object of case names and sizes, and how many seconds a
    case may take. One that takes longer, or fails, does not keep the others.
    """
    url, wanted, limit = sys.argv[1], json.loads(sys.argv[2]), float(sys.argv[3])
    asyncio.run(_measure(open_system, url, wanted, limit))


async def _measure(
    open_system: Callable[[str], AbstractAsyncContextManager[Any]], url: str, wanted: dict[str, int], limit: float
) -> None:
    async with open_system(url) as system:
        for name, size in wanted.items():
            try:
                async with asyncio.timeout(limit):
                    measured = await CASES[name](system, size)
            except TimeoutError:
                print(json.dumps({"case": name, "missing": f"it took longer than {limit:g} s"}), flush=True)
                continue
            except Exception as error:
                print(json.dumps({"case": name, "missing": f"{type(error).__name__}: {error}"}), flush=True)
                continue
            print(json.dumps({"case": name, **measured}), flush=True)


def server_cpu() -> float:
    """Seconds of CPU that the database server has used, its ended connections included; 0 where nobody can say."""
    parent = os.environ.get("BENCHMARK_SERVER")
    if not parent:
        return 0.0
    ticks = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if entry.name == parent:
            ticks += sum(int(field) for field in fields[11:15])
        elif fields[1] == parent:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
