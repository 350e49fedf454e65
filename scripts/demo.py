"""`make demo`: an order survives `kill -9`. Two real processes, one after the other, on a fresh database."""

import argparse
import asyncio
import os
import shutil
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

ROOT: Final = Path(__file__).resolve().parents[1]
ORDER: Final = {"id": "demo", "customer": "ada", "items": [{"sku": "lamp", "quantity": 1}], "total_cents": 2500}
WAITING: Final = {**ORDER, "id": "demo-2", "customer": "grace", "total_cents": 9900}
STOCKTAKING: Final = {"input": 4, "run_id": "stocktaking:demo"}
STEP_SECONDS: Final = 0.5
# A dead process's runs are taken over when its lease has expired; nobody wants to watch the usual thirty seconds.
KEPT: Final = ROOT / ".make" / "demo"
LEASE: Final = "3s"
PATIENCE: Final = 60.0

_begin = time.monotonic()


class DemoFailedError(Exception):
    """What did not happen as it should have."""


def main() -> int:
    """Run the demonstration and return the exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--db", choices=("sqlite", "postgresql"), default="sqlite")
    database = parser.parse_args().db
    # SIGTERM ends the demo as Ctrl-C does: every process that it started ends first.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    print(f"An order survives `kill -9` ({'SQLite' if database == 'sqlite' else 'PostgreSQL'})\n")
    try:
        with DATABASES[database]() as url:
            # DATABASE_URL chooses the client, and the database of the migrations and of the processes.
            os.environ |= {"DATABASE_URL": url, "EXAMPLE_STEP_SECONDS": str(STEP_SECONDS), "DURABLE_LEASE": LEASE}
            migrate()
            asyncio.run(demonstrate(url))
    except (DemoFailedError, httpx.HTTPError, OSError) as error:
        print(f"\nDEMO FAILED: {type(error).__name__}: {error}")
        return 1
    except KeyboardInterrupt:
        print("\nDEMO FAILED: interrupted")
        return 1
    print("\nDEMO PASSED")
    return 0


async def demonstrate(url: str) -> None:
    """Place an order, kill the process that works on it, start another one, approve."""
    sys.path.insert(0, str(ROOT))
    from example_app.database import Prisma

    port = free_port()
    async with (
        Prisma(datasource={"url": url}) as prisma,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as http,
    ):
        async with order_desk(port, http) as process:
            await post(http, "/orders", ORDER)
            await follow(http, until="charge")
            process.kill()
            code = await process.wait()
            say("KILL -9", f"right after the charge: process {process.pid} is gone, exit code {code}")
        say("left behind", "nobody runs; this is all in the database:")
        await show(prisma)
        async with order_desk(port, http):
            await post(http, "/orders", ORDER, note="the same order again, as a customer would who got no answer")
            await post(http, "/orders/demo/approval", {"approved": True})
            await follow(http, until="ship")
            await poll(lambda: has_run_status(http, "completed"), "the run to be completed")
            say("in the end", "the database has:")
            await show(prisma)
            await check(prisma)
            await post(http, "/orders", WAITING, note="another one, which is left waiting for its approval")
            await poll(lambda: has_status(http, WAITING, "awaiting_approval"), "the other order to wait")
            await post(http, "/durable/api/workflows/stocktaking/runs", STOCKTAKING, note="stopped in the middle")


async def check(prisma: Any) -> None:
    """Refuse a ledger or a card that tells of anything twice, or not at all."""
    ledger = [row.kind for row in await prisma.ledgerentry.find_many(order={"id": "asc"})]
    if ledger != ["reserve", "charge", "ship"]:
        raise DemoFailedError(f"the ledger should be reserve, charge, ship, and is {', '.join(ledger)}")
    charges = await prisma.cardcharge.find_many()
    if [(row.amountCents, row.refunded) for row in charges] != [(ORDER["total_cents"], False)]:
        raise DemoFailedError(f"the card should have been charged once, and was so {len(charges)} times")
    say("checked", "reserved once, charged once, shipped once; the card was charged once")


async def show(prisma: Any) -> None:
    """Print what the database knows of the order."""
    (order,) = await prisma.order.find_many()
    (run,) = await prisma.durableworkflowrun.find_many()
    print(f"{'':23}order  {order.id}: {order.status}")
    print(f"{'':23}run    {run.id}: {run.status}")
    for row in await prisma.durablestepcheckpoint.find_many(order={"seq": "asc"}):
        print(f"{'':23}  {row.seq:>3}  {row.kind:<7} {row.name:<16} {row.status}")
    for row in await prisma.ledgerentry.find_many(order={"id": "asc"}):
        print(f"{'':23}ledger {row.kind:<8} {row.amountCents:>6} cents  at {row.at:%H:%M:%S.%f}"[:-3])
    for row in await prisma.cardcharge.find_many():
        print(f"{'':23}card   {row.idempotencyKey}: {row.amountCents} cents{', refunded' if row.refunded else ''}")


@asynccontextmanager
async def order_desk(port: int, http: httpx.AsyncClient) -> AsyncIterator[asyncio.subprocess.Process]:
    """The example in a process of its own, with its worker inside."""
    command = [sys.executable, "-m", "uvicorn", "example_app.main:app", "--port", str(port), "--log-level", "warning"]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    try:

        async def is_ready() -> bool:
            if process.returncode is not None:
                raise DemoFailedError(f"the order desk did not start (exit code {process.returncode})")
            try:
                return (await http.get("/health/ready")).is_success
            except httpx.TransportError:
                return False

        await poll(is_ready, "the order desk to be ready")
        say("start", f"process {process.pid} serves the order desk on 127.0.0.1:{port}")
        yield process
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), PATIENCE)
            say("stop", f"process {process.pid} was asked to stop, and did")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def post(http: httpx.AsyncClient, path: str, body: dict[str, Any], *, note: str = "") -> None:
    answer = await http.post(path, json=body)
    say("request", f"POST {path} -> {answer.status_code} {answer.text}{f'  ({note})' if note else ''}")
    if not answer.is_success:
        raise DemoFailedError(f"POST {path} should have been accepted")


async def follow(http: httpx.AsyncClient, *, until: str) -> None:
    """Print the order's progress as it happens, until its ledger has a line of this kind."""
    told = ""

    async def has_come_so_far() -> bool:
        nonlocal told
        status = (await http.get("/orders/demo")).json()["status"]
        ledger = [line["kind"] for line in (await http.get("/orders/demo/ledger")).json()]
        now = f"order {status}; ledger: {', '.join(ledger) or 'empty'}"
        if now != told:
            say("progress", now)
            told = now
        return until in ledger

    await poll(has_come_so_far, f"the ledger to show the {until}")


async def has_status(http: httpx.AsyncClient, order: dict[str, Any], status: str) -> bool:
    return bool((await http.get(f"/orders/{order['id']}")).json()["status"] == status)


async def has_run_status(http: httpx.AsyncClient, status: str) -> bool:
    return bool((await http.get("/orders/demo")).json()["run_status"] == status)


async def poll(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await condition():
        if time.monotonic() > deadline:
            raise DemoFailedError(f"waited {PATIENCE:g} s in vain for {what}")
        await asyncio.sleep(0.02)


@contextmanager
def sqlite() -> Iterator[str]:
    """A database file that stays until the next demo, to be looked at."""
    shutil.rmtree(KEPT, ignore_errors=True)
    KEPT.mkdir(parents=True)
    yield f"file:{KEPT}/orders.db"
    print(f"""
The runs are still there. To look at them, and to let those go on that wait:

    make run DATABASE_URL=file:./{KEPT.relative_to(ROOT)}/orders.db

    http://127.0.0.1:8000/durable/?run=checkout:demo      killed after the charge, and yet charged once
    http://127.0.0.1:8000/durable/?run=checkout:demo-2    waits for an approval: Send signal, {{"approved": true}}
    http://127.0.0.1:8000/durable/?run=stocktaking:demo   was stopped in the middle of its shelves, and goes on""")


@contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL server that is stopped and deleted afterwards."""
    with subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "temporary_postgres.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin is not None  # noqa: S101 # it is a pipe
        assert server.stdout is not None  # noqa: S101 # it is a pipe
        try:
            url = server.stdout.readline().strip()
            if not url:
                raise DemoFailedError("PostgreSQL did not start")
            say("database", f"a PostgreSQL server of the demo's own at {url.partition('@')[2]}")
            yield url
        finally:
            server.stdin.close()


DATABASES: Final = {"sqlite": sqlite, "postgresql": postgresql}


def migrate() -> None:
    """Create the tables as one does in production."""
    provider, schema = (
        ("sqlite", "schema.prisma")
        if os.environ["DATABASE_URL"].startswith("file:")
        else ("postgresql", "schema.postgresql.prisma")
    )
    command = [sys.executable, "-m", "prisma_inprocess", "migrate", "deploy"]
    command += ["--schema", schema, "--migrations", f"migrations/{provider}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DemoFailedError(f"migrate deploy failed:\n{done.stdout}{done.stderr}")
    say("database", "tables created by `migrate deploy`")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def say(what: str, text: str) -> None:
    print(f"  {time.monotonic() - _begin:5.1f} s  {what:<12} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
