"""What changes while a call of the store is between two of its statements."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from fastapi_durable.declare.definition import workflow
from fastapi_durable.declare.queue import QueueState
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import LeaseLostError, SignalTokenTakenError, StoreConflictError
from fastapi_durable.model.records import Lease, RetentionPolicy, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import T0, a_checkpoint, a_run, a_waiter, at, create, existing
from fastapi_durable.store.prisma import PrismaStateStore
from tests.store.conftest import emptied, prisma_of
from tests.store.interposed_client import interposed_client
from tests.support.engine_rig import FAST, running_engine, tuned

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENDED = frozenset({RunStatus.COMPLETED})
BY_AGE = RetentionPolicy(statuses=ENDED, max_age=timedelta(seconds=10))
BY_COUNT = RetentionPolicy(statuses=ENDED, max_count=0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(module_url: str) -> AsyncIterator[Any]:
    async with interposed_client(prisma_of(module_url))(datasource={"url": module_url}) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def other_client(module_url: str) -> AsyncIterator[Any]:
    async with prisma_of(module_url)(datasource={"url": module_url}) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def store(client: Any) -> StateStore:
    store = await emptied(client)
    await store.ping()
    return store


@pytest.fixture
def others(other_client: Any) -> StateStore:
    """The store as another process has it."""
    return PrismaStateStore(other_client)


def retried(others: StateStore) -> Awaitable[object]:
    return others.update_run("ended", {"status": RunStatus.PENDING, "updated_at": at(99)})


def retried_by_a_clock_that_is_behind(others: StateStore) -> Awaitable[object]:
    return others.update_run("ended", {"status": RunStatus.PENDING})


def retried_and_ended(others: StateStore) -> Awaitable[object]:
    return others.update_run("ended", {"output": "again", "updated_at": at(99)})


@pytest.mark.parametrize("policy", [BY_AGE, BY_COUNT], ids=["by age", "by count"])
@pytest.mark.parametrize("deed", [retried, retried_by_a_clock_that_is_behind, retried_and_ended])
async def test_a_run_that_is_retried_between_its_selection_and_its_deletion_stays(
    policy: RetentionPolicy, deed: Callable[[StateStore], Awaitable[object]], client: Any, others: StateStore
) -> None:
    """With its history; the others go."""
    store = await emptied(client)
    await create(store, a_run("ended", status=RunStatus.COMPLETED), a_run("old", status=RunStatus.COMPLETED))
    for run_id in ("ended", "old"):
        await store.record_checkpoint(a_checkpoint(0, run_id))
    client.interruption.plan("BEGIN", lambda: deed(others))
    assert await store.prune_terminal_runs(policy, now=at(60), limit=9) == 1
    assert client.interruption.happened == 1
    assert await store.find_run("ended") is not None
    assert await store.find_checkpoint("ended", 0) is not None
    assert await store.find_run("old") is None
    assert await store.find_checkpoint("old", 0) is None


async def test_a_run_that_is_deleted_between_its_selection_and_its_deletion_is_not_counted(
    store: StateStore, client: Any, others: StateStore
) -> None:
    await create(store, a_run("ended", status=RunStatus.COMPLETED))
    client.interruption.plan("BEGIN", lambda: others.delete_run("ended"))
    assert await store.prune_terminal_runs(BY_AGE, now=at(60), limit=9) == 0


async def test_a_run_in_the_way_that_is_deleted_before_it_is_read_makes_way(
    store: StateStore, client: Any, others: StateStore
) -> None:
    await create(store, a_run(input="old"))
    client.interruption.plan("SELECT", lambda: others.delete_run("run-1"))
    created = await store.create_run(a_run(input="new"))
    assert (created.created, created.run.input) == (True, "new")


async def test_a_run_in_the_way_that_comes_and_goes_is_a_conflict(
    store: StateStore, client: Any, others: StateStore
) -> None:
    """Not an endless race."""

    async def come() -> None:
        await others.create_run(a_run(input="other"))

    async def go() -> None:
        await others.delete_run("run-1")
        client.interruption.plan("INSERT INTO durable_workflow_runs", come)

    async def next_time() -> None:
        await go()
        client.interruption.plan("INSERT INTO durable_workflow_runs", last_time)

    async def last_time() -> None:
        await come()
        client.interruption.plan("SELECT", go)

    await come()
    client.interruption.plan("SELECT", next_time)
    with pytest.raises(StoreConflictError, match="run-1"):
        await store.create_run(a_run(input="mine"))


async def test_a_waiter_in_the_way_that_is_taken_before_it_is_read_makes_way(
    store: StateStore, client: Any, others: StateStore
) -> None:
    await store.put_signal_waiter(a_waiter("t", "run-2"))
    client.interruption.plan("SELECT", lambda: others.take_signal_waiter("t"))
    await store.put_signal_waiter(a_waiter("t"))
    assert await store.find_signal_waiter("t") == a_waiter("t")


async def test_a_waiter_that_somebody_else_was_quicker_to_put_is_named(
    store: StateStore, client: Any, others: StateStore
) -> None:
    client.interruption.plan(
        "INSERT INTO durable_signal_waiters", lambda: others.put_signal_waiter(a_waiter("t", "run-2"))
    )
    with pytest.raises(SignalTokenTakenError) as taken:
        await store.put_signal_waiter(a_waiter("t"))
    assert taken.value.owner_run_id == "run-2"


async def test_a_finished_checkpoint_in_the_way_that_is_removed_before_it_is_read_makes_way(
    store: StateStore, client: Any, others: StateStore
) -> None:
    """As a retry takes back a failure."""
    await create(store, a_run(locked_by="mine"))
    await store.record_checkpoint(a_checkpoint(0, output="old"))
    client.interruption.plan("SELECT (SELECT", lambda: others.remove_checkpoints("run-1", [0]))
    recorded = await store.record_checkpoint(a_checkpoint(0, output="new"), token="mine")
    assert (recorded.won, recorded.checkpoint.output) == (True, "new")


async def test_a_lease_that_is_lost_before_the_row_in_the_way_is_read_is_lost(
    store: StateStore, client: Any, others: StateStore
) -> None:
    """A turn without its lease must stop, whatever it could read."""
    await create(store, a_run(locked_by="mine"))
    await store.record_checkpoint(a_checkpoint(0, output="old"))
    client.interruption.plan("SELECT (SELECT", lambda: others.update_run("run-1", {"locked_by": "another"}))
    with pytest.raises(LeaseLostError):
        await store.record_checkpoint(a_checkpoint(0, output="new"), token="mine")


async def in_queue(store: StateStore) -> None:
    """A queue of one place, and two runs that want it."""
    await store.save_queue(QueueState(id="q", namespace="default", name="q", concurrency=1, updated_at=T0))
    await create(store, *(a_run(name, queue="q", created_at=at(n)) for n, name in enumerate("ab")))


@pytest.mark.parametrize("moment", ["before it looks for runs", "before it takes one"])
async def test_a_queue_that_somebody_claims_from_meanwhile_is_left_to_him(
    moment: str, store: StateStore, client: Any, others: StateStore, module_url: str
) -> None:
    """The place is taken once, and the next look comes soon."""
    claims = "BEGIN" if module_url.startswith("file:") else "gate AS"
    await in_queue(store)
    known = [("checkout", "1")]

    async def claim_from(store: StateStore, token: str) -> Any:
        return await store.claim_queued_runs(token, now=at(9), until=at(60), limit=9, workflows=known)

    about = "dense_rank" if moment == "before it looks for runs" else claims
    client.interruption.plan(about, lambda: claim_from(others, "another"))
    claim = await claim_from(store, "mine")
    assert client.interruption.happened == 1
    assert claim.runs == []
    assert claim.again_at is None or claim.again_at - at(9) < timedelta(seconds=1)
    assert (await existing(store, "a")).locked_by == "another"
    assert (await existing(store, "b")).locked_by is None


async def test_a_lease_in_a_queue_that_is_renewed_in_the_last_moment_is_not_ended(
    store: StateStore, client: Any, others: StateStore
) -> None:
    await in_queue(store)
    held = {"status": RunStatus.RUNNING, "locked_by": "alive", "locked_until": at(8)}
    await store.update_run("a", held)  # type: ignore[arg-type]
    client.interruption.plan(
        "UPDATE durable_workflow_runs", lambda: others.renew_leases([Lease("a", "alive")], until=at(60))
    )
    claim = await store.claim_queued_runs("mine", now=at(9), until=at(60), limit=9)
    assert client.interruption.happened == 1
    assert claim.runs == []
    assert (await existing(store, "a")).locked_by == "alive"


class ConnectionCut(ConnectionError):
    pass


async def book(tx: Any, entry: str) -> str:
    rows = await tx.query_raw("SELECT count(*) AS n FROM durable_buffered_events")
    await tx.execute_raw(
        f"INSERT INTO durable_buffered_events (id, name, published_at) VALUES ('{entry}-{rows[0]['n']}', 'entry', 0)"
    )
    return f"entry {rows[0]['n']}"


@workflow
async def booking(ctx: WorkflowContext, entry: str) -> str:
    return await ctx.transaction(book, entry, max_attempts=1)


@pytest.mark.parametrize("lost", [1, 2])
async def test_a_transaction_whose_commit_was_not_answered_takes_effect_once(
    lost: int, store: StateStore, client: Any
) -> None:
    """It is done again, finds that it was done, and undoes itself: the slower of two writers adopts what is there."""

    async def cut() -> None:
        raise ConnectionCut

    async with running_engine(store, booking, config=tuned(FAST, lease=timedelta(seconds=30))) as engine:
        handle = await engine.start(booking, "e")
        # The look of the worker is over, so that the next transaction is the body's.
        client.interruption.plan("COMMITTED", cut, times=lost)
        assert await handle.result("60s") == "entry 0"
        client.interruption.plan("COMMITTED", asyncio.Event().wait, times=0)
    rows = await client.query_raw("SELECT id FROM durable_buffered_events")
    assert rows == [{"id": "e-0"}]
