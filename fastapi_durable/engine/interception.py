"""Interceptors: code of the application around every real execution of a step, and around no replay."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

_log = logging.getLogger("fastapi_durable")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepExecution:
    """An attempt of a step that is about to be executed."""

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
"""Makes the context in which an attempt runs: a span, a timer, a logging context. The attempt's error passes through
its end. It observes: what it raises itself is logged, and neither that nor what it returns changes the outcome."""


@asynccontextmanager
async def intercepted(interceptors: Sequence[StepInterceptor], execution: StepExecution) -> AsyncIterator[None]:
    """The contexts of all interceptors, the first one outermost."""
    entered: list[AbstractAsyncContextManager[object]] = []
    for interceptor in interceptors:
        try:
            context = interceptor(execution)
            await context.__aenter__()
        except Exception:
            _log.exception("an interceptor failed before step %s of run %s", execution.name, execution.run_id)
        else:
            entered.append(context)
    failure: BaseException | None = None
    try:
        yield
    except BaseException as error:
        failure = error
        raise
    finally:
        for context in reversed(entered):
            await _left(context, failure, execution)


async def _left(
    context: AbstractAsyncContextManager[object], failure: BaseException | None, execution: StepExecution
) -> None:
    traceback = None if failure is None else failure.__traceback__
    try:
        await context.__aexit__(None if failure is None else type(failure), failure, traceback)
    except Exception as error:
        if error is not failure:
            _log.exception("an interceptor failed after step %s of run %s", execution.name, execution.run_id)
