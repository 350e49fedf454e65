"""The façade for routes: start workflows, wait for them, send them signals."""

from collections.abc import Callable, Collection, Coroutine
from typing import Any, Concatenate, TypeVar, overload

from fastapi_durable.duration import Duration
from fastapi_durable.engine.context import WorkflowContext
from fastapi_durable.engine.engine import WorkflowEngine
from fastapi_durable.engine.handle import RunHandle
from fastapi_durable.engine.input import NO_INPUT
from fastapi_durable.engine.subscription import PublishedEvent
from fastapi_durable.engine.update import UpdateResult
from fastapi_durable.model import SearchAttributes

Input = TypeVar("Input")
Output = TypeVar("Output")
Value = TypeVar("Value")


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

    @overload
    async def signal_with_start(
        self,
        workflow: Callable[Concatenate[WorkflowContext, Input, ...], Coroutine[Any, Any, Output]],
        input: Input,
        /,
        *,
        token: str,
        payload: Any = None,
        signal_id: str | None = None,
        run_id: str | None = None,
        version: str | None = None,
        tags: Collection[str] = (),
        search_attributes: SearchAttributes | None = None,
        priority: int | None = None,
    ) -> RunHandle[Output]: ...
    @overload
    async def signal_with_start(
        self,
        workflow: Callable[Concatenate[WorkflowContext, ...], Coroutine[Any, Any, Output]],
        /,
        *,
        token: str,
        payload: Any = None,
        signal_id: str | None = None,
        run_id: str | None = None,
        version: str | None = None,
        tags: Collection[str] = (),
        search_attributes: SearchAttributes | None = None,
        priority: int | None = None,
    ) -> RunHandle[Output]: ...
    @overload
    async def signal_with_start(
        self,
        workflow: str,
        input: Any = ...,
        /,
        *,
        token: str,
        payload: Any = None,
        signal_id: str | None = None,
        run_id: str | None = None,
        version: str | None = None,
        tags: Collection[str] = (),
        search_attributes: SearchAttributes | None = None,
        priority: int | None = None,
    ) -> RunHandle[Any]: ...
    async def signal_with_start(
        self,
        workflow: Callable[..., Coroutine[Any, Any, Any]] | str,
        input: Any = NO_INPUT,
        /,
        *,
        token: str,
        payload: Any = None,
        signal_id: str | None = None,
        run_id: str | None = None,
        version: str | None = None,
        tags: Collection[str] = (),
        search_attributes: SearchAttributes | None = None,
        priority: int | None = None,
    ) -> RunHandle[Any]:
        """Start a run unless it exists, and send a signal, both or neither; see `start` and `signal`.

        Raises:
            InputValidationError, SerializationError, WorkflowNotRegisteredError, StoreUnavailableError: as those.
        """
        handle: RunHandle[Any] = await self._engine.signal_with_start(
            workflow,
            input,
            token=token,
            payload=payload,
            signal_id=signal_id,
            run_id=run_id,
            version=version,
            tags=tags,
            search_attributes=search_attributes,
            priority=priority,
        )
        return handle

    async def publish_event(
        self, name: str, payload: Any = None, *, event_id: str | None = None, buffer: bool = True
    ) -> PublishedEvent:
        """Hand an event to every run that waits for one like it, and to the workflows that it starts.

        Args:
            event_id: Publishing an event of the same name and id again, within `event_ttl`, does nothing.
            buffer: If nobody wants the event yet, keep one copy for the first that will.

        Raises:
            SerializationError: the name, the id or the payload cannot be stored.
            StoreUnavailableError: the database cannot be reached; with an `event_id`, publish it again.
        """
        return await self._engine.publish_event(name, payload, event_id=event_id, buffer=buffer)

    async def update(self, run_id: str, name: str, value: Any = None) -> UpdateResult:
        """Offer a value to `ctx.on_update(name)` of a run: validated first, then received or kept.

        Refused, with the reason: for a run that is unknown, has ended or is being cancelled, and by the validator.
        """
        return await self._engine.update(run_id, name, value)

    @overload
    async def get_event(self, run_id: str, key: str, type: type[Value], /) -> Value | None: ...
    @overload
    async def get_event(self, run_id: str, key: str, /) -> Any: ...
    async def get_event(self, run_id: str, key: str, type: Any = Any, /) -> Any:
        """The value that the run's `ctx.set_event(key, ...)` set last, as `type`; None if it set none yet.

        Raises:
            RunNotFoundError: no run has this id.
            SerializationError: the value is not a `type`.
        """
        return await self._engine.get_event(run_id, key, type)

    async def continue_run(self, run_id: str, label: str | None = None) -> bool:
        """Let a run go on from the breakpoint at which it stands, or from the one with this label; False if from none.

        Raises:
            RunNotFoundError: no run has this id.
        """
        return await self._engine.continue_run(run_id, label)

    async def complete_task(self, run_id: str, name: str, value: Any = None) -> bool:
        """Report the result of a `ctx.task`; False if its end was reported before.

        Raises:
            RunNotFoundError, RunStateError: there is no such run, or it has ended.
        """
        return await self._engine.complete_task(run_id, name, value)

    async def fail_task(self, run_id: str, name: str, error: str | BaseException) -> bool:
        """Report that a `ctx.task` failed, as `complete_task` does a result."""
        return await self._engine.fail_task(run_id, name, error)
