"""Context managers whose clean-up cannot be interrupted.

A step may be cancelled at any moment: it timed out, or its worker stops. The cancellation reaches the step, but not the
clean-up of its dependencies. Therefore each generator dependency lives in a task of its own, from its first line to its
last. That also keeps `asyncio.timeout`, task groups and context variables inside it in order.
"""

import asyncio
import contextvars
import logging
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar

from anyio import CancelScope

T = TypeVar("T")
_logger = logging.getLogger("fastapi_durable")


@dataclass(slots=True)
class CleanupLimit:
    """How long a clean-up may take before it is cancelled.

    Attributes:
        seconds: The limit.
        always: Whether it holds from the start of the clean-up, as in a shutdown; otherwise it holds from the moment
            when a cancellation has to wait for the clean-up.
    """

    seconds: float = 10.0
    always: bool = False


class Held(Generic[T]):
    """An async context manager that is entered and left in its own task.

    The exception that ends the block is thrown into the manager, but the manager cannot swallow it: a dependency does
    not turn a failed step into one that succeeded. Context variables set on entering are visible inside the block.

    Args:
        manager: What to hold.
        name: For the task and the log.
        cleanup: How long its clean-up may take.
    """

    def __init__(
        self,
        manager: AbstractAsyncContextManager[T],
        *,
        name: str,
        cleanup: CleanupLimit,
    ) -> None:
        self._manager = manager
        self._name = name
        self._cleanup = cleanup
        self._context = contextvars.copy_context()
        self._ready = asyncio.Event()
        self._released = asyncio.Event()
        self._error: BaseException | None = None
        self._failure: BaseException | None = None
        self._tokens: list[tuple[contextvars.ContextVar[Any], contextvars.Token[Any]]] = []
        self._task: asyncio.Task[None] | None = None
        self._value: T

    async def __aenter__(self) -> T:
        self._task = asyncio.get_running_loop().create_task(
            self._hold(), name=f"durable dependency {self._name}", context=self._context
        )
        try:
            await self._ready.wait()
        except asyncio.CancelledError:
            self._task.cancel()
            await self._settle(self._task, limited=True)
            raise
        if self._failure is not None:
            raise self._failure
        self._share_context()
        return self._value

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._task is not None  # noqa: S101 # entered before it is left
        self._restore_context()
        self._error = error
        self._released.set()
        cancelled = await self._settle(self._task, limited=self._cleanup.always)
        failure = self._failure
        if failure is error or isinstance(failure, asyncio.CancelledError):
            failure = None
        interruption = error if error is not None and not isinstance(error, Exception) else cancelled
        if interruption is not None:
            # A failed clean-up must not replace a cancellation, on which the cancelling code relies.
            if failure is not None:
                _logger.error("the clean-up of %s failed", self._name, exc_info=failure)
            if interruption is not error:
                raise interruption
        elif failure is not None:
            raise failure

    async def _hold(self) -> None:
        try:
            async with self._manager as self._value:
                self._ready.set()
                await self._released.wait()
                if self._error is not None:
                    raise self._error
        except BaseException as failure:  # noqa: BLE001, RUF100 # handed to the task that waits
            self._failure = failure
        finally:
            self._ready.set()

    async def _settle(self, task: asyncio.Task[None], *, limited: bool) -> asyncio.CancelledError | None:
        """Wait until the task has ended. A cancellation that comes meanwhile is returned, to be raised afterwards.

        After the limit the task is cancelled, and after twice the limit it is abandoned.
        """
        loop = asyncio.get_running_loop()
        limit = self._cleanup.seconds
        cancelled: asyncio.CancelledError | None = None
        deadline = loop.time() + limit if limited else None
        interrupted = False
        while not task.done():
            remaining = None if deadline is None else max(0.0, deadline - loop.time())
            try:
                with CancelScope(shield=True):
                    await asyncio.wait({task}, timeout=remaining)
            except asyncio.CancelledError as error:
                cancelled = error
                deadline = loop.time() + limit if deadline is None else deadline
                continue
            if task.done() or deadline is None or loop.time() < deadline:
                continue
            if interrupted:
                _logger.error("the clean-up of %s does not end even when cancelled; it is left behind", self._name)
                break
            _logger.error("the clean-up of %s takes longer than %g s and is cancelled", self._name, limit)
            task.cancel()
            interrupted = True
            deadline = loop.time() + limit
        return cancelled

    def _share_context(self) -> None:
        current = contextvars.copy_context()
        for variable, value in self._context.items():
            if variable not in current or current[variable] is not value:
                self._tokens.append((variable, variable.set(value)))

    def _restore_context(self) -> None:
        for variable, token in reversed(self._tokens):
            try:
                variable.reset(token)
            except ValueError:
                # The generator was left in another context than the one in which it was entered, so its variables are
                # gone.
                pass
        self._tokens.clear()
