"""PrismaStateStore keeps the contract on PostgreSQL, on a client that was generated when the checkout was set up."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from example_app.clients.postgresql import Prisma
from fastapi_durable.declare.queue import QueueState
from fastapi_durable.model.records import BufferedSignal, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract import StateStoreContract
from fastapi_durable.store.contract.suite.builders import a_checkpoint, a_run, at, create, existing
from fastapi_durable.store.prisma import PrismaStateStore
from tests.store.conftest import emptied
from tests.support.crossing import crossing

pytestmark = [pytest.mark.postgres, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(module_postgres_url: str) -> AsyncIterator[Prisma]:
    async with Prisma(datasource={"url": module_postgres_url}) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def other_client(module_postgres_url: str) -> AsyncIterator[Prisma]:
    """Another client, with connections of its own, as another process would have."""
    async with Prisma(datasource={"url": module_postgres_url}) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def store(client: Prisma) -> StateStore:
    return await emptied(client)


@pytest.fixture
def other_store(other_client: Prisma) -> StateStore:
    return PrismaStateStore(other_client)


class TestPrismaOnPostgresql(StateStoreContract):
    @pytest.fixture
    def other_store(self, other_client: Prisma) -> StateStore:
        return PrismaStateStore(other_client)


async def test_a_claim_passes_by_what_an_open_transaction_has_claimed(
    store: StateStore, other_store: StateStore
) -> None:
    """It neither waits nor takes the same runs."""
    await create(store, *(a_run(f"run-{number}", created_at=at(number)) for number in range(4)))
    async with store.transaction() as transaction:
        first = await transaction.claim_runs("one", now=at(9), until=at(60), limit=2)
        async with asyncio.timeout(60):
            second = await other_store.claim_runs("two", now=at(9), until=at(60), limit=9)
    assert [run.id for run in first] == ["run-0", "run-1"]
    assert [run.id for run in second] == ["run-2", "run-3"]
    assert (await existing(store, "run-0")).locked_by == "one"


async def test_leases_that_are_prolonged_wait_for_no_run_that_is_locked(
    store: StateStore, other_store: StateStore
) -> None:
    """It may be this very process, whose event loop is blocked, that holds the lock. A claim passes the run by, too."""
    leased = {"status": RunStatus.RUNNING, "locked_by": "one", "locked_until": at(10)}
    await create(store, *(a_run(f"run-{number}", **leased) for number in range(3)))
    async with store.transaction() as transaction:
        await transaction.lock_run("run-1")
        async with asyncio.timeout(60):
            prolonged = await other_store.prolong_leases(["one"], until=at(99))
            assert await other_store.claim_runs("two", now=at(50), until=at(60), limit=9) == []
    assert sorted(prolonged) == ["run-0", "run-2"]
    assert (await existing(store, "run-1")).locked_until == at(10)


@pytest.mark.parametrize("commit", [True, False])
async def test_whoever_takes_a_signal_waits_for_an_open_transaction_that_took_one(
    store: StateStore, other_store: StateStore, commit: bool
) -> None:
    """So a signal that is given back is not overlooked, and the next one is found when it is not."""
    for number in (1, 2):
        await store.buffer_signal("t", number, now=at(0))

    async def take_first() -> asyncio.Task[BufferedSignal | None]:
        async with store.transaction() as transaction:
            assert await transaction.take_buffered_signal("t") is not None
            waiting = asyncio.create_task(other_store.take_buffered_signal("t"))
            done, _ = await asyncio.wait([waiting], timeout=0.2)
            assert not done
            if not commit:
                raise KeyError(waiting)
        return waiting

    try:
        waiting = await take_first()
    except KeyError as undone:
        waiting = undone.args[0]
    signal = await waiting
    assert signal is not None
    assert signal.payload == (2 if commit else 1)


async def test_a_claim_from_a_queue_waits_for_the_one_before_it_and_leaves_the_queue_to_that(
    store: StateStore, other_store: StateStore, module_postgres_url: str
) -> None:
    """The places were counted before it, and the one before may have taken other runs."""
    await store.save_queue(QueueState(id="q", namespace="default", name="q", concurrency=1, updated_at=at(0)))
    await create(store, a_run(queue="q"))
    async with crossing(module_postgres_url, 2) as meeting, store.transaction() as transaction:
        client: Any = transaction.client
        await client.execute_raw("UPDATE durable_queues SET claims = claims + 1")
        claiming = asyncio.create_task(other_store.claim_queued_runs("t", now=at(9), until=at(60), limit=9))
        await meeting.come()
    assert (await claiming).runs == []
    assert (await existing(store, "run-1")).locked_by is None
    assert meeting.waited == 1, "they did not meet"


async def test_an_ending_that_carries_results_waits_for_a_locked_run(
    store: StateStore, other_store: StateStore, module_postgres_url: str
) -> None:
    await create(store, a_run(status=RunStatus.RUNNING, locked_by="mine", locked_until=at(99)))
    await other_store.ping()
    carried = other_store.prepare_checkpoint(a_checkpoint(0))
    assert carried is not None
    async with crossing(module_postgres_url, 2) as meeting, store.transaction() as transaction:
        await transaction.lock_run("run-1")
        ending = asyncio.create_task(
            other_store.update_run("run-1", {"status": RunStatus.COMPLETED}, token="mine", checkpoints=[carried])
        )
        await asyncio.wait({ending, asyncio.create_task(meeting.come())}, return_when=asyncio.FIRST_COMPLETED)
        assert not ending.done()
    assert await ending
    assert await store.find_checkpoint("run-1", 0) is not None


async def test_a_lease_is_not_taken_while_a_checkpoint_is_being_written_under_it(
    store: StateStore, other_store: StateStore
) -> None:
    """Checkpoints of the same run do not wait for each other."""
    await create(store, a_run(status=RunStatus.RUNNING, locked_by="old", locked_until=at(1)))
    async with store.transaction() as transaction:
        await transaction.record_checkpoint(a_checkpoint(0), token="old")
        async with asyncio.timeout(60):
            await other_store.record_checkpoint(a_checkpoint(1), token="old")
        assert await other_store.claim_runs("new", now=at(2), until=at(60), limit=1) == []
    assert await other_store.claim_runs("new", now=at(2), until=at(60), limit=1)
    assert len(await store.list_checkpoints("run-1")) == 2


async def test_a_locked_run_can_be_read_by_others_and_waits_for_its_change(
    store: StateStore, other_store: StateStore
) -> None:
    await create(store, a_run())
    async with store.transaction() as transaction:
        await transaction.lock_run("run-1")
        async with asyncio.timeout(60):
            assert await other_store.find_run("run-1") == a_run()
        changing = asyncio.create_task(other_store.update_run("run-1", {"output": 1}))
        done, _ = await asyncio.wait([changing], timeout=0.2)
        assert not done
    assert await changing


async def test_a_locked_name_makes_only_its_own_callers_wait(store: StateStore, other_store: StateStore) -> None:
    async def lock(name: str) -> None:
        async with other_store.transaction() as transaction:
            await transaction.lock_name(name)

    async with store.transaction() as transaction:
        await transaction.lock_name("singleton:x")
        async with asyncio.timeout(60):
            await lock("singleton:y")
        waiting = asyncio.create_task(lock("singleton:x"))
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
    await waiting
