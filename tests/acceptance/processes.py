"""Real processes of the example: each one ends with the test that started it, whatever the test comes to."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from tests.support.migrations import REPOSITORY

PATIENCE: Final = 30.0
WEB: Final = ("uvicorn", "example_app.main:app", "--host", "127.0.0.1")
WORKER: Final = ("fastapi_durable", "worker", "example_app.durable:durable")

Condition = Callable[[], Awaitable[object]]


class Process:
    """One process of the example.

    Attributes:
        name: Its `DURABLE_INSTANCE_ID`, with which the leases that it takes begin.
        port: Where it listens, if it serves HTTP.
    """

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path, port: int | None) -> None:
        self.name = name
        self.port = port
        self.pid = popen.pid
        self._popen = popen
        self._log = log

    @property
    def output(self) -> str:
        """Everything that it has written so far."""
        return self._log.read_text(errors="replace")

    @property
    def is_alive(self) -> bool:
        return self._popen.poll() is None

    def kill(self) -> None:
        """Kill it as the machine would: it gets no chance to do anything."""
        self._popen.kill()
        self._popen.wait()

    def terminate(self) -> None:
        """Ask it to stop."""
        self._popen.send_signal(signal.SIGTERM)

    async def exit_code(self, *, seconds: float = PATIENCE) -> int:
        """Wait for its end; one that does not come in time fails the test."""
        try:
            return await asyncio.to_thread(self._popen.wait, seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"process {self.pid} has not ended after {seconds} s:\n{self.output}") from None

    async def ready(self, *, seconds: float = PATIENCE) -> None:
        """Wait until it serves, or drives if it is a worker."""

        async def is_ready() -> bool:
            assert self.is_alive, f"process {self.pid} ended with {self._popen.returncode}:\n{self.output}"
            return "the worker drives" in self.output if self.port is None else await self.health("ready") == 200

        await until(is_ready, seconds=seconds)

    async def health(self, kind: str) -> int | None:
        """What a load balancer would see: the HTTP status, or None if there is no answer."""
        try:
            async with self.client() as http:
                return (await http.get(f"/health/{kind}")).status_code
        except httpx.TransportError:
            return None

    def client(self) -> httpx.AsyncClient:
        """An HTTP client for its routes."""
        # Reading the machine's certificates would take longer than the requests do.
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=10, verify=False)  # noqa: S501


class Processes:
    """Starts processes of the example on one database.

    Args:
        folder: For their logs.
        settings: Environment variables for each of them.
    """

    def __init__(self, database_url: str, folder: Path, settings: dict[str, str]) -> None:
        self.database_url = database_url
        self._folder = folder
        self._settings = settings
        self._started: list[Process] = []

    def web(self, *, port: int | None = None, **settings: str) -> Process:
        """The web application, by default with its worker inside."""
        port = free_port() if port is None else port
        return self._start([*WEB, "--port", str(port)], port, settings)

    def worker(self, **settings: str) -> Process:
        """A worker without a web server."""
        return self._start(list(WORKER), None, settings)

    def kill_all(self) -> None:
        """End every process that was started and is still alive."""
        for process in self._started:
            process.kill()

    def _start(self, command: list[str], port: int | None, settings: dict[str, str]) -> Process:
        name = f"process-{len(self._started) + 1}"
        log = self._folder / f"{name}.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DURABLE_", "EXAMPLE_"))}
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=REPOSITORY,
                env={
                    **inherited,
                    "DATABASE_URL": self.database_url,
                    "DURABLE_INSTANCE_ID": name,
                    **self._settings,
                    **settings,
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        process = Process(name, popen, log, port)
        self._started.append(process)
        return process


@contextmanager
def processes(database_url: str, folder: Path, **settings: str) -> Iterator[Processes]:
    """Processes that are quick to notice each other's death, and that all end with the block."""
    quick = {"DURABLE_LEASE": "1s", "DURABLE_POLL_INTERVAL": "100ms", "DURABLE_SHUTDOWN_TIMEOUT": "5s"}
    started = Processes(database_url, folder, {**quick, **settings})
    try:
        yield started
    finally:
        started.kill_all()


@asynccontextmanager
async def database(url: str) -> AsyncIterator[Any]:
    """A Prisma client of the test's own, to look at what the processes left."""
    if url.startswith("file:"):
        from example_app.clients.sqlite import Prisma
    else:
        from example_app.clients.postgresql import Prisma  # type: ignore[assignment] # of the same models
    async with Prisma(datasource={"url": url}) as client:
        yield client


async def until(condition: Condition, *, seconds: float = PATIENCE, pause: float = 0.02) -> None:
    """Return when `condition` holds; a test that waits in vain fails."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        await asyncio.sleep(pause)


def free_port() -> int:
    """A port of the loopback interface on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
