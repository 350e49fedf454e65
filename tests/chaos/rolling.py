"""A rolling restart under load: how long runs stand still while the workers are replaced one after another.

Leases last for ten minutes, so a run that a stopping worker did not hand back would stand still for as long. Each run
leaves an entry in the ledger with every round; what the time between two entries is above the pause between two
rounds, was spent waiting for somebody to go on with the run.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

from tests.chaos.databases import ChaosDatabase, chaos_database
from tests.chaos.fleet import Fleet

_END_SECONDS: Final = 60.0
_LEASE: Final = "10 min"


@dataclass
class Roll:
    """What came of it; delays are in seconds.

    Attributes:
        steady: Delays while nothing happened.
        rolling: Delays of rounds that a restart may have touched.
        wrong: Runs that did not come to their end as they should, and leases that were left.
    """

    runs: int = 0
    steady: list[float] = field(default_factory=list)
    rolling: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def worst(self) -> float:
        """By how much the restart delayed a run."""
        return max(0.0, max(self.rolling) - statistics.median(self.steady))


async def roll(database: ChaosDatabase, folder: Path, *, workers: int, customers: int, steady_seconds: float) -> Roll:
    """Replace every worker once, while each customer has a run under way."""
    from tests.chaos.workload import ROUNDS, Job, do_rounds, durable

    fleet = Fleet(database, folder, workers, DURABLE_LEASE=_LEASE, DURABLE_POLL_INTERVAL="1s", CHAOS_QUIET="1")
    started: list[str] = []
    closing = asyncio.Event()
    result = Roll()
    try:
        await fleet.start()
        async with durable.running(role="api") as runtime:

            async def customer() -> None:
                while not closing.is_set():
                    job = f"round-{len(started)}"
                    started.append(job)
                    handle = await runtime.service.start(do_rounds, Job(id=job), run_id=job)
                    if await handle.result(f"{_END_SECONDS}s") != ROUNDS:
                        result.wrong.append(f"{job} did not go all its rounds")

            shopping = [asyncio.create_task(customer()) for _ in range(customers)]
            await asyncio.sleep(steady_seconds)
            began = time.time()
            await fleet.replace_one_after_another()
            ended = time.time()
            closing.set()
            for each in await asyncio.gather(*shopping, return_exceptions=True):
                if isinstance(each, BaseException):
                    result.wrong.append(repr(each))
        await fleet.drain_all()
    finally:
        fleet.kill_all()
    result.runs = len(started)
    result.wrong += fleet.faults
    _measure(database, result, began, ended)
    return result


def _measure(database: ChaosDatabase, result: Roll, began: float, ended: float) -> None:
    from tests.chaos.workload import ROUND_SECONDS, ROUNDS

    rounds: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
    for job, entry, at in database.rows("SELECT job, entry, at FROM chaos_ledger ORDER BY at"):
        rounds[job].append((float(at), entry))
    for job, entries in rounds.items():
        if [entry for _, entry in entries] != [f"round {number}" for number in range(ROUNDS)]:
            result.wrong.append(f"{job} left {entries}")
        for (before, _), (after, _) in pairwise(entries):
            touched = after >= began and before <= ended
            (result.rolling if touched else result.steady).append(after - before - ROUND_SECONDS)
    for (run_id,) in database.rows("SELECT id FROM durable_workflow_runs WHERE locked_by IS NOT NULL"):
        result.wrong.append(f"a lease on {run_id} is left")


def summary(name: str, delays: list[float]) -> str:
    """A distribution in a line."""
    cuts = statistics.quantiles(delays, n=100)
    return (
        f"  {name:14} {len(delays):5} rounds: delay median {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms, "
        f"worst {max(delays) * 1000:.0f} ms"
    )


def main() -> int:
    """Roll once; exit code 1 if a run was lost, or delayed by more than the limit."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.rolling", description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--customers", type=int, default=20)
    parser.add_argument("--steady", type=float, default=4.0, help="seconds of load before the restart")
    parser.add_argument("--limit", type=float, default=1.0, help="seconds by which a run may be delayed")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="durable-rolling-"))
    with chaos_database(options.database, folder) as database:
        os.environ["DATABASE_URL"] = database.url
        result = asyncio.run(
            roll(
                database,
                folder,
                workers=options.workers,
                customers=options.customers,
                steady_seconds=options.steady,
            )
        )
    print(f"{options.database}: {options.workers} workers replaced one after another, {result.runs} runs")
    print(summary("steady", result.steady))
    print(summary("while replaced", result.rolling))
    for line in result.wrong[:10]:
        print(f"  wrong: {line}")
    late = result.worst > options.limit
    print(f"  lost {len(result.wrong)}; no run was delayed by more than {result.worst:.2f} s{' (TOO LONG)' * late}")
    return 1 if result.wrong or late else 0


if __name__ == "__main__":
    sys.exit(main())
