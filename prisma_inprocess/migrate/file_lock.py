"""One process at a time: a lock on a file that the operating system gives back when its process ends, however."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Final

from prisma_inprocess.errors import MigrationError
from prisma_inprocess.migrate.database import lock_timeout

_LOOK_EVERY: Final = 0.05  # seconds


class FileLock:
    """A lock that a file stands for. The file is there while the lock is held.

    Args:
        path: The file, which nothing else uses.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    async def acquire(self, limit: float) -> None:
        """Wait until no other process holds the lock.

        Args:
            limit: Seconds to wait.

        Raises:
            MigrationError: another process still held it then (P1002).
        """
        deadline = time.monotonic() + limit
        while not self._try():
            if time.monotonic() > deadline:
                raise lock_timeout(limit)
            await asyncio.sleep(_LOOK_EVERY)

    def release(self) -> None:
        """Let the next process have the lock."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        # Deleted while it is held: who waits for the deleted file's lock sees, when it gets it, that it is not the
        # file's any more. Windows keeps an open file.
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(descriptor)

    def _try(self) -> bool:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        except OSError as error:
            raise MigrationError(
                f"the lock file {self._path} cannot be written: {error.strerror}. Give this user the right to create "
                "files in the folder, which SQLite needs, too"
            ) from error
        if _lock(descriptor) and self._is_current(descriptor):
            self._descriptor = descriptor
            return True
        os.close(descriptor)
        return False

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
