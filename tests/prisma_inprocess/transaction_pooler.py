"""A pooler in transaction mode before PostgreSQL, as PgBouncer is one: many clients share a few server connections.

A client has a server connection from its first message until the server is ready, outside of a transaction. Which one
it gets next is the test's choice.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

_SSL_REQUEST: Final = 80877103
_IDLE: Final = b"I"
# In the place of a message: the client is gone.
_END: Final = b"X"
# Parameters that PgBouncer knows; it refuses all others.
_KNOWN: Final = frozenset(("user", "database", "client_encoding", "application_name", "datestyle", "timezone"))


class _ServerConnection:
    """One connection to PostgreSQL, which one client has at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.turn = asyncio.Lock()

    @classmethod
    async def open(cls, url: str) -> _ServerConnection:
        # asyncpg authenticates; afterwards the socket is ours.
        connection = await asyncpg.connect(url)
        connection._transport.pause_reading()
        own = socket.socket(fileno=os.dup(connection._transport.get_extra_info("socket").fileno()))
        connection._transport.abort()
        own.setblocking(False)
        return cls(*await asyncio.open_connection(sock=own))


class TransactionPooler:
    """The pooler. Made by `transaction_pooler`.

    Attributes:
        choice: Which server connection the next transactions of all clients get; None for each in turn.
    """

    def __init__(self, url: str, servers: int) -> None:
        self._parts = urlsplit(url)
        self._count = servers
        self._servers: list[_ServerConnection] = []
        self._listening: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._turns = 0
        self.choice: int | None = None

    @property
    def url(self) -> str:
        """The database's URL, through the pooler."""
        assert self._listening is not None
        port = self._listening.sockets[0].getsockname()[1]
        return urlunsplit(self._parts._replace(netloc=f"postgres@127.0.0.1:{port}"))

    async def start(self) -> None:
        target = urlunsplit(self._parts)
        self._servers = [await _ServerConnection.open(target) for _ in range(self._count)]
        self._listening = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._listening is not None
        self._listening.close()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        for server in self._servers:
            server.writer.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                if await _greet(reader, writer):
                    await self._serve(reader, writer)
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        messages: asyncio.Queue[bytes] = asyncio.Queue()
        reading = asyncio.create_task(_read(reader, messages))
        try:
            while (message := await messages.get()) != _END:
                server = self._servers[self._next() if self.choice is None else self.choice]
                async with server.turn:
                    await _transaction(message, messages, writer, server)
        finally:
            reading.cancel()

    def _next(self) -> int:
        self._turns += 1
        return self._turns % self._count


async def _transaction(
    message: bytes, messages: asyncio.Queue[bytes], writer: asyncio.StreamWriter, server: _ServerConnection
) -> None:
    """Pass messages on, both ways, until the server has answered everything and is outside of a transaction."""
    unanswered = 0
    next_one = asyncio.create_task(messages.get())
    answer = asyncio.create_task(_message(server.reader))
    try:
        while message != _END:
            if message:
                server.writer.write(message)
                unanswered += message[:1] in (b"S", b"Q")
                message = b""
            await asyncio.wait((next_one, answer), return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                writer.write(answer.result())
                unanswered -= answer.result()[:1] == b"Z"
                if answer.result()[:1] == b"Z" and not unanswered and answer.result()[5:] == _IDLE:
                    return
                answer = asyncio.create_task(_message(server.reader))
            if next_one.done():
                message = next_one.result()
                next_one = asyncio.create_task(messages.get())
    finally:
        answer.cancel()
        if next_one.done():
            messages.put_nowait(next_one.result())
        next_one.cancel()


async def _read(reader: asyncio.StreamReader, messages: asyncio.Queue[bytes]) -> None:
    try:
        while (message := await _message(reader))[:1] != b"X":
            messages.put_nowait(message)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    messages.put_nowait(_END)


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Answer a client's startup as PgBouncer does. Returns whether it may go on."""
    while True:
        [length] = struct.unpack("!i", await reader.readexactly(4))
        body = await reader.readexactly(length - 4)
        if struct.unpack("!i", body[:4]) != (_SSL_REQUEST,):
            break
        writer.write(b"N")
    words = body[4:].rstrip(b"\0").split(b"\0")
    unknown = {word.decode() for word in words[::2]} - _KNOWN
    if unknown:
        text = f"unsupported startup parameter: {unknown.pop()}"
        fields = b"SFATAL\0VFATAL\0C08P01\0M" + text.encode() + b"\0\0"
        writer.write(b"E" + struct.pack("!i", len(fields) + 4) + fields)
        await writer.drain()
        return False
    writer.write(b"R" + struct.pack("!ii", 8, 0))
    for name, value in (("server_version", "16.0"), ("client_encoding", "UTF8"), ("standard_conforming_strings", "on")):
        pair = f"{name}\0{value}\0".encode()
        writer.write(b"S" + struct.pack("!i", len(pair) + 4) + pair)
    writer.write(b"K" + struct.pack("!iii", 12, 1, 1))
    writer.write(b"Z" + struct.pack("!i", 5) + _IDLE)
    await writer.drain()
    return True


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    [length] = struct.unpack("!i", head[1:])
    return head + await reader.readexactly(length - 4)


@asynccontextmanager
async def transaction_pooler(url: str, servers: int) -> AsyncIterator[TransactionPooler]:
    """A pooler with so many server connections."""
    pooler = TransactionPooler(url, servers)
    await pooler.start()
    try:
        yield pooler
    finally:
        await pooler.stop()
