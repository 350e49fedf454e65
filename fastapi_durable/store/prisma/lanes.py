"""Limits how many connections of the client's pool the store uses at the same time.

A thousand children that are created together are a thousand transactions. Without a limit, they would take every
connection, and later callers would wait behind all of them: they would get P2024, and leases would be lost. So calls
wait here instead, in order of arrival. One connection is left for the renewal of leases, which does not wait.
Transactions may take all other connections but one, so that single statements continue.
"""

import asyncio
from collections import deque
from datetime import timedelta
from itertools import count
from typing import NamedTuple

from fastapi_durable.model.errors import StoreUnavailableError


class Lane(NamedTuple):
    """A place that a call has taken, and must give back."""

    transaction: bool
    era: int


class _Waiting(NamedTuple):
    ticket: int
    admitted: "asyncio.Future[None]"


class Lanes:
    """The places for calls of one client, in one event loop.

    Args:
        total: How many calls may use a connection at a time. None: any number.
        transactions: How many of these may be transactions.
    """

    def __init__(self, total: int | None, transactions: int) -> None:
        self._total = total
        self._most_transactions = transactions
        self._loop: asyncio.AbstractEventLoop | None = None
        self._era = 0
        self._tickets = count()
        self._forget()

    @classmethod
    def of_pool(cls, connections: int) -> "Lanes":
        """Return the places for a pool whose connections can all write."""
        total = max(1, connections - 1)
        return cls(total, max(min(2, total), total - 1))

    @classmethod
    def of_one_writer(cls) -> "Lanes":
        """Return the places for a client in which one connection writes, and the others read. Writers queue in the
        client.
        """
        return cls(None, 1)

    async def enter(self, limit: timedelta, *, transaction: bool = False) -> Lane:
        """Take a place, which must be given back.

        Raises:
            StoreUnavailableError: no place became free for `limit`, for this call or for another.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # Calls of a closed loop never give their places back.
            self._loop = loop
            self._forget()
        if self._queues[transaction] or not self._has_place(transaction=transaction):
            await self._wait(loop, limit.total_seconds(), transaction=transaction)
        else:
            self._take(transaction=transaction)
        return Lane(transaction, self._era)

    def leave(self, lane: Lane) -> None:
        """Give a place back."""
        if lane.era != self._era or self._loop is None:
            return
        self._busy -= 1
        self._open -= lane.transaction
        self._moved = self._loop.time()
        self._admit()

    async def _wait(self, loop: asyncio.AbstractEventLoop, limit: float, *, transaction: bool) -> None:
        waiting = _Waiting(next(self._tickets), loop.create_future())
        self._queues[transaction].append(waiting)
        began = loop.time()
        try:
            while not (await asyncio.wait({waiting.admitted}, timeout=limit))[0]:
                # A long queue that advances is not an outage.
                if loop.time() - max(began, self._moved) >= limit:
                    raise StoreUnavailableError(
                        f"the database cannot be reached: none of the {self._busy} calls that may be under way at a "
                        f"time has ended for {limit:g} s"
                    )
        except BaseException:
            if waiting.admitted.done():
                self.leave(Lane(transaction, self._era))
            else:
                waiting.admitted.cancel()
            raise

    def _admit(self) -> None:
        """Give free places to the calls that have waited longest, as far as there are places of their kind."""
        while True:
            heads = []
            for transaction, queue in self._queues.items():
                while queue and queue[0].admitted.done():
                    queue.popleft()
                if queue and self._has_place(transaction=transaction):
                    heads.append((queue[0].ticket, transaction))
            if not heads:
                return
            _, transaction = min(heads)
            self._take(transaction=transaction)
            self._queues[transaction].popleft().admitted.set_result(None)

    def _has_place(self, *, transaction: bool) -> bool:
        return (self._total is None or self._busy < self._total) and (
            not transaction or self._open < self._most_transactions
        )

    def _take(self, *, transaction: bool) -> None:
        self._busy += 1
        self._open += transaction

    def _forget(self) -> None:
        self._era += 1
        self._busy = self._open = 0
        self._moved = float("-inf")
        self._queues: dict[bool, deque[_Waiting]] = {False: deque(), True: deque()}
