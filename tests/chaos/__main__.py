"""`make chaos`, or `python -m tests.chaos --database postgresql --seconds 30`: exit code 0 if nothing went wrong."""

import argparse
import asyncio
import logging
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from fastapi_durable import WorkflowService
from tests.chaos.databases import ChaosDatabase, chaos_database

_DANGERS = ("kill", "kill", "kill", "freeze", "drain")
_END_SECONDS = 60.0


async def endure(database: ChaosDatabase, folder: Path, options: argparse.Namespace) -> bool:
    """Chaos for some seconds, then peace until every run has ended, then the audit."""
    from tests.chaos.audit import audit, unfinished
    from tests.chaos.customers import Customers
    from tests.chaos.fleet import Fleet
    from tests.chaos.workload import TICK, durable

    moments = random.Random(options.seed)
    fleet = Fleet(database, folder, options.workers)
    try:
        await fleet.start()
        async with durable.running(role="api") as runtime:
            customers = Customers(runtime.service, moments)
            shopping = [asyncio.create_task(customers.shop()) for _ in range(options.customers)]
            closing = time.monotonic() + options.seconds
            deck: list[str] = []
            while (left := closing - time.monotonic()) > 0:
                await asyncio.sleep(min(left, moments.uniform(0, 2)))
                if not deck:
                    deck = [*_DANGERS, *database.dangers]
                    moments.shuffle(deck)
                await fleet.suffer(deck.pop(), moments)
            customers.closing.set()
            began = time.monotonic()
            await asyncio.wait(shopping, timeout=_END_SECONDS)
            # A window that is fired while the last worker drains would leave a run that rightly waits for the next one.
            await runtime.schedules.pause(TICK.key)
            while unfinished(database) and time.monotonic() < began + _END_SECONDS:  # noqa: ASYNC110 (other processes)
                await asyncio.sleep(0.1)
            settled = time.monotonic() - began
            for task in shopping:
                task.cancel()
            for result in await asyncio.gather(*shopping, return_exceptions=True):
                if isinstance(result, Exception):
                    customers.wrong.append(f"a customer was told {result!r}")
            tallies = await count_by_entities(runtime.service)
        await fleet.drain_all()
    finally:
        fleet.kill_all()
    found = audit(database, customers, tallies)
    for kind, lines in vars(found).items():
        for line in lines[:10] if isinstance(lines, list) else ():
            print(f"  {kind}: {line}")
    for fault in fleet.faults:
        print(f"  fault: {fault}")
    print(f"  {', '.join(f'{danger} {times}' for danger, times in sorted(fleet.done.items()))}; {found.ticks} ticks")
    for queue in found.queues:
        print(f"  {queue.summary}")
    print(
        f"  kills hit {fleet.runs_hit} runs under way; {database.connections_cut} connections were cut; "
        f"{len(customers.sent_again)} signals were sent again"
    )
    print(
        f"{options.database}: {found.summary}; worst resume {max(fleet.resume_seconds, default=0):.1f} s; "
        f"all ended {settled:.1f} s after closing time"
    )
    return not (
        found.lost or found.duplicated or found.stuck or found.failed or found.left or found.broken or fleet.faults
    )


async def count_by_entities(engine: WorkflowService) -> dict[str, int]:
    """What the jobs' entities counted."""
    from tests.chaos.workload import TALLIES, Tally

    keys = [f"tally-{number}" for number in range(TALLIES)]
    states = {key: await engine.get_entity_state(Tally, key) for key in keys}
    return {key: state.jobs for key, state in states.items() if state is not None}


def main() -> int:
    """Run the rig once."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--customers", type=int, default=40)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    print(f"{options.database}: {options.seconds:g} s, {options.workers} workers, seed {options.seed}", flush=True)
    logging.getLogger("fastapi_durable").setLevel(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="durable-chaos-"))
    with chaos_database(options.database, folder) as database:
        # Before the workload is imported: it chooses its client by it.
        os.environ["DATABASE_URL"] = database.url
        fine = asyncio.run(endure(database, folder, options))
    if not fine:
        print(f"the workers' logs are in {folder}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
