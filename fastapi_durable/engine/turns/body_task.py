"""The tasks of bodies: they contain errors that would end the process, and notice when their own code cancels them.

asyncio lets `SystemExit` and `KeyboardInterrupt` of any task end the event loop, and with it every other run of the
process. A body may create tasks, in task groups and elsewhere, so these errors are contained where tasks are created.

A guard checks what these tasks wait for (`engine/turns/foreign_await.py`), if they run code of the body itself. A task
of a step, an interceptor or a dependency may await anything.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Generator
from types import FrameType
from typing import Any

from fastapi_durable.engine.runs.failure import named
from fastapi_durable.engine.turns.foreign_await import AwaitGuard, ForeignAwait, Origin, origin_of
from fastapi_durable.engine.turns.outcome import Interrupt

Factory = Callable[..., Any]


class BodyTasks:
    """State that the tasks of one body share.

    Args:
        changed: Called when a task was created, and when a task has ended.

    Attributes:
        self_cancelled: Tasks that their own code cancelled, without taking it back.
        members: The unfinished tasks, without the body's own task.
        guard: Checks what the tasks wait for. None: there is no guard.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.self_cancelled: set[BodyTask] = set()
        self.members: set[asyncio.Future[Any]] = set()
        self.guard: AwaitGuard | None = None
        self._changed = changed

    def add(self, task: asyncio.Future[Any]) -> None:
        """Count a task as a member until it has ended."""
        self.members.add(task)
        self._changed()
        # The first callback: before any other callback learns of the end, the task is no longer a member.
        task.add_done_callback(self._remove)

    def watch(self, code: Coroutine[Any, Any, Any], tell: Callable[[ForeignAwait], None]) -> None:
        """Report the first foreign wait of a body, whose coroutine the current task is about to await."""
        self.guard = AwaitGuard(self, tell)
        _watch(asyncio.current_task(), code)

    def watch_branch(self, task: asyncio.Task[Any], code: Coroutine[Any, Any, Any]) -> None:
        """Check what a branch waits for whose task the engine created."""
        if self.guard is not None:
            _watch(task, code)

    def _remove(self, task: asyncio.Future[Any]) -> None:
        self.members.discard(task)
        self._changed()


class BodyTask(asyncio.Task[Any]):
    """A task that runs code of a body, including its steps.

    Attributes:
        own_cancels: How often this code cancelled the task itself, without taking it back.
        of: The shared state of the body's tasks.
    """

    own_cancels = 0
    of: BodyTasks
    _gave_back = False

    def cancel(self, msg: Any | None = None) -> bool:
        # Ask the task's own loop: no loop is running when `asyncio.run` cancels the remaining tasks.
        if asyncio.current_task(self.get_loop()) is self:
            if self._gave_back:
                # A task group takes back a cancel from outside, and repeats it.
                self._gave_back = False
            else:
                self.own_cancels += 1
                self.of.self_cancelled.add(self)
        return super().cancel(msg)

    def uncancel(self) -> int:
        self._gave_back = not self.own_cancels
        self.own_cancels = max(0, self.own_cancels - 1)
        return super().uncancel()


def body_task(coroutine: Coroutine[Any, Any, Any], tasks: BodyTasks, *, name: str) -> BodyTask:
    """Create the task of a body, the first of its tasks."""
    task = BodyTask(_Contained(coroutine, tasks), loop=asyncio.get_running_loop(), name=name)
    task.of = tasks
    return task


def branch_watched(task: asyncio.Task[Any], code: Coroutine[Any, Any, Any]) -> None:
    """Check what a branch waits for that the current task of a body has begun for its own code."""
    parent = asyncio.current_task()
    if isinstance(parent, BodyTask):
        parent.of.watch_branch(task, code)


def _watch(task: asyncio.Task[Any] | None, code: Coroutine[Any, Any, Any]) -> None:
    contained: Any = None if task is None else task.get_coro()
    # A task factory of the application may run another coroutine.
    if isinstance(contained, _Contained):
        contained.watched = code


def is_interruption(error: BaseException) -> bool:
    """Return whether an error comes from outside the code that raises it.

    That is so if the engine ends the turn, if the task is cancelled from outside, or if Python closes the coroutine.
    Every other error belongs to the code, even a `CancelledError` of something that it awaited, or of its own
    `task.cancel()`.
    """
    # Check the class, because `isinstance` may run code of the instance, and raise.
    kind, task = type(error), asyncio.current_task()
    if issubclass(kind, Interrupt):
        return True
    if issubclass(kind, asyncio.CancelledError):
        return task is not None and task.cancelling() > getattr(task, "own_cancels", 0)
    return issubclass(kind, GeneratorExit) and task is None


async def take_back_own_cancels() -> None:
    """Take back the cancels by which the code of the current task cancelled the task itself.

    Raises:
        CancelledError: there were such cancels, so the code has failed. Or the task is cancelled from outside as well.
    """
    task = asyncio.current_task()
    if not isinstance(task, BodyTask) or task not in task.of.self_cancelled:
        return
    task.of.self_cancelled.discard(task)
    try:
        # A cancel that was not delivered yet would hit whatever the task awaits next.
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        pass
    while task.own_cancels:
        task.uncancel()
    task._gave_back = False
    raise asyncio.CancelledError("the code cancelled its own task")


class TaskGuard:
    """Turns the tasks that tasks of bodies create into tasks of bodies, as long as a worker holds the guard.

    The event loop has one task factory. A factory of the application still creates all other tasks.
    """

    def __init__(self, factory: Factory | None) -> None:
        self._factory = factory
        self._holders = 0

    @classmethod
    def hold(cls) -> "TaskGuard":
        """Return the guard of the running event loop. Release it with `release`."""
        loop = asyncio.get_running_loop()
        guard = factory = loop.get_task_factory()
        if not isinstance(guard, cls):
            guard = cls(factory)
            loop.set_task_factory(guard)
        guard._holders += 1
        return guard

    def release(self) -> None:
        """Restore the event loop when no worker holds the guard any more."""
        loop = asyncio.get_running_loop()
        self._holders -= 1
        if not self._holders and loop.get_task_factory() is self:
            loop.set_task_factory(self._factory)

    def __call__(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        parent = asyncio.current_task(loop)
        if isinstance(parent, BodyTask) and asyncio.iscoroutine(coroutine):
            contained = _Contained(coroutine, parent.of)
            if parent.of.guard is not None and _is_made_by_body(parent):
                contained.watched = coroutine
            if self._factory is not None:
                foreign = self._factory(loop, contained, **options)
                parent.of.add(foreign)
                return foreign
            task = BodyTask(contained, loop=loop, **options)
            task.of = parent.of
            task.of.add(task)
            task.add_done_callback(_forget_interruption)
            return task
        if self._factory is not None:
            return self._factory(loop, coroutine, **options)
        return asyncio.Task(coroutine, loop=loop, **options)


def _forget_interruption(task: asyncio.Task[Any]) -> None:
    """Mark an error that the engine raised into a task as seen, because no code awaits the task any more. Other errors
    belong to the task.
    """
    if not task.cancelled() and issubclass(type(task._exception), Interrupt):
        task.exception()


def _is_made_by_body(parent: BodyTask) -> bool:
    """Return whether code of the body creates a task now, not code of a step or of the engine."""
    maker: Any = parent.get_coro()
    body = maker.watched if isinstance(maker, _Contained) else None
    outermost = getattr(body, "cr_frame", None)
    if outermost is None:
        return False
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and origin_of(frame.f_code.co_filename) not in (Origin.CONTEXT, Origin.LIBRARY):
        if frame is outermost:
            return True
        frame = frame.f_back
    return False


class _Contained(Coroutine[Any, Any, Any]):
    """A coroutine that turns `SystemExit` and `KeyboardInterrupt` into ordinary failures.

    Attributes:
        watched: The part of it that is code of a body. The guard checks what that part waits for.
    """

    def __init__(self, coroutine: Any, tasks: BodyTasks) -> None:
        self._coroutine = coroutine
        self._tasks = tasks
        self.watched: Any = None

    def send(self, value: Any) -> Any:
        try:
            awaited = self._coroutine.send(value)
        except (SystemExit, KeyboardInterrupt) as error:
            raise RuntimeError(f"a task of the workflow was ended by {named(error)}") from error
        if self.watched is not None:
            self._look(awaited)
        return awaited

    def throw(self, *error: Any) -> Any:
        try:
            awaited = self._coroutine.throw(*error)
        except (SystemExit, KeyboardInterrupt) as error:
            raise RuntimeError(f"a task of the workflow was ended by {named(error)}") from error
        if self.watched is not None:
            self._look(awaited)
        return awaited

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield from self._coroutine.__await__())

    def __getattr__(self, name: str) -> Any:
        # Names and stacks of tasks are printed from these attributes of their coroutines.
        return getattr(self._coroutine, name)

    def _look(self, awaited: Any) -> None:
        if self._tasks.guard is not None:
            self._tasks.guard.look(self.watched, awaited)
