"""`python -m benchmarks.console`: how long the console takes to answer where a great many runs are stored.

Fills a fresh database with runs of three months (many workflows, statuses, namespaces and tags, a long timeline, a
parent of many), then asks the HTTP API what the dashboard asks, inside this process: what is measured is the server's
share, database included, of each request. The median of the repeats counts, and the slowest is told.
"""

import argparse
import asyncio
import importlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from fastapi import FastAPI

from fastapi_durable import DurableModule, DurableOptions, PrismaStateStore
from tests.support.migrations import migrate
from tests.support.postgres import local_postgres

GOAL: Final = 0.1
REPEATS: Final = 7
UNCOUNTED: Final = 8
"""Asked so often first: from the sixth time on PostgreSQL may keep a plan that it made for any values."""
LONG: Final = 5_000
CHILDREN: Final = 1_000

REQUESTS: Final = {
    "newest runs": "runs?limit=50",
    "deep page": "runs?limit=50&cursor={cursor}",
    "status=failed": "runs?limit=50&status=failed",
    "status=dead (rare)": "runs?limit=50&status=dead",
    "status=cancelled (all of them long ago)": "runs?limit=50&status=cancelled",
    "failed, dead or blocked": "runs?limit=50&status=failed&status=dead&status=blocked",
    "workflow": "runs?limit=50&workflow=flow-3",
    "workflow (ran long ago)": "runs?limit=50&workflow=import",
    "workflow and status": "runs?limit=50&workflow=flow-3&status=failed",
    "tag (one run)": "runs?limit=50&tag=order:70000",
    "tag (half of them)": "runs?limit=50&tag=region:eu",
    "attribute total>=9990": "runs?limit=50&attr=total:gte:9990",
    "attribute vip=true (half of them)": "runs?limit=50&attr=vip:eq:true",
    "namespace": "runs?limit=50&namespace=tenant-a",
    "namespace and status": "runs?limit=50&namespace=default&status=failed",
    "status=completed": "runs?limit=50&status=completed",
    "namespace (small)": "runs?limit=50&namespace=tenant-z",
    "origin": "runs?limit=50&origin=billing",
    "origin (rare)": "runs?limit=50&origin=legacy",
    "no origin": "runs?limit=50&unattributed=true",
    "created within a day": "runs?limit=50&created_from={day}&created_until={next_day}",
    "total": "runs?limit=1&total=true",
    "total of a workflow": "runs?limit=1&total=true&workflow=flow-3",
    "total of a rare origin": "runs?limit=1&total=true&origin=legacy",
    "total of a tag": "runs?limit=1&total=true&tag=region:eu",
    "facets": "runs/facets",
    "facets of a status's list": "runs/facets?status=failed",
    "facets of a workflow": "runs/facets?workflow=flow-3",
    "facets of a workflow (ran long ago)": "runs/facets?workflow=import",
    "facets of a tag": "runs/facets?tag=region:eu",
    "facets of a tag (one run)": "runs/facets?tag=order:70000",
    "facets of an attribute": "runs/facets?attr=total:gte:9990",
    "facets of a namespace": "runs/facets?namespace=tenant-a",
    "facets of a day": "runs/facets?created_from={day}&created_until={next_day}",
    "run page": "runs/run-50000",
    "run page, 5,000 steps": "runs/long?limit=500",
    "run page, 5,000 steps, the last ones": "runs/long?limit=500&after=4499",
    "run page, 1,000 children": "runs/parent",
    "charts of an hour": "metrics/series?window=1h&buckets=60",
    "charts of a week": "metrics/series?window=7d&buckets=84",
    "charts of three months": "metrics/series?window=90d&buckets=90",
    "metrics for Prometheus": "metrics",
    "schedules": "schedules",
    "workers": "workers",
    "queues": "queues",
}


def statements(runs: int, *, sqlite: bool) -> Iterator[str]:
    """What fills the database, about as fast as it can be filled."""

    def series(number: int) -> str:
        if sqlite:
            return (
                f"(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {number}) SELECT n FROM s)"
            )
        return f"generate_series(1, {number}) AS s(n)"

    def moment(seconds: str) -> str:
        """So many seconds after the first of September 2026."""
        if sqlite:
            return f"strftime('%Y-%m-%dT%H:%M:%f+00:00', 1788220800 + ({seconds}), 'unixepoch')"
        return f"(to_timestamp(1788220800 + ({seconds})) AT TIME ZONE 'UTC')::timestamp(3)"

    def json(*parts: str) -> str:
        """JSON out of literals and expressions in turn."""
        value = " || ".join(f"'{part}'" if number % 2 == 0 else f"({part})" for number, part in enumerate(parts))
        return f"({value})" if sqlite else f"({value})::jsonb"

    spread = 80 * 86400 / runs
    status = (
        f"CASE WHEN n < {runs // 10} AND n % 10 = 3 THEN 'cancelled' WHEN n % 53 = 7 THEN 'failed'"
        " WHEN n % 10007 = 5 THEN 'dead' WHEN n % 101 = 2 THEN 'suspended' WHEN n % 20011 = 9 THEN 'running'"
        " ELSE 'completed' END"
    )
    workflow = f"CASE WHEN n < {runs // 8} THEN 'import' ELSE 'flow-' || (n % 20) END"
    namespace = "CASE WHEN n % 10 = 4 THEN 'tenant-a' WHEN n % 9973 = 8 THEN 'tenant-z' ELSE 'default' END"
    origin = (
        f"CASE WHEN n % 4 = 0 THEN 'billing' WHEN n % 4 = 1 THEN 'shop' WHEN n < {runs // 2} AND n % 9001 = 2"
        " THEN 'legacy' END"
    )
    total = "(n % 10000 * 7919 % 10000)"
    region = "CASE WHEN n % 2 = 0 THEN 'eu' ELSE 'us' END"
    vip = "CASE WHEN n % 2 = 0 THEN 'true' ELSE 'false' END"
    order = json('{"order": {"id": "', "n", '", "customer": "Customer ', "n % 5000", '", "items": ["book", "pen"]}}')
    tracking = json('{"tracking": "t-', "n", '"}')
    error = json('{"message": "the card provider hung up on ', "n", '", "type": "ConnectionError"}')
    tags = json('["order:', "n", '", "region:', region, '"]')
    attributes = json('{"total": ', total, ', "vip": ', vip, "}")
    yield (
        "INSERT INTO durable_workflow_runs (id, workflow, workflow_version, status, input, output, error, tags,"
        " search_attributes, namespace, origin, wake_at, created_at, updated_at)"
        f" SELECT 'run-' || n, {workflow}, '1', {status},"
        f" {order}, {tracking}, CASE WHEN n % 53 = 7 THEN {error} END, {tags}, {attributes},"
        f" {namespace}, {origin}, CASE WHEN n % 101 = 2 THEN 1900000000000 END,"
        f" {moment(f'n * {spread}')}, {moment(f'n * {spread} + n % 30')} FROM {series(runs)}"
    )
    if not sqlite:
        # Without statistics PostgreSQL reads all runs to check each of the references that follow.
        yield "ANALYZE"
    yield (
        f"INSERT INTO durable_run_attributes (run_id, key, num_value) SELECT 'run-' || n, 'total', {total}"
        f" FROM {series(runs)}"
    )
    yield (
        f"INSERT INTO durable_run_attributes (run_id, key, str_value) SELECT 'run-' || n, 'vip', {vip}"
        f" FROM {series(runs)}"
    )
    checkpoint = (
        "INSERT INTO durable_step_checkpoints (run_id, seq, name, kind, step_id, status, output, attempts, started_at,"
        " finished_at) SELECT"
    )
    ok = json('{"ok": ', "n", "}")
    for seq, name in enumerate(("charge_card", "ship")):
        yield (
            f"{checkpoint} 'run-' || n, {seq}, '{name}', 'local', 'run-' || n || ':{seq}', 'completed',"
            f" {ok}, 1, {moment(f'n * {spread} + {seq}')},"
            f" {moment(f'n * {spread} + {seq + 1}')} FROM {series(runs)}"
        )
    yield (
        "INSERT INTO durable_signal_waiters (token, run_id, seq) SELECT 'approve:' || n, 'run-' || n, 2"
        f" FROM {series(runs)} WHERE n % 101 = 2"
    )
    run = (
        "INSERT INTO durable_workflow_runs (id, workflow, workflow_version, status, namespace, parent_run_id,"
        " created_at, updated_at)"
    )
    end = moment(str(80 * 86400))
    yield f"{run} VALUES ('long', 'batch', '1', 'completed', 'default', NULL, {end}, {end})"
    yield f"{run} VALUES ('parent', 'batch', '1', 'completed', 'default', NULL, {end}, {end})"
    part = "'parent.' || n, 'part', '1', 'completed', 'default', 'parent'"
    yield f"{run} SELECT {part}, {end}, {end} FROM {series(CHILDREN)}"
    yield (
        f"{checkpoint} 'long', n - 1, 'part', 'local', 'long:' || n, 'completed',"
        f" {ok}, 1, {moment('n * 60')}, {moment('n * 60 + 50')} FROM {series(LONG)}"
    )
    if not sqlite:
        yield "VACUUM ANALYZE"  # as autovacuum does before long; SQLite is not analysed unless somebody asks for it


async def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.console", description=__doc__)
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--url", help="a migrated database to use, and to leave as it is then")
    parser.add_argument("--filled", action="store_true", help="that database holds the runs of an earlier call")
    parser.add_argument("--only", default="", help="requests whose name contains this")
    arguments = parser.parse_args()
    sqlite = arguments.database == "sqlite"
    with database(arguments.url, sqlite=sqlite) as url:
        client = client_of(sqlite=sqlite)
        async with client(datasource={"url": url}) as prisma:
            if not arguments.filled:
                begin = time.perf_counter()
                for statement in statements(arguments.runs, sqlite=sqlite):
                    await prisma.execute_raw(statement)
                print(f"{arguments.runs:,} runs, {time.perf_counter() - begin:.0f} s to store them\n", flush=True)
            slow = await measure(prisma, arguments.only)
    print(f"\n{'all met' if not slow else f'{len(slow)} not met'}: {GOAL * 1000:.0f} ms each")
    return 1 if slow else 0


async def measure(prisma: Any, only: str) -> list[str]:
    """Print a line for each request, and return the names of those that took too long."""
    module = DurableModule.for_root(DurableOptions(store=PrismaStateStore(prisma), role="api"))
    app = FastAPI(lifespan=module.lifespan)
    app.include_router(module.router(allow_unauthenticated=True))
    slow: list[str] = []
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost/api/", timeout=120) as http,
    ):
        asked = {"day": "2026-10-10T00:00:00Z", "next_day": "2026-10-11T00:00:00Z"}
        page = (await http.get("runs?limit=1&created_until=2026-09-20T00:00:00Z")).json()
        asked["cursor"] = page["next_cursor"]
        print(f"{'request':42} {'median':>9} {'slowest':>9}  answer")
        for name, path in REQUESTS.items():
            if only not in name:
                continue
            times = []
            for _ in range(UNCOUNTED + REPEATS):
                begin = time.perf_counter()
                answer = await http.get(path.format(**asked))
                times.append(time.perf_counter() - begin)
            answer.raise_for_status()
            median = statistics.median(times[UNCOUNTED:])
            if median > GOAL:
                slow.append(name)
            print(
                f"{name:42} {median * 1000:6.1f} ms {max(times[UNCOUNTED:]) * 1000:6.1f} ms"
                f"  {len(answer.content) / 1000:6.1f} kB  {'met' if median <= GOAL else 'NOT MET'}",
                flush=True,
            )
    return slow


def client_of(*, sqlite: bool) -> Any:
    provider = "sqlite" if sqlite else "postgresql"
    return importlib.import_module(f"example_app.clients.{provider}").Prisma


@contextmanager
def database(url: str | None, *, sqlite: bool) -> Iterator[str]:
    """The one that is named, or a fresh one."""
    if url is not None:
        yield url
    elif sqlite:
        with tempfile.TemporaryDirectory() as folder:
            url = f"file:{Path(folder) / 'console.db'}"
            migrate(url)
            yield url
    else:
        with local_postgres() as server:
            url = server.create_database("console")
            migrate(url)
            yield url


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
