"""`python -m fastapi_durable worker | check`, as processes of their own."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from fastapi_durable.standalone import TargetError, load_module

pytestmark = pytest.mark.slow  # each starts processes

REPOSITORY = Path(__file__).resolve().parents[2]

DESK = """
import asyncio, pathlib
from datetime import UTC, datetime
from fastapi import FastAPI
from fastapi_durable import *
from fastapi_durable.errors import StoreUnavailableError

store = MemoryStateStore()
now = datetime.now(UTC).replace(microsecond=0)
run = Run(id="run", workflow="flow", workflow_version="1", created_at=now, updated_at=now)
asyncio.run(store.create_run(run))

@step
async def wait_for_file() -> None:
    print("in the step", flush=True)
    while not pathlib.Path("go").exists():
        await asyncio.sleep(0.005)
    print("step done", flush=True)

@workflow
async def flow(ctx: WorkflowContext) -> None:
    await ctx.step(wait_for_file)

durable = DurableModule.for_root(DurableOptions(store=store, shutdown_timeout="20s"), workflows=[flow])
app = FastAPI(lifespan=durable.lifespan)

async def unreachable() -> DurableOptions:
    raise StoreUnavailableError("postgresql://app:secret@db.test:5432/orders refuses connections")

broken = DurableModule.for_root_async(use_factory=unreachable)

@app_scoped
async def bug() -> str:
    raise ZeroDivisionError("postgresql://app:secret@db.test:5432/orders")

buggy = DurableModule.for_root_async(use_factory=lambda bug: DurableOptions(store=store), inject=[bug])

async def never() -> DurableOptions:
    print("starting", flush=True)
    await asyncio.Event().wait()

slow = DurableModule.for_root_async(use_factory=never)
"""

THREADS = """
import asyncio, threading
from typing import Annotated
from fastapi import Depends
from fastapi_durable import *

def sit() -> None:
    print("in the thread", flush=True)
    threading.Event().wait()

@step(name="sit")
def sitting_step() -> None:
    sit()

@step
async def dependent_step(*, _: Annotated[None, Depends(sit)]) -> None: ...

@workflow
async def flow(ctx: WorkflowContext) -> None:
    await asyncio.gather(ctx.step(sitting_step), ctx.step(dependent_step))

schedules = [Schedule(key="now", workflow=flow, every="100ms")]
options = DurableOptions(store=MemoryStateStore(), shutdown_timeout="500ms", schedules=schedules)
durable = DurableModule.for_root(options, workflows=[flow])
"""

UVLOOP = """
import asyncio

def new_event_loop() -> asyncio.AbstractEventLoop:
    print("a quick loop", flush=True)
    return asyncio.new_event_loop()
"""

DESKS = {
    "desk": DESK,
    "threads": THREADS,
    "broken_desk": "import no_such_package",
    "raising_desk": "raise ValueError('not today')",
}


def write_desks(folder: Path) -> None:
    for name, source in DESKS.items():
        (folder / f"{name}.py").write_text(source)


Command = Callable[..., Coroutine[None, None, Process]]


@pytest.fixture
async def command(tmp_path: Path) -> AsyncIterator[Command]:
    """Starts a command in a directory that holds `desk.py`; output and errors come together."""
    write_desks(tmp_path)
    processes: list[Process] = []

    async def start(*arguments: str) -> Process:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "fastapi_durable",
            *arguments,
            cwd=tmp_path,
            env=environment,
            stdout=PIPE,
            stderr=STDOUT,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def limit() -> AsyncIterator[None]:
    async with asyncio.timeout(60):
        yield


async def line_with(process: Process, text: str) -> str:
    """Read the output up to the first line that holds a text."""
    assert process.stdout is not None
    seen = ""
    while line := (await process.stdout.readline()).decode():
        seen += line
        if text in line:
            return line
    raise AssertionError(f"{text!r} was not printed, but:\n{seen}")


async def ending(process: Process) -> tuple[int, str]:
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_lets_the_step_under_way_end(
    command: Command, tmp_path: Path, number: signal.Signals
) -> None:
    async with limit():
        process = await command("worker", "desk:durable")
        await line_with(process, "in the step")
        process.send_signal(number)
        await line_with(process, "stopping: the worker waits until its runs reach a checkpoint")
        (tmp_path / "go").touch()
        code, output = await ending(process)
    assert (code, "step done" in output) == (0, True)


@pytest.mark.parametrize(
    ("uvloop", "told"), [(UVLOOP, ["a quick loop"]), ("raise ImportError", [])], ids=["with", "without"]
)
async def test_a_worker_runs_on_uvloop_where_it_is_installed(
    command: Command, tmp_path: Path, uvloop: str, told: list[str]
) -> None:
    (tmp_path / "uvloop.py").write_text(uvloop)
    (tmp_path / "go").touch()
    async with limit():
        process = await command("worker", "desk:durable")
        for text in (*told, "in the step"):
            await line_with(process, text)
        process.send_signal(signal.SIGTERM)
        code, _ = await ending(process)
    assert code == 0


async def test_the_second_signal_ends_the_process_at_once(command: Command) -> None:
    async with limit():
        process = await command("worker", "desk:durable")
        await line_with(process, "in the step")
        process.send_signal(signal.SIGTERM)
        await line_with(process, "stopping")
        process.send_signal(signal.SIGTERM)
        code, output = await ending(process)
    assert (code, output) == (128 + signal.SIGTERM, "")


async def test_no_thread_of_a_step_or_of_its_dependency_keeps_a_process_from_ending(command: Command) -> None:
    """Neither ever comes to its end; the log says of the step that it was left."""
    async with limit():
        process = await command("worker", "threads:durable")
        for _ in range(2):
            await line_with(process, "in the thread")
        process.send_signal(signal.SIGTERM)
        code, output = await ending(process)
    assert code == 0
    assert "step 'sit' of run " in output
    assert "dependency 'sit' was given up, but its thread still runs" in output


async def test_a_signal_during_the_start_ends_the_process_in_order(command: Command) -> None:
    async with limit():
        process = await command("worker", "desk:slow")
        await line_with(process, "starting")
        process.send_signal(signal.SIGTERM)
        code, output = await ending(process)
    assert code == 0
    assert "stopped before the start was complete" in output


async def test_a_worker_answers_probes_on_a_port_of_its_own(command: Command) -> None:
    async with limit():
        process = await command("worker", "desk:durable", "--health-port", "0")
        port = int((await line_with(process, "probes are answered on")).rsplit(":", 1)[1])
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            for path in ("/health/live", "/health/ready"):
                response = await client.get(path)
                assert (response.status_code, response.json()["role"]) == (200, "worker")
            assert (await client.get("/")).status_code == 404
            assert (await client.post("/health/live")).status_code == 405
        process.kill()
        await ending(process)


async def test_check_says_what_is_there(command: Command) -> None:
    async with limit():
        code, output = await ending(await command("check", "desk:durable"))
    assert code == 0
    assert output.splitlines() == [
        "runs are kept in memory and end with the process. Give DurableOptions a PrismaStateStore",
        "store: MemoryStateStore answers and has everything it needs",
        "workflows: flow 1",
    ]


@pytest.mark.parametrize("subcommand", ["worker", "check"])
async def test_a_module_that_cannot_start_is_explained_without_traceback_and_password(
    command: Command, subcommand: str
) -> None:
    async with limit():
        code, output = await ending(await command(subcommand, "desk:broken"))
    assert code == 1
    assert output == "StoreUnavailableError: postgresql://app:***@db.test:5432/orders refuses connections\n"


async def test_an_error_of_somebody_else_s_comes_with_its_place_and_without_password(
    command: Command, tmp_path: Path
) -> None:
    async with limit():
        code, output = await ending(await command("check", "desk:buggy"))
    assert code == 1
    assert output.splitlines()[:2] == [
        "ZeroDivisionError: postgresql://app:***@db.test:5432/orders",
        "  while the app-scoped dependency 'bug' was entered",
    ]
    assert f"  {tmp_path / 'desk.py'}:" in output
    assert "fastapi_durable" not in output


async def test_the_whole_traceback_is_there_for_the_asking(command: Command) -> None:
    async with limit():
        code, output = await ending(await command("check", "desk:buggy", "--traceback"))
    assert code == 1
    assert "Traceback (most recent call last)" in output
    assert "secret" not in output


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("desk", "Write package.module:attribute"),
        ("no_such_desk:durable", "there is no module 'no_such_desk'"),
        ("broken_desk:durable", "broken_desk cannot be imported: it imports 'no_such_package', which does not exist"),
        ("raising_desk:durable", "raising_desk cannot be imported: ValueError: not today ("),
        ("desk:nothing", "desk has no 'nothing'. It has: desk:broken, desk:buggy, desk:durable, desk:slow"),
        ("desk:app", "desk:app is of type FastAPI, not a DurableModule; that is the web application"),
    ],
)
def test_a_target_that_leads_nowhere_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, said: str
) -> None:
    write_desks(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in DESKS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    try:
        with pytest.raises(TargetError) as caught:
            load_module(target)
    finally:
        for name in DESKS:
            sys.modules.pop(name, None)
    assert said in str(caught.value)


async def test_a_wrong_target_is_wrong_usage(command: Command) -> None:
    async with limit():
        code, output = await ending(await command("check", "no_such_desk:durable"))
    assert code == 2
    assert output.startswith("there is no module 'no_such_desk', neither in the current directory")
    assert "Traceback" not in output
