"""The workflows that are driven through the chaos, and the module that the worker processes run.

Each job has transaction steps, a plain step, a sleep, two signals, an update, children that go on as new runs, and a
call of an entity that many jobs share; a schedule ticks beside them. The children wait in queues: one with few places,
one with a rate. What the transaction steps write goes into a table of the rig's own, without a unique key, so that
whatever is written twice is seen.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    PostgresWakeups,
    PrismaStateStore,
    Queue,
    Schedule,
    SqliteWakeups,
    WorkflowContext,
    app_scoped,
    entity,
    operation,
    step,
    workflow,
)
from fastapi_durable.wakeups import Wakeups

if TYPE_CHECKING or not os.environ.get("DATABASE_URL", "").startswith("postgres"):
    from example_app.clients.sqlite import Prisma
else:
    from example_app.clients.postgresql import Prisma

CHILDREN: Final = 2
SIGNALS: Final = 2
TALLIES: Final = 5
ROUNDS: Final = 10
ROUND_SECONDS: Final = 0.2
PAUSE_SECONDS: Final = 0.01

# What a job leaves behind: itself, each of its pieces twice, since they go on as new runs, and a parcel.
RUNS_OF_A_JOB: Final = 1 + 2 * CHILDREN + 1

PIECES: Final = Queue("pieces", concurrency=8)
PARCELS: Final = Queue("parcels", rate_limit=5, rate_period="500ms", worker_concurrency=2)


class Job(BaseModel):
    id: str


class Piece(BaseModel):
    job: str
    number: int
    is_thought_over: bool = False


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
    return sorted(["begun", "parcel", *signals, f"note {note_of(job)}", *pieces, "ended"])


def expected_output(job: str) -> str:
    """What the job's run returns."""
    return f"{job}: {sum(range(CHILDREN))} by {'+'.join(payload_of(job, number) for number in range(SIGNALS))}"


def payload_of(job: str, number: int) -> str:
    """What the job's n-th signal carries."""
    return f"{job}/{number}"


def note_of(job: str) -> str:
    """What the job's update carries."""
    return f"of {job}"


def tally_of(job: str) -> str:
    """The entity that counts the job."""
    return f"tally-{int(job.rpartition('-')[2]) % TALLIES}"


@entity(name="chaos_tally")
class Tally(BaseModel):
    """Counts jobs; each has to be counted once."""

    jobs: int = 0

    @operation
    async def count(self, job: str) -> str:
        self.jobs += 1
        return job


async def enter(tx: Prisma, entry: Entry) -> None:
    """Exactly once: it commits together with the checkpoint. One attempt: no danger is the body's fault."""
    # A pause, so that much happens between two statements of a transaction.
    await asyncio.sleep(PAUSE_SECONDS)
    # Both texts are the rig's own; placeholders differ between the databases.
    await tx.execute_raw(f"INSERT INTO chaos_ledger (job, entry) VALUES ('{entry.job}', '{entry.entry}')")


@step
async def think(piece: Piece) -> int:
    """At least once: a crash in the middle repeats it."""
    await asyncio.sleep(0.2)
    return piece.number


@workflow(name="chaos_piece", version="1")
async def do_piece(ctx: WorkflowContext, piece: Piece) -> int:
    if not piece.is_thought_over:
        await ctx.step(think, piece)
        await ctx.sleep("50ms")
        ctx.continue_as_new(piece.model_copy(update={"is_thought_over": True}))
    await ctx.transaction(enter, Entry(job=piece.job, entry=f"piece {piece.number}"))
    return piece.number


@workflow(name="chaos_parcel", version="1")
async def do_parcel(ctx: WorkflowContext, job: Job) -> None:
    await ctx.transaction(enter, Entry(job=job.id, entry="parcel"))


@workflow(name="chaos_job", version="1")
async def do_job(ctx: WorkflowContext, job: Job) -> str:
    await ctx.transaction(enter, Entry(job=job.id, entry="begun"))
    await ctx.sleep("100ms")
    received = []
    for number in range(SIGNALS):
        payload = await ctx.wait_for_signal(token(job.id, number), str)
        await ctx.transaction(enter, Entry(job=job.id, entry=f"signal {number}: {payload}"))
        received.append(payload)
    note = await ctx.on_update("note", str)
    await ctx.transaction(enter, Entry(job=job.id, entry=f"note {note}"))
    await ctx.child(do_parcel, job, queue=PARCELS.name)
    pieces = [Piece(job=job.id, number=number) for number in range(CHILDREN)]
    numbers = await ctx.all(do_piece, pieces, queue=PIECES.name, fairness_key=tally_of(job.id))
    await ctx.call_entity(Tally, tally_of(job.id), Tally.count, job.id)
    await ctx.transaction(enter, Entry(job=job.id, entry="ended"))
    return f"{job.id}: {sum(numbers)} by {'+'.join(received)}"


@workflow(name="chaos_tick", version="1")
async def do_tick(ctx: WorkflowContext) -> None:
    await ctx.transaction(enter, Entry(job=TICK.key, entry=ctx.run_id))


# Windows that no worker was there to fire are made up for, so that every one of them must be found in the ledger.
TICK: Final = Schedule(key="tick", workflow=do_tick, every="1s", backfill=600)


@workflow(name="chaos_rounds", version="1")
async def do_rounds(ctx: WorkflowContext, job: Job) -> int:
    """Leaves an entry with every round, so that the time between two of them can be read in the ledger."""
    for number in range(ROUNDS):
        await ctx.transaction(enter, Entry(job=job.id, entry=f"round {number}"))
        await ctx.sleep(timedelta(seconds=ROUND_SECONDS))
    return ROUNDS


@app_scoped
async def get_prisma() -> AsyncIterator[Prisma]:
    """A client on DATABASE_URL."""
    client = Prisma(datasource={"url": os.environ["DATABASE_URL"]})
    await client.connect()
    try:
        yield client
    finally:
        await client.disconnect()


def wakeups() -> Wakeups:
    """What the database offers."""
    url = os.environ["DATABASE_URL"]
    return PostgresWakeups(url) if url.startswith("postgres") else SqliteWakeups(url)


durable = DurableModule.for_root_async(
    inject=[get_prisma],
    use_factory=lambda prisma: DurableOptions(
        store=PrismaStateStore(prisma),
        wakeups=wakeups(),
        schedules=[] if os.environ.get("CHAOS_QUIET") else [TICK],
        queues=[PIECES, PARCELS],
    ),
    workflows=[do_job, do_piece, do_parcel, do_tick, do_rounds],
    entities=[Tally],
)
