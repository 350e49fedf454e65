"""Databases that stop to answer: a client whose calls hang, and a network that carries nothing any more."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit


class Silence:
    """Which calls of a client get no answer.

    Attributes:
        begun: How many calls hang, or have hung.
    """

    def __init__(self) -> None:
        self.begun = 0
        self._left = 0
        self._about: Callable[[str], bool] = lambda _: True
        self._over = asyncio.Event()
        self._began = asyncio.Condition()

    def fall(self, times: int = 1, about: str = "") -> None:
        """The next calls whose statement holds this text get no answer."""
        self.begun, self._left = 0, times
        self._about = lambda text: about in text
        self._over = asyncio.Event()

    def end(self) -> None:
        self._left = 0
        self._over.set()

    async def meet(self, text: str) -> None:
        if self._left and self._about(text):
            self._left -= 1
            over = self._over
            async with self._began:
                self.begun += 1
                self._began.notify_all()
            await over.wait()

    async def has_begun(self, calls: int) -> None:
        """Return when so many calls hang."""
        async with self._began:
            await self._began.wait_for(lambda: self.begun >= calls)


def hanging(prisma: type[Any]) -> type[Any]:
    """A client that hangs when its `silence` says so: before a statement, and at the edges of a transaction."""

    class HangingPrisma(prisma):  # type: ignore[misc]
        silence = Silence()

        async def _execute(self, **options: Any) -> Any:
            await self.silence.meet(str(options["arguments"].get("query", options["method"])))
            return await super()._execute(**options)

        async def _execute_raw_batch(self, statements: Any) -> Any:
            await self.silence.meet("; ".join(text for text, *_ in statements))
            return await super()._execute_raw_batch(statements)

        def tx(self, **options: Any) -> Any:
            return _edges(super().tx(**options), self.silence)

    return HangingPrisma


@asynccontextmanager
async def _edges(transaction: Any, silence: Silence) -> AsyncIterator[Any]:
    await silence.meet("BEGIN")
    client = await transaction.__aenter__()
    try:
        yield client
    except BaseException as error:
        await silence.meet("ROLLBACK")
        await transaction.__aexit__(type(error), error, error.__traceback__)
        raise
    await silence.meet("COMMIT")
    await transaction.__aexit__(None, None, None)


class Network:
    """A proxy before a PostgreSQL server. What it does not carry is lost: no connection is closed, nothing is refused.

    Attributes:
        url: The server's URL by way of the proxy.
        connections: How many were opened so far.
        last: The one on which the client has sent something last.
    """

    def __init__(self, url: str) -> None:
        self._server = urlsplit(url)
        self.url = ""
        self.connections = 0
        self.last = 0
        self._dead: set[int] = set()
        self._all_dead = False
        self._pumps: set[asyncio.Task[None]] = set()

    def cut(self, *connections: int) -> None:
        """Carry nothing on these connections any more, counted from 0, or on any, new ones included."""
        self._dead |= set(connections)
        self._all_dead = not connections

    def mend(self) -> None:
        """New connections work again; what was lost stays so."""
        self._dead |= set(range(self.connections))
        self._all_dead = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Network"]:
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        user = f"{self._server.username}@" if self._server.username else ""
        self.url = urlunsplit(self._server._replace(netloc=f"{user}127.0.0.1:{port}"))
        try:
            yield self
        finally:
            server.close()
            for pump in self._pumps:
                pump.cancel()
            await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self.connections
        self.connections += 1
        host, port = self._server.hostname, self._server.port
        there, here = await asyncio.open_connection(host, port)
        for source, target in ((reader, here), (there, writer)):
            pump = asyncio.create_task(self._pump(number, source, target))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, number: int, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                self.last = number
                if not self._all_dead and number not in self._dead:
                    target.write(data)
                    await target.drain()
        except ConnectionError:
            pass
        finally:
            target.close()
