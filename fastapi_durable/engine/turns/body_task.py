"""The tasks of bodies: they contain what would end the process, and know when their own code cancels them.

asyncio lets `SystemExit` and `KeyboardInterrupt` of any task end the event loop, and with it every other run of the
process. A body may create tasks of its own, in task groups and otherwise, so that is held at where tasks are made.

A guard looks at what these tasks wait for (`engine/turns/foreign_await.py`), where they run code of the body itself: a
task that a step, an interceptor or a dependency has made may await what it likes.
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
    """What the tasks of one body share.

    Args:
        changed: Is called when a task has been made, and when one has ended.

    Attributes:
        self_cancelled: Those whose code cancelled them, and did not take that back.
        members: Those beside the body's own task that have not ended.
        guard: Looks at what they wait for; None: nothing does.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.self_cancelled: set[BodyTask] = set()
        self.members: set[asyncio.Future[Any]] = set()
        self.guard: AwaitGuard | None = None
        self._changed = changed

    def add(self, task: asyncio.Future[Any]) -> None:
        """Keep a task until it has ended."""
        self.members.add(task)
        self._changed()
        # Before any other callback: once somebody hears that it has ended, it is no member any more.
        task.add_done_callback(self._remove)

    def watch(self, code: Coroutine[Any, Any, Any], tell: Callable[[ForeignAwait], None]) -> None:
        """Tell of the first foreign wait of a body, whose own coroutine the current task is about to await."""
        self.guard = AwaitGuard(self, tell)
        _watch(asyncio.current_task(), code)

    def watch_branch(self, task: asyncio.Task[Any], code: Coroutine[Any, Any, Any]) -> None:
        """Look at what a branch waits for, that the engine has made a task for."""
        if self.guard is not None:
            _watch(task, code)

    def _remove(self, task: asyncio.Future[Any]) -> None:
        self.members.discard(task)
        self._changed()


class BodyTask(asyncio.Task[Any]):
    """A task that runs code of a body, its steps included.

    Attributes:
        own_cancels: How often that code cancelled the task itself, and nobody took it back yet.
        of: The tasks of the same body.
    """

    own_cancels = 0
    of: BodyTasks
    _gave_back = False

    def cancel(self, msg: Any | None = None) -> bool:
        # Of its own loop: none is running when `asyncio.run` cancels what is left.
        if asyncio.current_task(self.get_loop()) is self:
            if self._gave_back:
                # A task group takes a cancel from outside back, and makes it again.
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
    """The task of a body itself, the first of its tasks."""
    task = BodyTask(_Contained(coroutine, tasks), loop=asyncio.get_running_loop(), name=name)
    task.of = tasks
    return task


def branch_watched(task: asyncio.Task[Any], code: Coroutine[Any, Any, Any]) -> None:
    """Look at what a branch waits for that the current task, one of a body, has begun for its own code."""
    parent = asyncio.current_task()
    if isinstance(parent, BodyTask):
        parent.of.watch_branch(task, code)


def _watch(task: asyncio.Task[Any] | None, code: Coroutine[Any, Any, Any]) -> None:
    contained: Any = None if task is None else task.get_coro()
    # A task of a factory that the application has set may run another coroutine.
    if isinstance(contained, _Contained):
        contained.watched = code


def is_interruption(error: BaseException) -> bool:
    """Whether an error comes from outside the code that raises it, which is not to be blamed for it.

    The engine ends the turn, somebody cancels the task, or Python closes the coroutine. Everything else is the code's
    own, whatever its class: also a `CancelledError` of something that it awaited, or of its own `task.cancel()`.
    """
    # By the class: an instance may answer `isinstance` with an exception of its own.
    kind, task = type(error), asyncio.current_task()
    if issubclass(kind, Interrupt):
        return True
    if issubclass(kind, asyncio.CancelledError):
        return task is not None and task.cancelling() > getattr(task, "own_cancels", 0)
    return issubclass(kind, GeneratorExit) and task is None


async def take_back_own_cancels() -> None:
    """Undo the cancels by which the code of the current task cancelled the task itself.

    Raises:
        CancelledError: there were some, so the code has failed; or the task is cancelled from outside as well.
    """
    task = asyncio.current_task()
    if not isinstance(task, BodyTask) or task not in task.of.self_cancelled:
        return
    task.of.self_cancelled.discard(task)
    try:
        # One that was not delivered yet would meet whatever the task awaits next.
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        pass
    while task.own_cancels:
        task.uncancel()
    task._gave_back = False
    raise asyncio.CancelledError("the code cancelled its own task")


class TaskGuard:
    """Makes tasks that are created by tasks of bodies tasks of bodies, as long as a worker holds it.

    The event loop has one task factory. One that the application has set makes all tasks as before.
    """

    def __init__(self, factory: Factory | None) -> None:
        self._factory = factory
        self._holders = 0

    @classmethod
    def hold(cls) -> "TaskGuard":
        """The guard of the running event loop; released with `release`."""
        loop = asyncio.get_running_loop()
        guard = factory = loop.get_task_factory()
        if not isinstance(guard, cls):
            guard = cls(factory)
            loop.set_task_factory(guard)
        guard._holders += 1
        return guard

    def release(self) -> None:
        """Leave the event loop as it was, once nobody holds the guard."""
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
    """Mark as seen what the engine raised into a task: nobody is left who could await it. Other errors are its own."""
    if not task.cancelled() and issubclass(type(task._exception), Interrupt):
        task.exception()


def _is_made_by_body(parent: BodyTask) -> bool:
    """Whether the code of the body makes a task now, and not that of a step or of the engine."""
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
    """A coroutine whose `SystemExit` and `KeyboardInterrupt` are failures like any other.

    Attributes:
        watched: The part of it that is code of a body: the guard looks at what that waits for.
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
        # Tasks are shown, and their stacks printed, by what their coroutines tell.
        return getattr(self._coroutine, name)

    def _look(self, awaited: Any) -> None:
        if self._tasks.guard is not None:
            self._tasks.guard.look(self.watched, awaited)
