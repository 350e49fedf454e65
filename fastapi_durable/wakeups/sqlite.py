"""Datagrams between the processes of one machine that share an SQLite file.

SQLite itself sends no notifications. Each process listens on a Unix socket of its own, in one folder for each database,
and sends its notifications to every socket there. The socket of a dead process refuses them, and the sender removes it.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import secrets
import socket
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from fastapi_durable.wakeups.base import OnMessage, Publish, Topic, Wakeup
from fastapi_durable.wakeups.outbox import Outbox, wakeups_in

_log = logging.getLogger("fastapi_durable")

_GAP_SECONDS: Final = 0.002
_CARE_SECONDS: Final = 60.0
_READS_AT_A_TIME: Final = 100
_LARGEST_MESSAGE: Final = 65_536
_ATTEMPTS: Final = 3


class SqliteWakeups:
    """Notifications between the processes of one user on one machine that share an SQLite file.

    Three kinds of process are not reached, and poll: one of another user, one with another temporary folder, and a
    paused one whose queue of unread datagrams is full. Without Unix sockets, as on Windows, every process polls.

    Args:
        url: Address of the database, as the Prisma client has it. A relative path starts at the current folder.
        folder: Folder of the sockets. Its path must be short, because the path of a socket has about 100 characters at
            most. Default: a folder in the system's temporary folder that only the user may enter.
    """

    def __init__(self, url: str, *, folder: Path | str | None = None) -> None:
        database = url.removeprefix("sqlite:").removeprefix("file:").partition("?")[0]
        self._name = hashlib.sha256(os.path.realpath(database).encode()).hexdigest()[:16]
        self._folder = None if folder is None else Path(folder)

    @asynccontextmanager
    async def joined(self, on_message: OnMessage) -> AsyncIterator[Publish]:
        """Take part while the block is open; see `Wakeups.joined`.

        Args:
            on_message: Function that receives each notification of the others.

        Yields:
            The function that publishes a notification.
        """
        participant = _Participant(self._name, self._folder, on_message)
        if not participant.begin():
            yield lambda _: None
            return
        # Notifications from before this process listened were missed, so poll once.
        on_message(Wakeup(Topic.WORK))
        care = asyncio.create_task(participant.take_care(), name="durable wakeups")
        try:
            yield participant.publish
        finally:
            care.cancel()
            await asyncio.gather(care, return_exceptions=True)
            participant.end()


class _Participant:
    """One process that takes part."""

    def __init__(self, name: str, folder: Path | None, on_message: OnMessage) -> None:
        self._name = name
        self._folder = folder
        self._on_message = on_message
        self._loop = asyncio.get_running_loop()
        self._outbox = Outbox()
        self._sending: asyncio.Handle | None = None
        self._sent_at = 0.0
        self._socket: socket.socket | None = None
        self._path = Path()

    def begin(self) -> bool:
        """Begin to listen. Return whether that is possible."""
        try:
            self._listen()
        except (OSError, AttributeError) as error:
            _log.warning(
                "cannot receive notifications from other processes, so this one polls: %s: %s",
                type(error).__name__,
                error,
            )
            return False
        return True

    def end(self) -> None:
        """Send the remaining notifications, and leave. Other processes then claim at once what this one released."""
        if self._sending is not None:
            self._sending.cancel()
        while self._outbox:
            self._send()
        self._close()
        with contextlib.suppress(OSError):
            self._path.unlink()
        with contextlib.suppress(OSError):
            self._path.parent.rmdir()  # unless it contains other sockets

    def publish(self, wakeup: Wakeup) -> None:
        self._outbox.add(wakeup)
        if self._sending is None:
            # Wake-ups of one moment are sent together, so there are at most 500 messages a second.
            self._sending = self._loop.call_at(max(self._loop.time(), self._sent_at + _GAP_SECONDS), self._send_later)

    async def take_care(self) -> None:
        """Keep the socket from being deleted as an old file. If it was deleted, create a new one."""
        while True:
            await asyncio.sleep(_CARE_SECONDS)
            try:
                os.utime(self._path)
            except OSError:
                self._close()
                if not self.begin():
                    return
                self._on_message(Wakeup(Topic.WORK))

    def _listen(self) -> None:
        for attempt in range(_ATTEMPTS):
            place = _private_folder(self._folder) / self._name
            place.mkdir(mode=0o700, exist_ok=True)
            path = place / f"{secrets.token_hex(4)}.sock"
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                listening.setblocking(False)
                listening.bind(str(path))
            except FileNotFoundError:
                # The last leaving process has removed the folder in between.
                listening.close()
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            except BaseException:
                listening.close()
                raise
            self._socket, self._path = listening, path
            self._loop.add_reader(listening, self._read)
            return

    def _close(self) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _send_later(self) -> None:
        self._sending = None
        self._send()
        if self._outbox:
            self._sending = self._loop.call_later(_GAP_SECONDS, self._send_later)

    def _send(self) -> None:
        wakeups, message = self._outbox.next_message()
        self._outbox.sent(wakeups)
        self._sent_at = self._loop.time()
        if self._socket is None:
            return
        for path in _others(self._path):
            try:
                self._socket.sendto(message.encode(), path)
            except ConnectionRefusedError:
                with contextlib.suppress(OSError):
                    Path(path).unlink()
            except OSError:
                pass  # its queue is full, or it has just left

    def _read(self) -> None:
        for _ in range(_READS_AT_A_TIME):
            if self._socket is None:
                return
            try:
                message = self._socket.recv(_LARGEST_MESSAGE)
            except OSError:
                return
            for wakeup in wakeups_in(message.decode(errors="replace"), except_from=self._outbox.name):
                self._on_message(wakeup)


def _private_folder(folder: Path | None) -> Path:
    """Return the folder of all sockets. Other users have no access, because a process that can write there can wake
    this one.

    Raises:
        PermissionError: the one in the temporary folder belongs to another user, or is open to others.
    """
    if folder is not None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
    folder = Path(tempfile.gettempdir()) / f"fastapi-durable-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"{folder} must be a folder that belongs to this user and that no other user may enter")
    return folder


def _others(path: Path) -> list[str]:
    try:
        with os.scandir(path.parent) as entries:
            return [entry.path for entry in entries if entry.name != path.name]
    except OSError:
        return []
