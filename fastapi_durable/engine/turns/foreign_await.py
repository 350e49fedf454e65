"""Detects what a body awaits besides calls of its context. Nothing records such a wait, and every replay repeats it.

A body yields a future to the event loop whenever it has to wait. The coroutines between the body and that future show
why it waits: one of them is a call of the context, or the future belongs to a task of the body, or the body waits for
something foreign, such as a request. A guard checks each wait, and reports the first foreign one.

It must not report anything else. It cannot know which code completes a plain future. While the body has other tasks,
one of them may do that, so the guard reports nothing.
"""

import asyncio
import contextlib
import gc
import os
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType
from typing import Any, Final, Protocol

_PACKAGE: Final = str(Path(__file__).parents[2]) + os.sep
_OF_THE_CONTEXT: Final = tuple(
    str(Path(_PACKAGE, "engine", name)) + os.sep for name in ("context", "primitives", "turns")
)
_ASYNCIO: Final = str(Path(asyncio.__file__).parent) + os.sep
_STANDARD: Final = (*(sysconfig.get_paths()[name] + os.sep for name in ("stdlib", "platstdlib")), "<frozen ")
_INSTALLED: Final = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))

_JOINING: Final = frozenset(_ASYNCIO + name for name in ("tasks.py", "taskgroups.py"))
"""Files of asyncio that wait for tasks. `asyncio.sleep` is checked separately."""
_MEETING: Final = frozenset(_ASYNCIO + name for name in ("locks.py", "queues.py", "futures.py"))
"""Files of asyncio with which the tasks of a body may wait for each other."""


class Origin(Enum):
    """The owner of some code."""

    CONTEXT = "a call of the context"
    LIBRARY = "another part of this library"
    ASYNCIO = "asyncio"
    INSTALLED = "the standard library, or an installed package"
    APPLICATION = "the application"


@lru_cache(maxsize=4096)
def origin_of(file: str) -> Origin:
    """Return the owner of the code in a file."""
    if file.startswith(_PACKAGE):
        return Origin.CONTEXT if file.startswith(_OF_THE_CONTEXT) else Origin.LIBRARY
    if file.startswith(_ASYNCIO):
        return Origin.ASYNCIO
    if any(part in file for part in _INSTALLED) or file.startswith(_STANDARD):
        return Origin.INSTALLED
    return Origin.APPLICATION


@dataclass(frozen=True, slots=True)
class ForeignAwait:
    """A wait of a body that is not recorded, and the line of the application that awaits."""

    awaited: str
    file: str
    line: int


class _Tasks(Protocol):
    """The other tasks of a body."""

    members: set[asyncio.Future[Any]]


class AwaitGuard:
    """Checks what the tasks of one body wait for, until it has reported a foreign wait.

    Args:
        tasks: The tasks of the body.
        tell: Called with the first foreign wait.
    """

    def __init__(self, tasks: _Tasks, tell: Callable[[ForeignAwait], None]) -> None:
        self._tasks = tasks
        self._tell: Callable[[ForeignAwait], None] | None = tell

    def look(self, code: Any, future: Any) -> None:
        """Check a wait of a task of the body for `future`. `code` is the body's coroutine in the task.

        Almost always the first coroutine that `code` awaits is a call of the context, so this costs a few look-ups.
        """
        if future is None or self._tell is None:
            # `asyncio.sleep(0)` waits for nothing.
            return
        try:
            chain = _chain(code)
            if not chain or not self._is_foreign(future, chain):
                return
            found = _described(chain, future)
        except Exception:
            # Foreign awaitables may behave in any way. The check must not fail the run.
            return
        tell, self._tell = self._tell, None
        tell(found)

    def _is_foreign(self, future: Any, chain: "list[_Link]") -> bool:
        if isinstance(future, asyncio.Task):
            return future not in self._tasks.members
        if children := getattr(future, "_children", None):
            # The future of `asyncio.gather`.
            return any(self._is_foreign(child, chain) for child in children if not child.done())
        innermost = chain[-1].code
        if origin_of(innermost.co_filename) is Origin.ASYNCIO:
            if innermost.co_name == "sleep":
                return True
            file = innermost.co_filename
            if file in _JOINING:
                return False
            if file not in _MEETING:
                # A stream, a subprocess, a thread.
                return True
            if len(chain) > 1 and chain[-2].code.co_filename in _JOINING:
                # `asyncio.as_completed` waits with a queue.
                return False
        return _comes_from_thread(future) or not self._tasks.members


@dataclass(frozen=True, slots=True)
class _Link:
    """A coroutine, or a generator of either kind, that waits for the next one in its chain."""

    code: CodeType
    frame: FrameType | None


def _chain(code: Any) -> list[_Link]:
    """Return the suspended coroutines, from the body's own code inwards. Empty if one is a call of the context, or if
    the chain is unknown.
    """
    if not getattr(code, "cr_suspended", False):
        # The body has not begun or has ended, and dependencies are opened or closed around it.
        return []
    chain: list[_Link] = []
    link, is_known = code, False
    while link is not None:
        if isinstance(link, CoroutineType):
            found, link = _Link(link.cr_code, link.cr_frame), link.cr_await
        elif isinstance(link, GeneratorType):
            found, link = _Link(link.gi_code, link.gi_frame), link.gi_yieldfrom
        elif isinstance(link, AsyncGeneratorType):
            found, link = _Link(link.ag_code, link.ag_frame), link.ag_await
        elif asyncio.isfuture(link) or type(link).__name__ == "FutureIter":
            return chain
        elif (inner := _inside(link)) is not None:
            link = inner
            continue
        else:
            return []
        if not is_known:
            origin = origin_of(found.code.co_filename)
            if origin is Origin.CONTEXT:
                return []
            # The service uses the same parts of the engine as a call of the context does.
            is_known = origin is Origin.LIBRARY
        chain.append(found)
    return chain


def _inside(link: Any) -> Any:
    """Return the coroutine or generator inside the objects of `anext`, `asend` and `__await__`."""
    kinds = (CoroutineType, GeneratorType, AsyncGeneratorType)
    return next((each for each in gc.get_referents(link) if isinstance(each, kinds)), None)


def _comes_from_thread(future: Any) -> bool:
    """Return whether `run_in_executor` returned it."""
    callbacks = getattr(future, "_callbacks", None) or ()
    return any(getattr(each[0], "__qualname__", "").startswith("_chain_future") for each in callbacks)


def _described(chain: list[_Link], future: Any) -> ForeignAwait:
    """Return the innermost line of the application, starting from the body, and the object that it awaits."""
    # Frames of `@asynccontextmanager` only lie in between.
    chain = [link for link in chain if link.code.co_filename != contextlib.__file__]
    depth = 0
    while depth + 1 < len(chain) and origin_of(chain[depth + 1].code.co_filename) is Origin.APPLICATION:
        depth += 1
    place = chain[depth]
    awaited = f"a {type(future).__name__}" if depth + 1 == len(chain) else _named(chain[depth + 1])
    line = place.code.co_firstlineno if place.frame is None else place.frame.f_lineno
    return ForeignAwait(awaited=awaited, file=place.code.co_filename, line=line)


def _named(link: _Link) -> str:
    if origin_of(link.code.co_filename) is Origin.LIBRARY:
        return f"WorkflowService.{link.code.co_name}"
    module = "" if link.frame is None else str(link.frame.f_globals.get("__name__", ""))
    module = "asyncio" if module.startswith("asyncio.") else module
    return f"{module}.{link.code.co_qualname}" if module else link.code.co_qualname
