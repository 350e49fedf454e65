"""The base of the memory store's operations: the tables, and the limits of the store's scope."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager

from fastapi_durable.model.errors import StoreError
from fastapi_durable.model.records import Run, RunStatus, SignalWaiter
from fastapi_durable.store.memory.tables import Tables


class TableAccess(ABC):
    """Checkpoints and waiters belong to their run's namespace."""

    _scope: str | None

    @abstractmethod
    def _access(self) -> AbstractAsyncContextManager[Tables]:
        """Yield the tables, once this call may use them."""

    def _visible(self, tables: Tables, run_id: str) -> Run | None:
        row = tables.runs.get(run_id)
        return row if row is not None and self._scope in (None, row.namespace) else None

    def _touchable(self, tables: Tables, run_id: str) -> bool:
        return self._scope is None or self._visible(tables, run_id) is not None

    def _require_visible(self, tables: Tables, run_id: str) -> None:
        if not self._touchable(tables, run_id):
            raise StoreError(f"run {run_id!r} is not in namespace {self._scope!r}, to which this store is confined")

    def _visible_waiter(self, tables: Tables, token: str) -> SignalWaiter | None:
        waiter = tables.waiters.get(token)
        return waiter if waiter is not None and self._touchable(tables, waiter.run_id) else None

    def _runs(
        self, tables: Tables, statuses: Iterable[RunStatus] | None = None, namespace: str | None = None
    ) -> Iterable[Run]:
        groups = [tables.runs] if statuses is None else [tables.runs.group(status) for status in statuses]
        return (
            run
            for group in groups
            for run in group
            if namespace in (None, run.namespace) and self._scope in (None, run.namespace)
        )
