"""`LISTEN` and `NOTIFY` on a connection of their own.

The connection sends notifications after the commit, not inside the transaction that they report. PostgreSQL takes one
lock for the whole server when a transaction that notified commits, which would serialise every commit of all processes.
Notifications of a few milliseconds leave together, so a busy process costs the others little.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from fastapi_durable.model.errors import ConfigurationError
from fastapi_durable.wakeups.base import OnMessage, Publish, Topic, Wakeup
from fastapi_durable.wakeups.outbox import Outbox, wakeups_in

if TYPE_CHECKING:
    from prisma_inprocess.url import PostgresUrl

_log = logging.getLogger("fastapi_durable")

_GAP_SECONDS: Final = 0.005
_SILENCE_SECONDS: Final = 15.0
_ANSWER_SECONDS: Final = 5.0
_LONGEST_PAUSE_SECONDS: Final = 10.0
_FLUSH_SECONDS: Final = 0.5


class PostgresWakeups:
    """Notifications between processes, through their PostgreSQL server.

    Each process opens one connection in addition to the client's pool. The connection must reach the server itself:
    PgBouncer in transaction mode does not pass notifications on.

    Args:
        url: Address of the database, as the Prisma client has it. The client's own driver connects.
        channel: Name of the channel, the same in all processes. A notification never leaves its database.

    Raises:
        ConfigurationError: the URL is invalid.
    """

    def __init__(self, url: str, *, channel: str = "fastapi_durable") -> None:
        self._url = _parsed(url)
        self._channel = channel

    @asynccontextmanager
    async def joined(self, on_message: OnMessage) -> AsyncIterator[Publish]:
        """Take part while the block is open; see `Wakeups.joined`.

        Args:
            on_message: Function that receives each notification of the others.

        Yields:
            The function that publishes a notification.
        """
        participant = _Participant(self._url, self._channel, on_message)
        task = asyncio.create_task(participant.run(), name="durable wakeups")
        try:
            yield participant.publish
            # Other processes claim at once what this one released.
            await participant.flush(_FLUSH_SECONDS)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class _Participant:
    """One process that takes part."""

    def __init__(self, url: "PostgresUrl", channel: str, on_message: OnMessage) -> None:
        self._url = url
        self._channel = channel
        self._on_message = on_message
        # A wake-up is removed after it was sent, so a broken connection loses none.
        self._outbox = Outbox()
        self._wake = asyncio.Event()
        self._all_sent = asyncio.Event()

    def publish(self, wakeup: Wakeup) -> None:
        self._outbox.add(wakeup)
        self._all_sent.clear()
        self._wake.set()

    async def flush(self, seconds: float) -> None:
        """Wait until everything is sent, but not longer than `seconds`."""
        if self._outbox:
            try:
                async with asyncio.timeout(seconds):
                    await self._all_sent.wait()
            except TimeoutError:
                pass

    async def run(self) -> None:
        """Connect, exchange wake-ups, and connect again when the connection breaks."""
        # Imported here, because applications without wake-ups import this module too.
        from prisma_inprocess.drivers.postgresql_connection import connect

        failures = 0
        while True:
            try:
                connection = await connect(self._url)
                try:
                    await connection.add_listener(self._channel, self._received)
                    if failures:
                        _log.info("notifications from other processes arrive again")
                    failures = 0
                    # Notifications from before this process listened were missed, so poll once.
                    self._on_message(Wakeup(Topic.WORK))
                    await self._exchange(connection)
                finally:
                    connection.terminate()
            except Exception as error:  # polling replaces notifications after every error
                failures += 1
                if failures == 1:
                    _log.warning(
                        "notifications are interrupted, and polling continues: %s: %s", type(error).__name__, error
                    )
            pause = min(0.1 * 2 ** min(failures, 10), _LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause * (0.5 + random.random() / 2))  # noqa: S311 (jitter)

    async def _exchange(self, connection: Any) -> None:
        """Send what is in the outbox; raises when the connection is lost."""
        connection.add_termination_listener(lambda _: self._wake.set())
        while not connection.is_closed():
            self._wake.clear()
            if self._outbox:
                wakeups, message = self._outbox.next_message()
                await connection.execute("SELECT pg_notify($1, $2)", self._channel, message, timeout=_ANSWER_SECONDS)
                self._outbox.sent(wakeups)
                if not self._outbox:
                    self._all_sent.set()
                # Wake-ups that come meanwhile are sent together.
                await asyncio.sleep(_GAP_SECONDS)
                continue
            try:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                # A connection whose server vanished looks like an idle one.
                await connection.execute("SELECT 1", timeout=_ANSWER_SECONDS)
        raise ConnectionError("the server closed the connection")

    def _received(self, _connection: Any, _process: int, _channel: str, payload: object) -> None:
        for wakeup in wakeups_in(str(payload), except_from=self._outbox.name):
            self._on_message(wakeup)


def _parsed(url: str) -> "PostgresUrl":
    """Return the URL as the client's driver reads it, with the limits of this connection."""
    from prisma_inprocess import ConfigurationError as UrlError
    from prisma_inprocess.url import parse_postgres_url

    try:
        found = parse_postgres_url(url)
    except UrlError as error:
        raise ConfigurationError(str(error)) from error
    return replace(found, connect_timeout=_ANSWER_SECONDS, statement_timeout=None, statement_cache_size=0)
