"""Interceptors: code of the application around every real execution of a step, and around no replay."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType

_log = logging.getLogger("fastapi_durable")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepExecution:
    """An attempt of a step, before its execution."""

    run_id: str
    workflow: str
    workflow_version: str
    namespace: str
    seq: int
    step_id: str
    name: str
    attempt: int
    traceparent: str | None


StepInterceptor = Callable[[StepExecution], AbstractAsyncContextManager[object]]
"""Makes the context in which an attempt runs: a span, a timer, a logging context. The error of the attempt passes
through the context's exit. An interceptor only observes: its own errors are logged, and neither they nor its return
value change the outcome."""


class Intercepted:
    """Enters the contexts of all interceptors around one attempt. The first interceptor is the outermost.

    Args:
        is_interruption: Whether an error comes from outside the code that raises it.
    """

    def __init__(
        self,
        interceptors: Sequence[StepInterceptor],
        execution: StepExecution,
        is_interruption: Callable[[BaseException], bool],
    ) -> None:
        self._interceptors = interceptors
        self._execution = execution
        self._is_interruption = is_interruption
        self._entered: list[AbstractAsyncContextManager[object]] = []

    async def __aenter__(self) -> None:
        execution = self._execution
        try:
            for interceptor in self._interceptors:
                try:
                    context = interceptor(execution)
                    await context.__aenter__()
                except BaseException as failure:
                    if self._is_interruption(failure):
                        raise
                    _log.exception("an interceptor failed before step %s of run %s", execution.name, execution.run_id)
                else:
                    self._entered.append(context)
        except BaseException as error:
            # The attempt was abandoned before it began.
            await self.__aexit__(type(error), error, error.__traceback__)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        execution = self._execution
        for context in reversed(self._entered):
            try:
                await context.__aexit__(kind, error, traceback)
            except BaseException as failure:
                if failure is error:
                    continue
                if self._is_interruption(failure):
                    raise
                _log.exception("an interceptor failed after step %s of run %s", execution.name, execution.run_id)
