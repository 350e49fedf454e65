"""`make soak`: a minute of steady load in one process, in which nothing may grow that should not.

After a warm-up, memory, tasks, connections and tables are looked at every few seconds. Exit code 1 if one of them is
larger in the last third than its limit above the first third allows.
"""

import argparse
import asyncio
import itertools
import os
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chaos.databases import ChaosDatabase, chaos_database

_TABLES: Final = (
    "durable_workflow_runs",
    "durable_step_checkpoints",
    "durable_signal_waiters",
    "durable_buffered_signals",
    "durable_workers",
    "durable_queues",
    "durable_stream_items",
)
_KEPT: Final = 300
_SAMPLE_SECONDS: Final = 2.5


@dataclass(frozen=True)
class Sample:
    """One look. `files` counts open files and sockets, so connections too; `rows` are those of all durable tables."""

    memory_mb: float
    tasks: int
    files: int
    rows: int
    runs_ended: int


# Entities keep up to two hundred rows each until they begin their history anew.
# What the mean of the last third may be above that of the first: a share, and so much besides.
_LIMITS: Final = {"memory_mb": (0.10, 5.0), "tasks": (0.5, 20.0), "files": (0.2, 4.0), "rows": (0.3, 800.0)}


async def load(database: ChaosDatabase, options: argparse.Namespace) -> list[Sample]:
    """Run the load and take the samples."""
    from fastapi_durable import DurableModule, DurableOptions, PrismaStateStore, Queue, Retention, keep
    from tests.chaos.workload import (
        PARCELS,
        PIECES,
        TICK,
        Tally,
        do_job,
        do_parcel,
        do_piece,
        do_tick,
        get_prisma,
        wakeups,
    )

    retention = Retention(policies=(keep("completed", max_count=_KEPT),), sweep_interval="2s")
    durable = DurableModule.for_root_async(
        inject=[get_prisma],
        use_factory=lambda prisma: DurableOptions(
            store=PrismaStateStore(prisma),
            wakeups=wakeups(),
            retention=retention,
            schedules=[TICK],
            # Of these names, but with room for the whole load.
            queues=[Queue(PIECES.name, concurrency=32), Queue(PARCELS.name, rate_limit=50, rate_period="500ms")],
            concurrency=64,
        ),
        workflows=[do_job, do_piece, do_parcel, do_tick],
        entities=[Tally],
    )
    samples: list[Sample] = []
    async with durable.running(role="all") as runtime:
        ended = itertools.count()
        jobs: set[asyncio.Task[None]] = set()
        total = 0

        async def one(job: str) -> None:
            nonlocal total
            from tests.chaos.workload import SIGNALS, Job, note_of, payload_of, token

            handle = await runtime.service.start(do_job, Job(id=job), run_id=job)
            for number in range(SIGNALS):
                await runtime.service.signal(token(job, number), payload_of(job, number))
            await runtime.service.update(job, "note", note_of(job))
            await handle.result("60s")
            total = next(ended) + 1

        began = time.monotonic()
        next_sample = began + options.warm_up
        for number in itertools.count():
            now = time.monotonic()
            if now > began + options.warm_up + options.seconds:
                break
            if now >= next_sample:
                samples.append(await asyncio.to_thread(_look, database, len(asyncio.all_tasks()), total))
                next_sample += _SAMPLE_SECONDS
            if len(jobs) < options.in_flight:  # a machine that is slower than the rate gets what it can do
                task = asyncio.create_task(one(f"soak-{number}"))
                jobs.add(task)
                task.add_done_callback(jobs.discard)
            await asyncio.sleep(1 / options.rate)
        await asyncio.gather(*jobs)
    return samples


def _look(database: ChaosDatabase, tasks: int, ended: int) -> Sample:
    status = Path("/proc/self/status").read_text()
    kilobytes = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    files = 0
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            entry.readlink()
            files += 1
    rows = sum(int(database.rows(f"SELECT count(*) FROM {table}")[0][0]) for table in _TABLES)
    return Sample(kilobytes / 1024, tasks, files, rows, ended)


def judge(samples: list[Sample]) -> bool:
    """Print what each figure came to, and return whether all are flat."""
    third = len(samples) // 3
    fine = True
    for name, (share, besides) in _LIMITS.items():
        values = [float(getattr(sample, name)) for sample in samples]
        first, last = sum(values[:third]) / third, sum(values[-third:]) / third
        flat = last <= first * (1 + share) + besides
        fine &= flat
        print(f"  {name:10} first third {first:8.1f}   last third {last:8.1f}   most {max(values):8.1f}   "
              f"{'flat' if flat else 'GROWS'}")  # fmt: skip
    return fine


def main() -> int:
    """Run the load once."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--warm-up", type=float, default=10)
    parser.add_argument("--rate", type=float, default=10, help="jobs a second; each has six runs")
    parser.add_argument("--in-flight", type=int, default=16, help="jobs at the same time, at most")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="durable-soak-"))
    with chaos_database(options.database, folder) as database:
        os.environ["DATABASE_URL"] = database.url
        samples = asyncio.run(load(database, options))
    print(f"{options.database}: {options.seconds:g} s, {samples[-1].runs_ended} jobs ended, {len(samples)} samples")
    return 0 if judge(samples) else 1


if __name__ == "__main__":
    sys.exit(main())
