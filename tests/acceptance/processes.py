"""Real processes of the example: each one ends with the test that started it, whatever the test comes to."""

import asyncio
import multiprocessing
import os
import runpy
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

PATIENCE: Final = 60.0
WEB: Final = ("uvicorn", "example_app.main:app", "--host", "127.0.0.1")
WORKER: Final = ("fastapi_durable", "worker", "example_app.durable:durable")

# What a process imports before it does anything, which takes more than a second of computing; see `_Forked`.
_IMPORTS: Final = (
    "pytest",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.main",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
    "fastapi_durable.standalone",
    "example_app.clients.postgresql",
    "example_app.clients.sqlite",
    "tests.acceptance.processes",
)

Condition = Callable[[], Awaitable[object]]


class Process:
    """One process of the example.

    Attributes:
        name: Its `DURABLE_INSTANCE_ID`, with which the leases that it takes begin.
        port: Where it listens, if it serves HTTP.
    """

    def __init__(self, name: str, popen: "subprocess.Popen[bytes] | _Forked", log: Path, port: int | None) -> None:
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

    def pause(self) -> None:
        """Let it stand still, as a machine that is suspended does; it does when this returns."""
        self._popen.send_signal(signal.SIGSTOP)
        # A signal takes a moment: meanwhile a thread of the process could still take a lock.
        status, deadline = Path(f"/proc/{self._popen.pid}/stat"), time.monotonic() + PATIENCE
        while status.read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < deadline, "the process does not stop"
            time.sleep(0.001)

    def go_on(self) -> None:
        """End its pause; it does not notice that there was one."""
        self._popen.send_signal(signal.SIGCONT)

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
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE, verify=False)  # noqa: S501


class _Forked:
    """A process that was forked from one which had imported the example already, with the methods of a `Popen`.

    It has its own connections and dies alone, as one that was started by its command does, but is up in a third of
    the time. A kill is then more likely to meet it at work than at its imports.
    """

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(_IMPORTS))
        self._process = context.Process(target=_run, args=(command, environment, str(log)), daemon=True)
        self._process.start()
        self.pid = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("", timeout or 0)
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


def _run(command: list[str], environment: dict[str, str], log: str) -> None:
    """Become `python -m command`."""
    os.environ.clear()
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = command
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)


class Processes:
    """Starts processes of the example on one database.

    Args:
        folder: For their logs.
        settings: Environment variables for each of them.
        forked: Start them quickly, by forking; see `_Forked`.
    """

    def __init__(self, database_url: str, folder: Path, settings: dict[str, str], *, forked: bool) -> None:
        self.database_url = database_url
        self._forked = forked
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
        log.touch()
        environment = {
            **{each: value for each, value in os.environ.items() if not each.startswith(("DURABLE_", "EXAMPLE_"))},
            "DATABASE_URL": self.database_url,
            "DURABLE_INSTANCE_ID": name,
            **self._settings,
            **settings,
        }
        popen = _Forked(command, environment, log) if self._forked else _executed(command, environment, log)
        process = Process(name, popen, log, port)
        self._started.append(process)
        return process


def _executed(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


@contextmanager
def processes(database_url: str, folder: Path, *, forked: bool = False, **settings: str) -> Iterator[Processes]:
    """Processes that are quick to notice each other's death, and that all end with the block."""
    quick = {"DURABLE_LEASE": "1s", "DURABLE_POLL_INTERVAL": "100ms", "DURABLE_SHUTDOWN_TIMEOUT": "5s"}
    started = Processes(database_url, folder, {**quick, **settings}, forked=forked)
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
