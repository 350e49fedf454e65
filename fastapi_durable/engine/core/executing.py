"""The steps and bodies that execute now, by task. The lease thread asks here what blocks the event loop."""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Any


@dataclass(frozen=True, slots=True)
class Execution:
    """A step of a run, or the run's own body if `step` is None."""

    run_id: str
    step: str | None

    def __str__(self) -> str:
        return f"the body of run {self.run_id}" if self.step is None else f"step {self.step!r} of run {self.run_id}"


class Executions:
    """The executions in progress in one event loop. Any thread may read them."""

    def __init__(self) -> None:
        self._by_task: dict[asyncio.Task[Any], tuple[str, str | None]] = {}

    def noted(self, run_id: str, step: str | None = None, *, task: asyncio.Task[Any] | None = None) -> "_Noted":
        """Note what the current task executes while the block is open. The task may be passed."""
        return _Noted(self._by_task, (run_id, step), task or asyncio.current_task())

    def in_task(self, task: asyncio.Task[Any] | None) -> Execution | None:
        """Return what a task executes. None if the task belongs to no run, or was created by a step or a body."""
        noted = None if task is None else self._by_task.get(task)
        return None if noted is None else Execution(*noted)


class _Noted:
    """A class instead of a generator, because every step passes here."""

    __slots__ = ("_by_task", "_execution", "_outer", "_task")

    def __init__(
        self,
        by_task: dict[asyncio.Task[Any], tuple[str, str | None]],
        execution: tuple[str, str | None],
        task: asyncio.Task[Any] | None,
    ) -> None:
        self._by_task = by_task
        self._execution = execution
        self._task = task
        self._outer: tuple[str, str | None] | None = None

    def __enter__(self) -> None:
        if self._task is not None:
            self._outer = self._by_task.get(self._task)
            self._by_task[self._task] = self._execution

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task is None:
            return
        if self._outer is None:
            self._by_task.pop(self._task, None)
        else:
            self._by_task[self._task] = self._outer
