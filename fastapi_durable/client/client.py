"""`DurableClient`: starts and addresses runs from a process that has neither workflows nor a worker."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

from fastapi_durable.app.options import DurableOptions, described
from fastapi_durable.app.starting import answered, within_lease
from fastapi_durable.declare.codec import Codec
from fastapi_durable.engine.engine import Engine
from fastapi_durable.engine.primitives.update import UpdateResult
from fastapi_durable.engine.runs.handle import RunHandle
from fastapi_durable.engine.runs.input import NO_INPUT
from fastapi_durable.model.duration import Duration
from fastapi_durable.model.errors import ConfigurationError
from fastapi_durable.model.records import Run, RunStatus
from fastapi_durable.service.named_starts import NamedStartOptions, NamedStarts

T = TypeVar("T")

ClientOptions = DurableOptions | Callable[[], AbstractAsyncContextManager[DurableOptions]]


class NamedExecuteOptions(NamedStartOptions, total=False):
    """Options of `client.execute`.

    Attributes:
        timeout: How long to wait for the result. Default: no limit.
    """

    timeout: Duration | None


class DurableClient:
    """Starts runs by the names of their workflows, and addresses them, over the database of the workers.

    It needs neither workflows nor a worker nor a FastAPI application. Use it as an async context manager.

    Args:
        options: The options, of which `store` is required. Or a function that returns an async context manager, which
            yields them: it can connect the database client, and disconnects it at the end.

    Raises:
        ConfigurationError: `options` is neither.
    """

    def __init__(self, options: ClientOptions) -> None:
        if not isinstance(options, DurableOptions) and not callable(options):
            raise ConfigurationError(
                f"options must be a DurableOptions, or a function that returns an async context manager which yields "
                f"one, got {described(options)}"
            )
        self._given = options
        self._stack: AsyncExitStack | None = None
        self._service: NamedStarts | None = None

    async def __aenter__(self) -> Self:
        """Connect to the store, and check that it has the tables.

        Raises:
            ConfigurationError: the client is open already, or the function yields no options.
            StoreUnavailableError: the store does not answer within `startup_timeout`.
            SchemaMismatchError: the database lacks tables or columns.
        """
        if self._stack is not None:
            raise ConfigurationError("the client is open already. Make a client for each `async with`")
        async with AsyncExitStack() as stack:
            given = self._given
            opened = nullcontext(given) if isinstance(given, DurableOptions) else given()
            options = await stack.enter_async_context(opened)
            if not isinstance(options, DurableOptions):
                raise ConfigurationError(f"the function must yield a DurableOptions, got {described(options)}")
            options = within_lease(options.of_one_start(None))
            await answered(options, options.store.ensure_schema)
            engine = Engine(
                store=options.store,
                workflows=[],
                injector=_NothingInjected(),
                transport=options.transport,
                config=options,
                clock=options.clock,
                codec=Codec(),
                queues=options.queues,
            )
            if options.wakeups is not None:
                tell = await stack.enter_async_context(options.wakeups.joined(engine.notifications.on_message))
                stack.enter_context(engine.notifications.joined_to(tell))
            self._service = NamedStarts(engine.kernel)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect. Runs are not affected."""
        stack, self._stack, self._service = self._stack, None, None
        if stack is not None:
            await stack.__aexit__(kind, error, traceback)

    @overload
    async def start(
        self, workflow: str, input: Any = ..., /, *, returns: type[T], **options: Unpack[NamedStartOptions]
    ) -> RunHandle[T]: ...
    @overload
    async def start(
        self, workflow: str, input: Any = ..., /, **options: Unpack[NamedStartOptions]
    ) -> RunHandle[Any]: ...
    async def start(
        self, workflow: str, input: Any = NO_INPUT, /, *, returns: Any = Any, **options: Unpack[NamedStartOptions]
    ) -> RunHandle[Any]:
        """Create a run and return at once. It is idempotent by `run_id`, as `service.start` is.

        The worker that claims the run checks the input against the workflow's type. If it does not fit, the run fails.
        The worker also adds what the workflow declares: its tags, its execution timeout, and its singleton key.

        Args:
            workflow: Name of the workflow.
            input: Input of the run: a JSON value or a pydantic model. Leave it out for a workflow without input.
            returns: Type of the output, for the handle's `result()`. Default: the plain JSON value.
            options: See `NamedStartOptions`, `StartOptions` and `SharedStartOptions`. Default of `version`: the newest
                version that a live worker has.

        Returns:
            A handle to the run.

        Raises:
            InputValidationError: the name, the input or an option cannot be stored.
            WorkflowNotServedError: no live worker of the namespace has the workflow.
            RunIdTakenError: a run of another workflow or namespace has this id.
            RunExistsError: a run with this id exists, and `if_exists` is "refuse".
            TooManyDelayedStartsError: too many runs wait for their `delay` or `at`.
            StoreUnavailableError: the database cannot be reached. The run may exist all the same. Repeat the call with
                the same `run_id` to find out.
        """
        return await self._open.start_named(workflow, input, options, output_type=returns)

    @overload
    async def execute(
        self, workflow: str, input: Any = ..., /, *, returns: type[T], **options: Unpack[NamedExecuteOptions]
    ) -> T: ...
    @overload
    async def execute(self, workflow: str, input: Any = ..., /, **options: Unpack[NamedExecuteOptions]) -> Any: ...
    async def execute(
        self, workflow: str, input: Any = NO_INPUT, /, *, returns: Any = Any, **options: Unpack[NamedExecuteOptions]
    ) -> Any:
        """Start a run and wait for its output. The run continues if the caller stops waiting.

        Args:
            workflow: Name of the workflow.
            input: Input of the run, as for `start`.
            returns: Type of the output. Default: the plain JSON value.
            options: See `NamedExecuteOptions` and `NamedStartOptions`.

        Returns:
            The output of the run.

        Raises:
            RunFailedError: the run failed. So it does if the input does not fit the workflow's type.
            RunCancelledError: the run was cancelled.
            RunDeadError: the run is dead.
            ResultTimeoutError: the run has not ended after `timeout`.
            NoWorkerError: no live worker can drive the run; see `no_worker_after`.
            InputValidationError, WorkflowNotServedError, RunIdTakenError, RunExistsError, StoreUnavailableError: as
                `start`.
        """
        timeout = options.pop("timeout", None)
        return await (await self._open.start_named(workflow, input, options, output_type=returns)).result(timeout)

    @overload
    def handle(self, run_id: str, returns: type[T], /) -> RunHandle[T]: ...
    @overload
    def handle(self, run_id: str, /) -> RunHandle[Any]: ...
    def handle(self, run_id: str, returns: Any = Any, /) -> RunHandle[Any]:
        """Return a handle to a run that was started before. The method does not look the run up.

        Args:
            run_id: Id of the run.
            returns: Type of the output. Default: the plain JSON value.

        Returns:
            A handle.
        """
        return self._open.typed_handle(run_id, returns)

    @overload
    async def result(self, run_id: str, returns: type[T], /, *, timeout: Duration | None = None) -> T: ...
    @overload
    async def result(self, run_id: str, /, *, timeout: Duration | None = None) -> Any: ...
    async def result(self, run_id: str, returns: Any = Any, /, *, timeout: Duration | None = None) -> Any:
        """Wait until a run has ended, and return its output.

        Args:
            run_id: Id of the run.
            returns: Type of the output. Default: the plain JSON value.
            timeout: How long to wait. None: no limit.

        Returns:
            The output of the run.

        Raises:
            RunFailedError, RunCancelledError, RunDeadError: the run ended without a result.
            ResultTimeoutError: the run has not ended after `timeout`. It continues.
            NoWorkerError: no live worker can drive the run; see `no_worker_after`.
            RunNotFoundError: no run has this id.
            SerializationError: the output does not fit `returns`.
        """
        return await self._open.typed_handle(run_id, returns).result(timeout)

    async def status(self, run_id: str) -> RunStatus:
        """Return the status that a run has now.

        Args:
            run_id: Id of the run.

        Returns:
            The status.

        Raises:
            RunNotFoundError: no run has this id.
        """
        return await self._open.typed_handle(run_id, Any).status()

    async def signal(self, token: str, payload: Any = None, *, signal_id: str | None = None) -> bool:
        """Send a signal to the run that waits for a token, or keep it for the next run that will.

        Args:
            token: Token of the signal.
            payload: A JSON value or a pydantic model.
            signal_id: Id of the signal. While a signal with this id is kept, another one with the same id is dropped.

        Returns:
            True if a run received the signal, False if it is kept.

        Raises:
            InputValidationError: the token, the id or the payload cannot be stored, or the waiting run is in another
                namespace. Nothing is delivered or kept.
        """
        return await self._open.signal(token, payload, signal_id=signal_id)

    async def update(
        self,
        run_id: str,
        name: str,
        value: Any = None,
        *,
        wait: Duration | None = None,
        answer_type: Any = Any,
    ) -> UpdateResult:
        """Send a value to `ctx.on_update(name)` of a run. The workflow's validator is code, so it is not called.

        Args:
            run_id: Id of the run.
            name: Name of the update.
            value: A JSON value or a pydantic model.
            wait: How long to wait for the answer of `ctx.on_update(name, answer=...)`. None: return as soon as the
                update is accepted.
            answer_type: Type of the answer. Default: the plain JSON value.

        Returns:
            Whether the update was accepted, the reason if it was not, and the answer.

        Raises:
            UpdateFailedError: the function that answers raised an error.
            InputValidationError: the value has no JSON form, or `wait` is not a duration.
            SerializationError: the answer does not fit `answer_type`.
            RunNotFoundError: the run was deleted while this call waited.
        """
        return await self._open.update(run_id, name, value, wait=wait, answer_type=answer_type)

    async def cancel(self, run_id: str, *, compensate: bool = False) -> Run:
        """Cancel a run and its live descendants, whichever process drives them.

        Args:
            run_id: Id of the run.
            compensate: Whether a worker first undoes finished steps, as they declare with `compensate=`.

        Returns:
            The run as it is now.

        Raises:
            RunNotFoundError: no run has this id.
        """
        return await self._open.cancel(run_id, compensate=compensate)

    @overload
    async def get_value(self, run_id: str, key: str, type: type[T], /, *, wait: Duration | None = None) -> T | None: ...
    @overload
    async def get_value(self, run_id: str, key: str, /, *, wait: Duration | None = None) -> Any: ...
    async def get_value(self, run_id: str, key: str, type: Any = Any, /, *, wait: Duration | None = None) -> Any:
        """Return the value that a run's `ctx.set_value(key, ...)` set last.

        Args:
            run_id: Id of the run.
            key: Key of the value.
            type: Type to return. Default: the plain JSON value.
            wait: How long to wait for the first value, if there is none yet.

        Returns:
            The value. None if the run has not set it yet.

        Raises:
            RunNotFoundError: no run has this id.
            SerializationError: the value does not fit `type`.
            InputValidationError: `wait` is not a duration.
        """
        return await self._open.get_value(run_id, key, type, wait=wait)

    @property
    def _open(self) -> NamedStarts:
        if self._service is None:
            raise ConfigurationError("the client is not open. Use it inside `async with client:`")
        return self._service


class _NothingInjected:
    """The injector of a process that calls no function of an application."""

    def check(self, function: Callable[..., Any]) -> None:
        pass

    def provide(self, function: Callable[..., Any]) -> AbstractAsyncContextManager[dict[str, Any]]:  # noqa: ARG002
        return nullcontext({})
