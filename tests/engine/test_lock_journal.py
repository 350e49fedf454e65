"""What the journal of locks finds, whether or not the transactions of a test meet."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from fastapi_durable.model.records import (
    BufferedEvent,
    Checkpoint,
    CheckpointKind,
    CheckpointStatus,
    Run,
    RunQuery,
    RunStatus,
    ScheduleState,
    SignalWaiter,
)
from fastapi_durable.store.base import StateStore, StoreTransaction
from tests.support.lock_journal import LockJournal

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GATE = "singleton:7.default:4.flow:3.key"

Work = Callable[[StoreTransaction], Awaitable[object]]


@pytest.fixture
def locks_are_kept() -> None:
    """Not here: these tests break the rules, and look at what a journal of their own finds."""


async def done(store: StateStore, *works: Work, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The faults of transactions, one after the other, that do these works on three runs."""
    for run_id in ("a", "b", "c"):
        run = Run(id=run_id, workflow="flow", workflow_version="1", created_at=NOW, updated_at=NOW)
        await store.create_run(run)
    journal = LockJournal()
    with monkeypatch.context() as patch:
        journal.watch(patch.setattr)
        for work in works:
            async with store.transaction() as transaction:
                await work(transaction)
    return journal.faults


def locking(*names: str, runs: str = "") -> Work:
    async def work(transaction: StoreTransaction) -> None:
        for name in names:
            await transaction.lock_name(name)
        for run_id in runs:
            await transaction.lock_run(run_id)

    return work


def checkpoint(run_id: str) -> Checkpoint:
    return Checkpoint(
        run_id=run_id,
        seq=0,
        name="signal:go",
        kind=CheckpointKind.SIGNAL,
        status=CheckpointStatus.COMPLETED,
        step_id=f"{run_id}:0",
        started_at=NOW,
        finished_at=NOW,
    )


def waiter(token: str) -> SignalWaiter:
    return SignalWaiter(token=token, run_id="a", seq=0)


LACKS: dict[str, tuple[Work, Work]] = {
    "waits for a signal": (lambda tx: tx.put_signal_waiter(waiter("go")), locking("signal:go")),
    "waits for a child": (lambda tx: tx.put_signal_waiter(waiter("child:b")), locking("child:b")),
    "waits for a child that is locked": (lambda tx: tx.put_signal_waiter(waiter("child:b")), locking(runs="b")),
    "waits for an event": (lambda tx: tx.put_signal_waiter(waiter("event:cGFpZA==:e30=:a")), locking("event:paid")),
    "waits for a callback": (lambda tx: tx.put_signal_waiter(waiter("wh:a:0:secret")), locking(runs="a")),
    "takes a slot": (lambda tx: tx.put_signal_waiter(waiter(f"{GATE}:slot:0")), locking(GATE)),
    "gives up a slot": (lambda tx: tx.remove_signal_waiter(waiter(f"{GATE}:slot:0")), locking(GATE)),
    "looks who waits at a gate": (lambda tx: tx.list_signal_waiters(prefix=f"{GATE}:queue:"), locking(GATE)),
    "looks who waits for an event": (
        lambda tx: tx.list_signal_waiters(prefix="event:cGFpZA==:"),
        locking("event:paid"),
    ),
    "looks who waits for a signal": (lambda tx: tx.find_signal_waiter("go"), locking("signal:go")),
    "takes whoever waits for a child": (lambda tx: tx.take_signal_waiter("child:b"), locking("child:b")),
    "takes a waiter away": (lambda tx: tx.remove_signal_waiter(waiter("go")), locking(runs="a")),
    "keeps a signal": (lambda tx: tx.buffer_signal("@4.acme:go", 1, now=NOW), locking("signal:go")),
    "takes a signal": (lambda tx: tx.take_buffered_signal("go"), locking("signal:go")),
    "keeps an event": (
        lambda tx: tx.buffer_event(BufferedEvent(id="1", name="@4.acme:paid", published_at=NOW)),
        locking("event:paid"),
    ),
    "looks for an event": (lambda tx: tx.list_buffered_events("published:paid:1"), locking("event:paid")),
    "counts the runs of a key": (lambda tx: tx.count_runs(RunQuery(tag="singleton:key")), locking(GATE)),
    "counts the runs of a schedule": (
        lambda tx: tx.count_runs(RunQuery(tag="sched:nightly")),
        locking("schedule:nightly"),
    ),
    "changes a schedule": (
        lambda tx: tx.save_schedule(ScheduleState(id="nightly", last_window=NOW, updated_at=NOW)),
        locking("schedule:nightly"),
    ),
    "reads a schedule": (lambda tx: tx.find_schedule("nightly"), locking("schedule:nightly")),
    "ends a run": (
        lambda tx: tx.update_run("a", {"status": RunStatus.FAILED}, statuses=[RunStatus.PENDING]),
        locking("child:a"),
    ),
    "changes a run without a guard": (lambda tx: tx.update_run("a", {"wake_at": NOW}), locking(runs="a")),
    "delivers": (lambda tx: tx.record_checkpoint(checkpoint("a")), locking(runs="a")),
    "changes a history": (lambda tx: tx.remove_checkpoints("a", [0]), locking(runs="a")),
    "deletes a run": (lambda tx: tx.delete_run("a"), locking(runs="a")),
}


@pytest.mark.parametrize("what", LACKS)
async def test_a_write_is_a_fault_without_its_lock_and_none_with_it(
    what: str, store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, lock = LACKS[what]

    async def locked(transaction: StoreTransaction) -> None:
        await lock(transaction)
        await write(transaction)

    assert await done(store, locked, monkeypatch=monkeypatch) == []
    assert len(await done(store, write, monkeypatch=monkeypatch)) == 1


@pytest.mark.parametrize(
    ("works", "faults"),
    [
        pytest.param([locking("a", "b", runs="ab")], 0, id="names, then runs"),
        pytest.param([locking("a", "b", "a")], 0, id="a name again"),
        pytest.param([locking("b", "a")], 1, id="names the wrong way round"),
        pytest.param([locking(runs="ab"), locking(runs="abc")], 0, id="runs in one order"),
        pytest.param([locking(runs="ab"), locking(runs="ba")], 1, id="runs in both orders"),
        pytest.param([locking("x", runs="ab"), locking("x", runs="ba")], 0, id="kept apart by a name"),
        pytest.param([locking(runs="cab"), locking(runs="cba")], 0, id="kept apart by a run"),
        pytest.param([locking("x", runs="ab"), locking("y", runs="ba")], 1, id="each behind a name of its own"),
    ],
)
async def test_locks_have_one_order(
    works: list[Work], faults: int, store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(await done(store, *works, monkeypatch=monkeypatch)) == faults


async def test_a_name_comes_before_every_run_but_the_one_that_closes_rings(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(transaction: StoreTransaction) -> None:
        await transaction.lock_run("a")
        await transaction.lock_name("rings:default")
        await transaction.lock_name("child:a")

    assert await done(store, late, monkeypatch=monkeypatch) == [
        "name 'child:a' is locked behind the runs ['a']",
        "name 'child:a' is locked behind 'rings:default'",
    ]
