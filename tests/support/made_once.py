"""What takes seconds to make is made by one of pytest's workers, and used by all of them."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(folders: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return the path of a file or folder of the whole test session; `make` creates it at the path that it gets.

    A worker that needs it while another one makes it waits. If `make` fails, the next worker tries again.
    """
    root = folders.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    path = root / name
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            unfinished = root / f"{name}.{os.getpid()}"
            make(unfinished)
            unfinished.rename(path)
    return path
