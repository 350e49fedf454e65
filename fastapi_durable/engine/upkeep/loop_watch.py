"""Watches an event loop from another thread: whether it runs, and if not, what blocks it."""

import asyncio
import sys
import sysconfig
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi_durable.engine.core.executing import Execution, Executions

_LIBRARIES: Final = (
    "<",
    *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
    str(Path(__file__).parents[2]),
)


@dataclass(frozen=True, slots=True)
class Blocker:
    """What blocks an event loop.

    Attributes:
        execution: The step or the body that executes in the current task. None if the task belongs to no run.
        task: The name of the current task; empty if the loop runs a callback.
        place: The innermost function of the application's own code, with its file and line; empty if there is none.
    """

    execution: Execution | None
    task: str
    place: str

    def __str__(self) -> str:
        what = str(self.execution or (f"task {self.task!r}" if self.task else "a callback"))
        return f"{what}, in {self.place}" if self.place else what


class LoopWatch:
    """Checks from another thread whether the event loop of the creating thread responds.

    Args:
        interval: Seconds between two checks. A longer gap is a pause of the whole process, and says nothing about the
            loop.
    """

    def __init__(self, executions: Executions, interval: float) -> None:
        self._executions = executions
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._answered = threading.Event()
        self._answered.set()
        self._looked_at = time.monotonic()
        self._silence = 0.0

    def look(self) -> float:
        """Return for how many seconds the loop has not responded. If it has, send the next request.

        Raises:
            RuntimeError: the loop is closed.
        """
        now = time.monotonic()
        if self._answered.is_set():
            self._answered.clear()
            self._loop.call_soon_threadsafe(self._answered.set)
            self._silence = 0.0
        else:
            self._silence += min(now - self._looked_at, 2 * self._interval)
        self._looked_at = now
        return self._silence

    def blocker(self) -> Blocker:
        """Return what the loop executes at this moment."""
        task = asyncio.current_task(self._loop)
        return Blocker(
            execution=self._executions.in_task(task),
            task="" if task is None else task.get_name(),
            place=_place_in_application(self._thread),
        )


def _place_in_application(thread: int) -> str:
    frame = sys._current_frames().get(thread)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(_LIBRARIES):
            return f"{code.co_qualname} ({code.co_filename}:{frame.f_lineno})"
        frame = frame.f_back
    return ""
