"""The interactive transactions of one client: found by their ids, and ended when their time is up."""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from prisma_inprocess.drivers.base import Transaction
from prisma_inprocess.errors import EngineError, Fault, not_connected

# How many of the transactions that were ended from here are remembered with the reason.
_REMEMBERED: Final = 1000
# A COMMIT waits for its answer as long as the transaction was given, and not less than this.
_END_SECONDS: Final = 5.0
_COMMIT_SECONDS: Final = 10.0
_NOT_FOUND: Final = (
    "Transaction already closed: Transaction not found. Transaction ID is invalid, refers to an old closed "
    "transaction Prisma doesn't have information about anymore, or was obtained before disconnecting."
)
# Makes the error for what a caller attempts ("query", "commit") with a transaction that was ended.
_Reason = Callable[[str], EngineError]


@dataclass(slots=True, eq=False)
class _Open:
    transaction: Transaction
    timer: asyncio.TimerHandle
    seconds: float
    when_ended: list[Callable[[bool], None]] = field(default_factory=list)

    def tell(self, *, committed: bool) -> None:
        calls, self.when_ended = self.when_ended, []
        for call in calls:
            call(committed)


# The transactions that this task, or a task that created it, has begun.
_begun: ContextVar[tuple[_Open, ...]] = ContextVar("prisma_inprocess_transactions", default=())


class OpenTransactions:
    """The open transactions of one client. Each is ended when its time is up, whatever its caller does."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._ended: OrderedDict[str, _Reason] = OrderedDict()
        # Strong references: asyncio keeps only weak ones to its tasks.
        self._endings: set[asyncio.Task[None]] = set()

    def add(self, transaction: Transaction, seconds: float) -> str:
        """Keep a transaction for that many seconds. Returns its id."""
        transaction_id = uuid.uuid4().hex
        timer = asyncio.get_running_loop().call_later(seconds, self._expire, transaction_id, seconds)
        opened = self._open[transaction_id] = _Open(transaction, timer, seconds)
        _begun.set((*self._held(), opened))
        return transaction_id

    def get(self, transaction_id: str) -> Transaction:
        """The transaction. Raises: EngineError that says why it is over."""
        opened = self._open.get(transaction_id)
        if opened is None:
            raise self._closed(transaction_id, "query")
        return opened.transaction

    def when_ended(self, transaction_id: str, call: Callable[[bool], None]) -> None:
        """Call this when the transaction is over, with whether its commit was confirmed. It must not raise.

        Raises:
            EngineError: it is over already.
        """
        opened = self._open.get(transaction_id)
        if opened is None:
            raise self._closed(transaction_id, "query")
        opened.when_ended.append(call)

    def is_held_by_caller(self) -> bool:
        """Whether the caller began one of the open transactions."""
        return bool(self._held())

    async def commit(self, transaction_id: str) -> None:
        opened = self._take(transaction_id)
        if opened is None:
            raise self._closed(transaction_id, "commit")
        committed = False
        try:
            await opened.transaction.commit(within=max(opened.seconds, _COMMIT_SECONDS))
            committed = True
        finally:
            opened.tell(committed=committed)

    async def roll_back(self, transaction_id: str) -> None:
        opened = self._take(transaction_id)
        if opened is not None:
            opened.tell(committed=False)
            await opened.transaction.rollback()
        elif transaction_id not in self._ended:  # otherwise it is rolled back, and the caller is about to learn why
            raise self._closed(transaction_id, "rollback")

    async def end_all(self) -> None:
        """Roll back everything, because the client disconnects; wait, within a limit, for what ends already."""
        await asyncio.gather(*(self._end(transaction_id, _disconnected) for transaction_id in list(self._open)))
        if self._endings:
            # A statement that ran out of time may still have to be stopped in the server.
            await asyncio.wait(self._endings, timeout=_END_SECONDS)

    def _held(self) -> tuple[_Open, ...]:
        mine = self._open.values()
        return tuple(opened for opened in _begun.get() if opened in mine)

    def _closed(self, transaction_id: str, attempt: str) -> EngineError:
        reason = self._ended.get(transaction_id)
        if reason is not None:
            return reason(attempt)
        return EngineError(_NOT_FOUND, "P2028", fault=Fault.TRANSACTION_CLOSED)

    def _take(self, transaction_id: str) -> _Open | None:
        opened = self._open.pop(transaction_id, None)
        if opened is not None:
            opened.timer.cancel()
        return opened

    def _expire(self, transaction_id: str, seconds: float) -> None:
        task = asyncio.get_running_loop().create_task(self._end(transaction_id, partial(_expired, seconds)))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _end(self, transaction_id: str, reason: _Reason) -> None:
        opened = self._take(transaction_id)
        if opened is None:
            return
        opened.tell(committed=False)
        self._ended[transaction_id] = reason
        while len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
        await opened.transaction.abandon(reason("query"))


def _expired(seconds: float, attempt: str) -> EngineError:
    timeout = round(seconds * 1000)
    message = (
        f"Transaction already closed: A {attempt} cannot be executed on an expired transaction. The timeout for "
        f"this transaction was {timeout} ms. Consider increasing the interactive transaction timeout or doing less "
        "work in the transaction."
    )
    meta = {"operation": attempt, "timeout": timeout}
    return EngineError(message, "P2028", meta, fault=Fault.TRANSACTION_EXPIRED)


def _disconnected(_: str) -> EngineError:
    return not_connected()
