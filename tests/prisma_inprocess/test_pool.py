"""The connection pool: who gets a connection when, and that none is ever lost."""

from __future__ import annotations

import asyncio
import random

import pytest

from prisma_inprocess.drivers.pool import Pool, PoolClosed


class Connection:
    """A connection that does nothing but remember what happened to it."""

    def __init__(self) -> None:
        self.is_good = True
        self.is_closed = False

    def usable(self) -> bool:
        return self.is_good and not self.is_closed

    async def close(self) -> None:
        self.is_closed = True

    def stop(self) -> None:
        self.is_closed = True


class Opener:
    """Opens connections: after a moment, or with an error when told so."""

    def __init__(self, delay: float = 0.0) -> None:
        self.opened: list[Connection] = []
        self.delay = delay
        self.fails = False

    async def __call__(self) -> Connection:
        await asyncio.sleep(self.delay)
        if self.fails:
            raise OSError("no way")
        connection = Connection()
        self.opened.append(connection)
        return connection


async def test_a_released_connection_is_used_again() -> None:
    opener = Opener()
    pool = Pool(opener, 2)
    first = await pool.acquire(1)
    pool.release(first)
    assert await pool.acquire(1) is first
    assert len(opener.opened) == 1


async def test_no_more_connections_than_the_limit() -> None:
    pool = Pool(Opener(), 2)
    held = [await pool.acquire(1), await pool.acquire(1)]
    with pytest.raises(TimeoutError):
        await pool.acquire(0.01)
    waiting = asyncio.create_task(pool.acquire(1))
    await asyncio.sleep(0)
    pool.release(held[0])
    assert await waiting is held[0]


async def test_a_connection_given_to_a_caller_that_is_cancelled_in_that_moment_is_not_lost() -> None:
    pool = Pool(Opener(), 1)
    connection = await pool.acquire(1)
    waiting = asyncio.create_task(pool.acquire(1))
    await asyncio.sleep(0)
    pool.release(connection)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await pool.acquire(0.1) is connection


async def test_waiters_are_served_in_order() -> None:
    pool = Pool(Opener(), 1)
    connection = await pool.acquire(1)
    served: list[int] = []

    async def wait(number: int) -> None:
        given = await pool.acquire(1)
        served.append(number)
        pool.release(given)

    waiters = [asyncio.create_task(wait(number)) for number in range(5)]
    await asyncio.sleep(0)
    pool.release(connection)
    await asyncio.gather(*waiters)
    assert served == [0, 1, 2, 3, 4]


async def test_a_discarded_connection_is_closed_and_its_place_is_free() -> None:
    opener = Opener()
    pool = Pool(opener, 1)
    connection = await pool.acquire(1)
    waiting = asyncio.create_task(pool.acquire(1))
    await asyncio.sleep(0)
    pool.discard(connection)
    assert await waiting is not connection
    assert connection.is_closed


async def test_a_connection_that_went_bad_is_replaced() -> None:
    opener = Opener()
    pool = Pool(opener, 1)
    connection = await pool.acquire(1)
    pool.release(connection)
    connection.is_good = False
    assert await pool.acquire(1) is not connection
    assert pool.open == 1


async def test_a_failed_opening_frees_its_place() -> None:
    opener = Opener()
    pool = Pool(opener, 1)
    opener.fails = True
    for _ in range(3):
        with pytest.raises(OSError, match="no way"):
            await pool.acquire(1)
    opener.fails = False
    await pool.acquire(1)
    assert (pool.open, pool.busy) == (1, 1)


async def test_a_connection_opened_for_a_cancelled_caller_goes_to_the_next() -> None:
    opener = Opener(delay=0.02)
    pool = Pool(opener, 1)
    caller = asyncio.create_task(pool.acquire(1))
    await asyncio.sleep(0.005)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await pool.acquire(1) is opener.opened[0]
    assert len(opener.opened) == 1


async def test_retired_connections_are_closed_and_new_ones_are_not() -> None:
    opener = Opener()
    pool = Pool(opener, 3)
    used = await pool.acquire(1)
    idle = await pool.acquire(1)
    pool.release(idle)
    pool.retire()
    fresh = await pool.acquire(1)
    assert idle.is_closed
    assert fresh not in (idle, used)
    pool.release(used)
    pool.release(fresh)
    assert await pool.acquire(1) is fresh
    await asyncio.sleep(0)
    assert used.is_closed
    assert (pool.open, pool.busy) == (1, 1)


async def test_a_pool_that_is_shut_while_it_opens_a_connection_closes_it() -> None:
    opener = Opener(delay=0.02)
    pool = Pool(opener, 1)
    caller = asyncio.create_task(pool.acquire(1))
    await asyncio.sleep(0.005)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    pool.shut()
    await pool.close()
    assert [connection.is_closed for connection in opener.opened] == [True]
    assert pool.open == 0


async def test_closing_turns_waiters_away_and_closes_what_comes_back() -> None:
    pool = Pool(Opener(), 1)
    connection = await pool.acquire(1)
    waiting = asyncio.create_task(pool.acquire(1))
    await asyncio.sleep(0)
    await pool.close()
    with pytest.raises(PoolClosed):
        await waiting
    with pytest.raises(PoolClosed):
        await pool.acquire(1)
    pool.release(connection)
    await asyncio.sleep(0)
    assert connection.is_closed


async def test_random_cancellation_loses_no_place() -> None:
    chance = random.Random(3)
    opener = Opener(delay=0.0005)
    pool = Pool(opener, 3)

    async def use() -> None:
        connection = await pool.acquire(None)
        try:
            await asyncio.sleep(chance.random() * 0.002)
        except asyncio.CancelledError:
            pool.discard(connection)
            raise
        pool.release(connection)

    async def one() -> None:
        task = asyncio.create_task(use())
        await asyncio.sleep(chance.random() * 0.003)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    await asyncio.gather(*(one() for _ in range(600)))
    await asyncio.sleep(0.01)
    assert pool.busy == 0
    held = [await pool.acquire(0.5) for _ in range(3)]
    assert len(set(map(id, held))) == 3
