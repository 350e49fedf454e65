"""The façade for routes: start workflows, wait for them, send them signals."""

from collections.abc import Callable, Collection, Coroutine
from typing import Any, Concatenate, TypeVar, overload

from fastapi_durable.duration import Duration
from fastapi_durable.engine.context import WorkflowContext
from fastapi_durable.engine.engine import WorkflowEngine
from fastapi_durable.engine.handle import RunHandle
from fastapi_durable.engine.input import NO_INPUT
from fastapi_durable.model import SearchAttributes

Input = TypeVar("Input")
Output = TypeVar("Output")


class WorkflowService:
    """Starts workflows, waits for their results and sends them signals; inject it as `WorkflowServiceDep`."""

    def __init__(self, engine: WorkflowEngine) -> None:
        self._engine = engine

    @overload
    async def start(
        self,
        workflow: Callable[Concatenate[WorkflowContext, Input, ...], Coroutine[Any, Any, Output]],
        input: Input,
        /,
        *,
        run_id: str | None = None,
        version: str | None = None,
        tags: Collection[str] = (),
        search_attributes: SearchAttributes | None = None,
        priority: int | None = None,
    ) -> RunHandle[Output]: ...
    @overload
    async def start(
        self,
        workflow: Callable[Concatenate[WorkflowContext, ...], Coroutine[Any, Any, Output]],
        /,
        *,
        run_id: str | None = None,
        version: str | None = None,
        tags: Collection[str] = (),
        search_attributes: SearchAttributes | None = None,
        priority: int | None = None,
    ) -> RunHandle[Output]: ...
    @overload
    async def start(
        self,
        workflow: str,
        input: Any = ...,
        /,
        *,
        run_id: str | None = None,
        version: str | None = None,
        tags: Collection[str] = (),
        search_attributes: SearchAttributes | None = None,
        priority: int | None = None,
    ) -> RunHandle[Any]: ...
    async def start(
        self,
        workflow: Callable[..., Coroutine[Any, Any, Any]] | str,
        input: Any = NO_INPUT,
        /,
        *,
        run_id: str | None = None,
        version: str | None = None,
        tags: Collection[str] = (),
        search_attributes: SearchAttributes | None = None,
        priority: int | None = None,
    ) -> RunHandle[Any]:
        """Create a run and return at once; a worker drives it, here or elsewhere.

        Idempotent by `run_id`: if a run of this id exists, the handle refers to it (`handle.created` is False) and
        nothing is changed. When this returns, the run survives any crash.

        Args:
            workflow: The decorated function, or a registered name.
            run_id: By default a random UUID.
            version: Exactly this one; by default the function's own, or the newest of a name.
            tags: Added to those that the workflow declares.
            priority: A higher one is picked up earlier.

        Raises:
            InputValidationError: the input does not fit the workflow's type, or cannot be stored.
            WorkflowNotRegisteredError: unknown name or version.
            StoreUnavailableError: the database cannot be reached; the same call with the same `run_id` can be repeated.
        """
        handle: RunHandle[Any] = await self._engine.start(
            workflow,
            input,
            run_id=run_id,
            version=version,
            tags=tags,
            search_attributes=search_attributes,
            priority=priority,
        )
        return handle

    @overload
    async def execute(
        self,
        workflow: Callable[Concatenate[WorkflowContext, Input, ...], Coroutine[Any, Any, Output]],
        input: Input,
        /,
        *,
        run_id: str | None = None,
        timeout: Duration | None = None,
    ) -> Output: ...
    @overload
    async def execute(
        self,
        workflow: Callable[Concatenate[WorkflowContext, ...], Coroutine[Any, Any, Output]],
        /,
        *,
        run_id: str | None = None,
        timeout: Duration | None = None,
    ) -> Output: ...
    @overload
    async def execute(
        self,
        workflow: str,
        input: Any = ...,
        /,
        *,
        run_id: str | None = None,
        timeout: Duration | None = None,
    ) -> Any: ...
    async def execute(
        self,
        workflow: Callable[..., Coroutine[Any, Any, Any]] | str,
        input: Any = NO_INPUT,
        /,
        *,
        run_id: str | None = None,
        timeout: Duration | None = None,
    ) -> Any:
        """Start a run and wait for its output. The run goes on if the caller stops waiting.

        Raises:
            RunFailedError, RunCancelledError, RunDeadError: the run ended without an output.
            ResultTimeoutError: it has not ended after `timeout`.
            InputValidationError, WorkflowNotRegisteredError, StoreUnavailableError: as `start`.
        """
        handle = await self.start(workflow, input, run_id=run_id)
        return await handle.result(timeout)

    @overload
    def handle(
        self,
        run_id: str,
        workflow: Callable[Concatenate[WorkflowContext, ...], Coroutine[Any, Any, Output]],
    ) -> RunHandle[Output]: ...
    @overload
    def handle(self, run_id: str, workflow: str | None = None) -> RunHandle[Any]: ...
    def handle(self, run_id: str, workflow: Callable[..., Any] | str | None = None) -> RunHandle[Any]:
        """A handle on a run that was started before; `workflow` gives its result a type. Nothing is looked up.

        Raises:
            WorkflowNotRegisteredError: `workflow` is unknown.
        """
        return self._engine.handle(run_id, workflow)

    async def signal(self, token: str, payload: Any = None, *, signal_id: str | None = None) -> bool:
        """Send a signal: to the run that waits for `token`, or into the buffer for the next one that will.

        Args:
            payload: Any value that pydantic serialises.
            signal_id: Two signals with the same id are kept once while the first waits in the buffer.

        Returns:
            Whether a run received it; False: it is kept.

        Raises:
            SerializationError: the payload cannot be stored.
            StoreUnavailableError: the database cannot be reached.
        """
        return await self._engine.signal(token, payload, signal_id=signal_id)
