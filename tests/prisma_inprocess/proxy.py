"""A TCP proxy before PostgreSQL that cuts connections, falls silent, loses answers or is slow, as the test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """Passes everything on until it is told otherwise. Made by `proxy_before`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._parts = parts
        self._server: asyncio.Server | None = None
        self._links: list[_Link] = []
        self._is_silent = False
        # The answer to a message with this text is lost: its connection is cut when the answer has come.
        self._lost_answer: bytes | None = None

    @property
    def url(self) -> str:
        """The database's URL, through the proxy."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        user = f"{self._parts.username}@" if self._parts.username else ""
        return urlunsplit(self._parts._replace(netloc=f"{user}127.0.0.1:{port}"))

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*(link.ended.wait() for link in self._links))

    def cut(self) -> None:
        """Reset every connection."""
        for link in self._links:
            link.cut()

    def silence_open(self, first: int | None = None) -> None:
        """Let nothing more through on the connections that are open, or on the first of them; new ones work."""
        for link in self._links[:first]:
            link.is_silent = True

    def silence(self) -> None:
        """Let nothing more through at all."""
        self._is_silent = True
        self.silence_open()

    def speak(self) -> None:
        """Serve new connections again. Those that were silent stay so."""
        self._is_silent = False

    def delay_open(self) -> asyncio.Event:
        """Hold back what the connections that are open send to the server, until the event is set."""
        arrived = asyncio.Event()
        for link in self._links:
            link.passes = arrived
        return arrived

    def lose_answer_to(self, text: bytes) -> None:
        """Let the next message with this text reach the server, and its answer not come back."""
        self._lost_answer = text

    def take_lost_answer(self, message: bytes) -> bool:
        if self._lost_answer is None or self._lost_answer not in message:
            return False
        self._lost_answer = None
        return True

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self, writer)
        link.is_silent = self._is_silent
        self._links.append(link)
        try:
            await link.run(reader, self._target)
        finally:
            link.ended.set()


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = client
        self._server: asyncio.StreamWriter | None = None
        self._loses_answer = False
        self.is_silent = False
        self.passes = asyncio.Event()
        self.passes.set()
        self.ended = asyncio.Event()

    def cut(self) -> None:
        for writer in (self._client, self._server):
            if writer is not None:
                writer.transport.abort()

    async def run(self, reader: asyncio.StreamReader, target: tuple[str, int]) -> None:
        answers, self._server = await asyncio.open_connection(*target)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(self._ask(reader, self._server), self._answer(answers))
        self.cut()

    async def _ask(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while message := await reader.read(65536):
            if self.is_silent:
                continue
            await self.passes.wait()
            self._loses_answer = self._loses_answer or self._proxy.take_lost_answer(message)
            server.write(message)
        server.close()

    async def _answer(self, answers: asyncio.StreamReader) -> None:
        while message := await answers.read(65536):
            if self._loses_answer:
                self.cut()
                return
            if not self.is_silent:
                self._client.write(message)
        self._client.close()


@asynccontextmanager
async def proxy_before(url: str) -> AsyncIterator[Proxy]:
    """Run a proxy before the database of a URL."""
    proxy = Proxy(url)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
