"""Calls that are made at the same time are written together, and each gets the answer that it would get alone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from fastapi_durable.model.errors import LeaseLostError, SerializationError
from fastapi_durable.model.records import Checkpoint, Run, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import a_checkpoint, a_run, create
from fastapi_durable.store.port.checkpoints import RecordedCheckpoint
from tests.store.conftest import emptied, prisma_of
from tests.store.test_statements import counting

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANY = 64


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(module_url: str) -> AsyncIterator[Any]:
    async with counting(prisma_of(module_url))(datasource={"url": module_url}) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def store(client: Any) -> StateStore:
    store = await emptied(client)
    await create(store, *(driven(f"run-{n}") for n in range(MANY)))
    client.counted.statements.clear()
    return store


def driven(run_id: str) -> Run:
    return a_run(run_id, status=RunStatus.RUNNING, locked_by=f"token of {run_id}")


def result(number: int, output: Any = 1) -> Checkpoint:
    return a_checkpoint(0, run_id=f"run-{number}", output=output)


def record(store: StateStore, number: int, *, output: Any = 1, token: str | None = None) -> Any:
    return store.record_checkpoint(result(number, output), token=token or f"token of run-{number}")


async def test_many_checkpoints_are_few_statements(store: StateStore, client: Any) -> None:
    recorded = await asyncio.gather(*(record(store, n) for n in range(MANY)))
    assert all(each.won for each in recorded)
    # The first goes alone, the others gather behind it.
    assert len(client.counted.statements) == 2
    assert [await store.find_checkpoint(f"run-{n}", 0) for n in range(MANY)] == [each.checkpoint for each in recorded]


async def test_many_starts_are_few_statements(store: StateStore, client: Any) -> None:
    runs = [a_run(f"new-{n}", input=n, tags=("a", "b")) for n in range(MANY)]
    created = await asyncio.gather(*(store.create_run(run) for run in runs))
    assert all(each.created for each in created)
    assert len(client.counted.statements) == 2
    assert [each.run for each in created] == [await store.find_run(run.id) for run in runs] == runs


async def test_many_endings_are_few_statements(store: StateStore, client: Any) -> None:
    settled = await asyncio.gather(
        *(
            store.update_run(
                f"run-{n}",
                {"status": RunStatus.COMPLETED, "output": {"n": n}, "locked_by": None},
                statuses=[RunStatus.RUNNING],
                token=f"token of run-{n}",
                wake_count=0,
            )
            for n in range(MANY)
        )
    )
    assert settled == [True] * MANY
    assert len(client.counted.statements) == 2
    found = await asyncio.gather(*(store.find_run(f"run-{n}") for n in range(MANY)))
    assert [(run.status, run.output, run.locked_by) for run in found if run] == [
        (RunStatus.COMPLETED, {"n": n}, None) for n in range(MANY)
    ]
    assert len(client.counted.statements) == 4


async def test_many_histories_are_read_in_few_statements(store: StateStore, client: Any) -> None:
    await asyncio.gather(*(record(store, n, output=n) for n in range(MANY)))
    client.counted.statements.clear()
    histories = await asyncio.gather(*(store.read_history(f"run-{n}") for n in range(MANY)))
    assert [[row.read_output() for row in history] for history in histories] == [[n] for n in range(MANY)]
    assert not await store.read_history("none")
    assert len(client.counted.statements) == 3


async def test_who_lost_the_lease_writes_nothing_and_the_others_do(store: StateStore) -> None:
    answers = await asyncio.gather(
        *(record(store, n, token="another" if n % 3 == 0 else None) for n in range(MANY)), return_exceptions=True
    )
    assert [isinstance(answer, LeaseLostError) for answer in answers] == [n % 3 == 0 for n in range(MANY)]
    found = [await store.find_checkpoint(f"run-{n}", 0) is not None for n in range(MANY)]
    assert found == [n % 3 != 0 for n in range(MANY)]


async def test_of_two_results_of_one_position_the_first_is_kept(store: StateStore) -> None:
    await record(store, 5, output="first")
    answers = await asyncio.gather(*(record(store, n % 8, output=f"late {n}") for n in range(MANY)))
    for number in range(8):
        stored = await store.find_checkpoint(f"run-{number}", 0)
        mine = [answer for n, answer in enumerate(answers) if n % 8 == number]
        assert all(answer.checkpoint == stored for answer in mine)
        assert sum(answer.won for answer in mine) == (0 if number == 5 else 1)
    assert answers[5].checkpoint.output == "first"


async def test_of_many_starts_of_one_id_one_creates_the_run(store: StateStore) -> None:
    answers = await asyncio.gather(*(store.create_run(a_run(f"new-{n % 4}", input=n)) for n in range(MANY)))
    for number in range(4):
        mine = [answer for n, answer in enumerate(answers) if n % 4 == number]
        assert sum(answer.created for answer in mine) == 1
        assert {answer.run.input for answer in mine} == {mine[0].run.input}


async def test_guards_hold_for_each_update_of_a_batch(store: StateStore) -> None:
    answers = await asyncio.gather(
        *(
            store.update_run(
                f"run-{n}",
                {"status": RunStatus.SUSPENDED},
                statuses=[RunStatus.RUNNING if n % 2 else RunStatus.PENDING],
                token=f"token of run-{n if n % 3 else 'none'}",
                wake_count=0 if n % 5 else 7,
            )
            for n in range(MANY)
        )
    )
    assert answers == [bool(n % 2 and n % 3 and n % 5) for n in range(MANY)]
    found = await asyncio.gather(*(store.find_run(f"run-{n}") for n in range(MANY)))
    assert [run is not None and run.status is RunStatus.SUSPENDED for run in found] == answers


async def test_a_scope_holds_in_batches(store: StateStore) -> None:
    elsewhere = store.with_scope("elsewhere")
    answers = await asyncio.gather(
        *((elsewhere if n % 2 else store).update_run(f"run-{n}", {"status": RunStatus.BLOCKED}) for n in range(MANY)),
        *((elsewhere if n % 2 else store).find_run(f"run-{n}") for n in range(MANY)),
    )
    assert answers[:MANY] == [n % 2 == 0 for n in range(MANY)]
    assert [run is not None for run in answers[MANY:]] == [n % 2 == 0 for n in range(MANY)]


async def test_values_come_back_from_a_batch_as_they_are_stored(store: StateStore) -> None:
    values: list[Any] = [
        None,
        0,
        "text",
        "",
        True,
        1.5,
        1e300,
        -0.0,
        {"b": 1, "aa": [2.0, None]},
        [],
        "é\n\\u0000",
        2**70,
    ]
    values *= 3
    written = await asyncio.gather(*(record(store, n, output=value) for n, value in enumerate(values)))
    for number, answer in enumerate(written):
        stored = await store.find_checkpoint(f"run-{number}", 0)
        assert stored is not None
        assert repr(answer.checkpoint.output) == repr(stored.output)


async def test_a_value_that_cannot_be_stored_fails_its_own_call_only(store: StateStore, module_url: str) -> None:
    # PostgreSQL finds it only when the batch is written.
    bad = "\x00" if module_url.startswith("postgres") else float("nan")
    outputs = [bad if n == 7 else n for n in range(MANY)]
    answers = await asyncio.gather(*(record(store, n, output=outputs[n]) for n in range(MANY)), return_exceptions=True)
    assert isinstance(answers[7], SerializationError)
    assert all(isinstance(answer, RecordedCheckpoint) for n, answer in enumerate(answers) if n != 7)


async def test_a_caller_that_is_cancelled_takes_nobody_along(store: StateStore) -> None:
    calls = [asyncio.create_task(record(store, n)) for n in range(MANY)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(answer, RecordedCheckpoint) for answer in answers[1::2])
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[::2])
    # Nothing is stuck: the next ones are answered.
    assert (await record(store, 0, output=2)).checkpoint is not None


async def test_a_caller_that_is_cancelled_finds_what_its_batch_wrote(store: StateStore) -> None:
    """When the cancellation is over, so is the batch: nothing is written after a look."""
    calls = [asyncio.create_task(record(store, n)) for n in range(MANY)]
    await calls[0]
    calls[1].cancel()
    await asyncio.wait([calls[1]])
    found = await store.find_checkpoint("run-1", 0)
    await asyncio.gather(*calls, return_exceptions=True)
    assert await store.find_checkpoint("run-1", 0) == found


async def test_a_batch_that_nobody_waits_for_any_more_leaves_the_group_usable(store: StateStore) -> None:
    calls = [asyncio.create_task(record(store, n)) for n in range(MANY)]
    await calls[0]
    for call in calls[1:]:
        call.cancel()
    await asyncio.gather(*calls[1:], return_exceptions=True)
    answers = await asyncio.gather(*(record(store, n, output=2) for n in range(MANY)))
    assert len(answers) == MANY


async def records(store: StateStore, number: int) -> bool:
    return bool((await record(store, number)).won)


async def ends(store: StateStore, number: int) -> bool:
    return await store.update_run(
        f"run-{number}", {"status": RunStatus.COMPLETED}, statuses=[RunStatus.RUNNING], token=f"token of run-{number}"
    )


@pytest.mark.postgres
@pytest.mark.parametrize("write", [records, ends])
async def test_a_locked_run_holds_up_its_own_call_only(
    write: Callable[[StateStore, int], Awaitable[bool]], store: StateStore, module_url: str
) -> None:
    if not module_url.startswith("postgres"):
        pytest.skip("SQLite has one writer: everybody waits")
    async with store.transaction(timeout=timedelta(minutes=2)) as transaction:
        await transaction.lock_run("run-7")
        calls = [asyncio.ensure_future(write(store, n)) for n in range(MANY)]
        others = [call for n, call in enumerate(calls) if n != 7]
        assert all(await asyncio.wait_for(asyncio.gather(*others), 60))
        assert not calls[7].done()
    assert await calls[7]
