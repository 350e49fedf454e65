"""Live streams end when uvicorn is asked to stop or to reload, so that it does not wait for them."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.support.stores import EVERY_STORE

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]

# Streams that last for an hour: what ends them sooner is not their age.
DESK = """
import os
from collections.abc import AsyncIterator
from fastapi import FastAPI
from fastapi_durable import DurableModule, DurableOptions, MemoryStateStore, app_scoped, workflow
from fastapi_durable.store.base import StateStore
from fastapi_durable.web.stream_routes import stream_routes
from tests.support.new_stores import store_at

stream_routes.__kwdefaults__["lifetime"] = 3600.0

@workflow
async def long(ctx): ...

@app_scoped
async def store() -> AsyncIterator[StateStore]:
    if "STORE_URL" in os.environ:
        async with store_at(os.environ["STORE_URL"]) as opened:
            yield opened
    else:
        yield MemoryStateStore()

durable = DurableModule.for_root_async(
    use_factory=lambda store: DurableOptions(store=store, role="api"), inject=[store], workflows=[long]
)
app = FastAPI(lifespan=durable.lifespan)
app.include_router(durable.router(allow_unauthenticated=True))
"""

Serve = Callable[..., Awaitable[Process]]


@pytest.fixture(params=EVERY_STORE)
async def serve(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Serve]:
    """Start uvicorn with the desk, in a folder of its own, on each store."""
    url = {}
    if request.param != "memory":
        url["STORE_URL"] = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    (tmp_path / "desk.py").write_text(DESK)
    processes: list[Process] = []

    async def start(*options: str) -> Process:
        command = [sys.executable, "-m", "uvicorn", "desk:app", "--port", "0", *options]
        environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{tmp_path}", "PYTHONUNBUFFERED": "1", **url}
        processes.append(
            await asyncio.create_subprocess_exec(
                *command, cwd=tmp_path, env=environment, stdout=PIPE, stderr=STDOUT, start_new_session=True
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        # The workers too: they outlive a server that is killed, and hold its output open.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


async def line_with(process: Process, text: str) -> str:
    assert process.stdout is not None
    while line := (await process.stdout.readline()).decode():
        if text in line:
            return line
    raise AssertionError(f"{text!r} was not printed")


async def client_of(process: Process, workers: int = 1) -> httpx.AsyncClient:
    """A client of a server, whose workers all listen."""
    assert process.stdout is not None
    address = None
    while address is None or workers > 0:
        line = (await process.stdout.readline()).decode()
        assert line, "the server has ended"
        if "Uvicorn running on" in line:
            address = line.split("running on ")[1].split()[0]
        workers -= "Application startup complete" in line
    return httpx.AsyncClient(base_url=address, timeout=60)


async def until_followed(lines: AsyncIterator[str]) -> None:
    """Read up to the first state."""
    async for line in lines:
        if line.startswith("data:"):
            return
    raise AssertionError("the stream ended at once")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_ends_live_streams(serve: Serve, number: signal.Signals, workers: int) -> None:
    async with asyncio.timeout(100):
        process = await serve(*(["--workers", "2"] if workers == 2 else []))
        async with await client_of(process, workers) as client:
            async with client.stream("GET", "/api/runs/stream") as response:
                lines = response.aiter_lines()
                await until_followed(lines)
                process.send_signal(number)
                assert [line async for line in lines if line] == []
        await line_with(process, "Application shutdown complete")
        await process.wait()


async def test_a_reader_who_does_not_read_holds_up_no_stop(serve: Serve) -> None:
    """What was written for such a one stays in the server's buffers, and uvicorn waits until they are empty."""
    async with asyncio.timeout(100):
        process = await serve()
        async with await client_of(process) as client:
            with socket.socket() as idle:
                idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                idle.setblocking(False)
                address = client.base_url
                await asyncio.get_running_loop().sock_connect(idle, (address.host, address.port))
                request = f"GET /api/runs/stream?limit=100 HTTP/1.1\r\nHost: {address.host}\r\n\r\n"
                await asyncio.get_running_loop().sock_sendall(idle, request.encode())
                # Each run makes a list of up to a megabyte, which the stream sends.
                for number in range(120):
                    tags = [f"{number} {each} {'x' * 190}" for each in range(50)]
                    answer = await client.post("/api/workflows/long/runs", json={"tags": tags})
                    assert answer.status_code == 201
                    await asyncio.sleep(0.05)
                process.send_signal(signal.SIGTERM)
                await line_with(process, "Application shutdown complete")
                await process.wait()


async def test_a_reload_ends_live_streams(serve: Serve, tmp_path: Path) -> None:
    async with asyncio.timeout(100):
        process = await serve("--reload")
        async with await client_of(process) as client:
            async with client.stream("GET", "/api/runs/stream") as response:
                lines = response.aiter_lines()
                await until_followed(lines)
                (tmp_path / "desk.py").write_text(f"{DESK}\n# changed\n")
                assert [line async for line in lines if line] == []
            await line_with(process, "Application startup complete")
            assert (await client.get("/api/runs")).status_code == 200
        process.terminate()
        await process.wait()
