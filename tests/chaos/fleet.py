"""Worker processes that are killed, paused and drained, and always replaced."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.chaos.databases import ChaosDatabase
from tests.support.migrations import REPOSITORY

LEASE_SECONDS: Final = 2.0
_WORKER: Final = ("fastapi_durable", "worker", "tests.chaos.workload:durable")
_START_SECONDS: Final = 60.0
_RESUME_SECONDS: Final = 60.0


class WorkerProcess:
    """One worker; `name` begins the leases that it takes."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self.popen = popen

    async def drives(self) -> None:
        """Return when it looks for work."""
        deadline = time.monotonic() + _START_SECONDS
        while b"the worker drives" not in self.log.read_bytes():
            if self.popen.poll() is not None or time.monotonic() > deadline:
                return  # it could not start, for example because the database was gone; it will be replaced
            await asyncio.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        if self.popen.poll() is None:
            self.popen.send_signal(number)


class Fleet:
    """A number of workers; `settings` are environment variables for each of them.

    Attributes:
        resume_seconds: For each kill, how long it took until the last run of the dead process was driven again.
        faults: What workers did that they should not do: ended by themselves, or not when asked to.
        done: How often each danger was run through.
    """

    def __init__(self, database: ChaosDatabase, folder: Path, size: int, **settings: str) -> None:
        self._database = database
        self._settings = settings
        self._folder = folder
        self._size = size
        self._count = 0
        self.workers: list[WorkerProcess] = []
        self.resume_seconds: list[float] = []
        self.runs_hit = 0
        self.faults: list[str] = []
        self.done: dict[str, int] = {}

    async def start(self) -> None:
        for _ in range(self._size):
            self.workers.append(self._new())
        await asyncio.gather(*(worker.drives() for worker in self.workers))

    def kill_all(self) -> None:
        for worker in self.workers:
            worker.popen.kill()
            worker.popen.wait()

    async def drain_all(self) -> None:
        await asyncio.gather(*(self._drain(worker) for worker in self.workers))
        self.workers.clear()

    async def suffer(self, danger: str, moments: random.Random) -> None:
        """One danger, and its aftermath."""
        self.done[danger] = self.done.get(danger, 0) + 1
        if danger in self._database.dangers:
            await self._database.harm(danger, moments)
        else:
            index = moments.randrange(len(self.workers))
            await getattr(self, danger)(index)
        await self.replace_the_dead()

    async def kill(self, index: int) -> None:
        """SIGKILL; measures how soon others take over."""
        worker, self.workers[index] = self.workers[index], self._new()
        worker.popen.kill()
        worker.popen.wait()
        died = time.monotonic()
        held = await asyncio.to_thread(self._held_by, worker.name)
        self.runs_hit += len(held)
        while held and time.monotonic() < died + _RESUME_SECONDS:
            await asyncio.sleep(0.05)
            held &= await asyncio.to_thread(self._held_by, worker.name)
        if held:
            self.faults.append(f"runs of {worker.name} were not resumed {_RESUME_SECONDS:g} s after its death: {held}")
        self.resume_seconds.append(time.monotonic() - died)
        await self.workers[index].drives()

    async def freeze(self, index: int) -> None:
        """SIGSTOP for three leases, so that others take its runs; then it goes on as if nothing had happened."""
        worker = self.workers[index]
        worker.send(signal.SIGSTOP)
        await asyncio.sleep(3 * LEASE_SECONDS)
        worker.send(signal.SIGCONT)

    async def drain(self, index: int) -> None:
        """SIGTERM, as a deploy does it."""
        worker, self.workers[index] = self.workers[index], self._new()
        await asyncio.gather(self._drain(worker), self.workers[index].drives())

    async def replace_one_after_another(self) -> None:
        """A rolling restart with nobody to spare: each is asked to stop, and its successor comes when it has ended."""
        for index, worker in enumerate(self.workers):
            await self._drain(worker)
            self.workers[index] = self._new()
            await self.workers[index].drives()

    async def replace_the_dead(self) -> None:
        for index, worker in enumerate(self.workers):
            if (code := worker.popen.poll()) is not None:
                if "the worker drives" in worker.log.read_text(errors="replace"):
                    self.faults.append(f"{worker.name} ended by itself with {code}: {worker.log}")
                self.workers[index] = self._new()

    async def _drain(self, worker: WorkerProcess) -> None:
        worker.send(signal.SIGTERM)
        try:
            code = await asyncio.to_thread(worker.popen.wait, 20)
        except subprocess.TimeoutExpired:
            self.faults.append(f"{worker.name} had not ended 20 s after SIGTERM: {worker.log}")
            worker.popen.kill()
            worker.popen.wait()
            return
        if code != 0 and "the worker drives" in worker.log.read_text(errors="replace"):
            self.faults.append(f"{worker.name} ended with {code} after SIGTERM: {worker.log}")

    def _held_by(self, name: str) -> set[str]:
        query = f"SELECT id FROM durable_workflow_runs WHERE status = 'running' AND locked_by LIKE '{name}:%'"
        return {row[0] for row in self._database.rows(query)}

    def _new(self) -> WorkerProcess:
        self._count += 1
        name = f"worker-{self._count}"
        log = self._folder / f"{name}.log"
        settings = {
            "DATABASE_URL": self._database.url,
            "DURABLE_INSTANCE_ID": name,
            "DURABLE_LEASE": f"{LEASE_SECONDS:g}s",
            "DURABLE_POLL_INTERVAL": "250ms",
            "DURABLE_SHUTDOWN_TIMEOUT": "5s",
            "DURABLE_STARTUP_TIMEOUT": "30s",
            **self._settings,
        }
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [sys.executable, "-m", *_WORKER],
                cwd=REPOSITORY,
                env={**os.environ, **settings},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return WorkerProcess(name, popen, log)
