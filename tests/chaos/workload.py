"""The workflows that are driven through the chaos, and the module that the worker processes run.

Each job has transaction steps, a plain step, a sleep, two signals and children. What the transaction steps write goes
into a table of the rig's own, without a unique key, so that whatever is written twice is seen.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    PostgresWakeups,
    PrismaStateStore,
    WorkflowContext,
    app_scoped,
    exponential,
    step,
    workflow,
)

if TYPE_CHECKING or not os.environ.get("DATABASE_URL", "").startswith("postgres"):
    from example_app.clients.sqlite import Prisma
else:
    from example_app.clients.postgresql import Prisma

CHILDREN: Final = 2
SIGNALS: Final = 2


class Job(BaseModel):
    id: str


class Piece(BaseModel):
    job: str
    number: int


class Entry(BaseModel):
    job: str
    entry: str


def token(job: str, number: int) -> str:
    """What the job's n-th signal is called; each is sent once."""
    return f"chaos:{job}:{number}"


def expected_entries(job: str) -> list[str]:
    """What the ledger holds of a job when it has ended, sorted."""
    signals = [f"signal {number}: {payload_of(job, number)}" for number in range(SIGNALS)]
    pieces = [f"piece {number}" for number in range(CHILDREN)]
    return sorted(["begun", *signals, *pieces, "ended"])


def expected_output(job: str) -> str:
    """What the job's run returns."""
    return f"{job}: {sum(range(CHILDREN))} by {'+'.join(payload_of(job, number) for number in range(SIGNALS))}"


def payload_of(job: str, number: int) -> str:
    """What the job's n-th signal carries."""
    return f"{job}/{number}"


async def enter(tx: Prisma, entry: Entry) -> None:
    """Exactly once: it commits together with the checkpoint."""
    # Both texts are the rig's own; placeholders differ between the databases.
    await tx.execute_raw(f"INSERT INTO chaos_ledger (job, entry) VALUES ('{entry.job}', '{entry.entry}')")


@step(max_attempts=20, backoff=exponential("50ms", cap="1s"))
async def think(piece: Piece) -> int:
    """At least once: a crash in the middle repeats it."""
    await asyncio.sleep(0.2)
    return piece.number


@workflow(name="chaos_piece", version="1")
async def do_piece(ctx: WorkflowContext, piece: Piece) -> int:
    number = await ctx.step(think, piece)
    await ctx.sleep("50ms")
    await ctx.transaction(enter, Entry(job=piece.job, entry=f"piece {number}"), max_attempts=20)
    return number


@workflow(name="chaos_job", version="1")
async def do_job(ctx: WorkflowContext, job: Job) -> str:
    await ctx.transaction(enter, Entry(job=job.id, entry="begun"), max_attempts=20)
    await ctx.sleep("100ms")
    received = []
    for number in range(SIGNALS):
        payload = await ctx.wait_for_signal(token(job.id, number), str)
        await ctx.transaction(enter, Entry(job=job.id, entry=f"signal {number}: {payload}"), max_attempts=20)
        received.append(payload)
    numbers = await ctx.all(do_piece, [Piece(job=job.id, number=number) for number in range(CHILDREN)])
    await ctx.transaction(enter, Entry(job=job.id, entry="ended"), max_attempts=20)
    return f"{job.id}: {sum(numbers)} by {'+'.join(received)}"


@app_scoped
async def get_prisma() -> AsyncIterator[Prisma]:
    """A client on DATABASE_URL."""
    client = Prisma(datasource={"url": os.environ["DATABASE_URL"]})
    await client.connect()
    try:
        yield client
    finally:
        await client.disconnect()


def wakeups() -> PostgresWakeups | None:
    """What the database offers."""
    url = os.environ["DATABASE_URL"]
    return PostgresWakeups(url) if url.startswith("postgres") else None


durable = DurableModule.for_root_async(
    inject=[get_prisma],
    use_factory=lambda prisma: DurableOptions(store=PrismaStateStore(prisma), wakeups=wakeups()),
    workflows=[do_job, do_piece],
)
