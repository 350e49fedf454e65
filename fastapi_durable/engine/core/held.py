"""A kernel for one open transaction: its writes are part of the transaction, and its notifications wait for the commit.

Before the commit, other processes could not find what the notifications report, and after a rollback there is nothing
to report. A run is not leased to this process before the commit either: an uncommitted lease protects nothing. The
worker of this process is notified with all others.
"""

from dataclasses import replace
from datetime import datetime
from functools import partial

from fastapi_durable.engine.core.dispatch import LocalWorker
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.core.live_events import LiveEvent, LiveEvents
from fastapi_durable.engine.core.notifications import Notifications
from fastapi_durable.model.records import Run
from fastapi_durable.store.base import StoreTransaction


def kernel_within(kernel: Kernel, transaction: StoreTransaction) -> Kernel:
    """Return the same kernel for a transaction that is open."""
    return replace(
        kernel,
        store=transaction,
        is_within_transaction=True,
        notifications=_HeldNotifications(kernel.notifications, transaction),
        events=_HeldEvents(kernel.events, transaction),
        local_worker=LocalWorker(),
        # A copy, because the transaction may roll back the queues that it declares.
        namespaces_with_queues=set(kernel.namespaces_with_queues),
    )


class _HeldNotifications(Notifications):
    def __init__(self, outer: Notifications, transaction: StoreTransaction) -> None:
        super().__init__()
        self._outer = outer
        self._transaction = transaction

    def work_available(self) -> None:
        self._transaction.after_commit(self._outer.work_available)

    def wake_planned(self, at: datetime) -> None:
        self._transaction.after_commit(partial(self._outer.wake_planned, at))

    def delivered(self, run_id: str) -> None:
        self._transaction.after_commit(partial(self._outer.delivered, run_id))

    def run_cancelled(self, run_id: str) -> None:
        self._transaction.after_commit(partial(self._outer.run_cancelled, run_id))

    def run_finished(self, run_id: str, run: Run | None = None) -> None:
        self._transaction.after_commit(partial(self._outer.run_finished, run_id, run))


class _HeldEvents(LiveEvents):
    def __init__(self, outer: LiveEvents, transaction: StoreTransaction) -> None:
        super().__init__(outer.clock)
        self._outer = outer
        self._transaction = transaction

    @property
    def are_heard(self) -> bool:
        return self._outer.are_heard

    def pass_on(self, event: LiveEvent) -> None:
        self._transaction.after_commit(partial(self._outer.pass_on, event))
