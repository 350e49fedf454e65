"""`SyncDurableClient`: the client for code without an event loop. It runs one in a thread of its own."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, Unpack, overload

from fastapi_durable.client.client import ClientOptions, DurableClient, NamedExecuteOptions
from fastapi_durable.engine.primitives.update import UpdateResult
from fastapi_durable.engine.runs.handle import RunHandle
from fastapi_durable.engine.runs.input import NO_INPUT
from fastapi_durable.model.duration import Duration
from fastapi_durable.model.errors import ConfigurationError
from fastapi_durable.model.records import Run, RunStatus
from fastapi_durable.service.named_starts import NamedStartOptions

T = TypeVar("T")


class SyncDurableClient:
    """`DurableClient` for code without an event loop. Each method blocks its thread, and any thread may call it.

    Its event loop runs in a thread of its own from `open` to `close`, or inside `with client:`. Open it after a fork:
    threads do not survive one.

    Args:
        options: As of `DurableClient`. A database client belongs to one event loop, so pass a function that connects
            it: this class calls the function in its own loop.

    Raises:
        ConfigurationError: `options` is neither options nor a function.
    """

    def __init__(self, options: ClientOptions) -> None:
        self._client = DurableClient(options)
        self._changing = threading.Lock()
        self._submitting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._calls: set[asyncio.Task[Any]] = set()

    def open(self) -> None:
        """Start the thread and connect to the store.

        Raises:
            ConfigurationError: the client is open already, or the caller runs in an event loop.
            StoreUnavailableError: the store does not answer within `startup_timeout`.
            SchemaMismatchError: the database lacks tables or columns.
        """
        _refuse_running_loop("open")
        with self._changing:
            if self._thread is not None:
                raise ConfigurationError("the client is open already. Close it first")
            opened: concurrent.futures.Future[None] = concurrent.futures.Future()
            thread = threading.Thread(target=self._work, args=(opened,), name="durable client", daemon=True)
            thread.start()
            try:
                opened.result()
            except BaseException:
                self._stop()
                thread.join()
                raise
            self._thread = thread

    def close(self) -> None:
        """End the thread. Calls of other threads that are under way raise `ConfigurationError`. Runs continue."""
        with self._changing:
            thread, self._thread = self._thread, None
            self._stop()
            if thread is not None and thread is not threading.current_thread():
                thread.join()

    def __enter__(self) -> Self:
        """Open the client; see `open`."""
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client; see `close`."""
        self.close()

    @overload
    def start(
        self, workflow: str, input: Any = ..., /, *, returns: type[T], **options: Unpack[NamedStartOptions]
    ) -> "SyncRunHandle[T]": ...
    @overload
    def start(
        self, workflow: str, input: Any = ..., /, **options: Unpack[NamedStartOptions]
    ) -> "SyncRunHandle[Any]": ...
    def start(
        self, workflow: str, input: Any = NO_INPUT, /, *, returns: Any = Any, **options: Unpack[NamedStartOptions]
    ) -> "SyncRunHandle[Any]":
        """Create a run and return at once; see `DurableClient.start`.

        Args:
            workflow: Name of the workflow.
            input: Input of the run: a JSON value or a pydantic model. Leave it out for a workflow without input.
            returns: Type of the output, for the handle's `result()`. Default: the plain JSON value.
            options: See `NamedStartOptions`, `StartOptions` and `SharedStartOptions`.

        Returns:
            A handle to the run.

        Raises:
            InputValidationError, WorkflowNotServedError, RunIdTakenError, RunExistsError: as `DurableClient.start`.
            TooManyDelayedStartsError, StoreUnavailableError: as `DurableClient.start`.
            ConfigurationError: the client is not open, or the caller runs in an event loop.
        """
        handle = self._call("start", lambda: self._client.start(workflow, input, returns=returns, **options))
        return SyncRunHandle(self, handle)

    @overload
    def execute(
        self, workflow: str, input: Any = ..., /, *, returns: type[T], **options: Unpack[NamedExecuteOptions]
    ) -> T: ...
    @overload
    def execute(self, workflow: str, input: Any = ..., /, **options: Unpack[NamedExecuteOptions]) -> Any: ...
    def execute(
        self, workflow: str, input: Any = NO_INPUT, /, *, returns: Any = Any, **options: Unpack[NamedExecuteOptions]
    ) -> Any:
        """Start a run and wait for its output; see `DurableClient.execute`.

        Args:
            workflow: Name of the workflow.
            input: Input of the run, as for `start`.
            returns: Type of the output. Default: the plain JSON value.
            options: See `NamedExecuteOptions` and `NamedStartOptions`.

        Returns:
            The output of the run.

        Raises:
            RunFailedError, RunCancelledError, RunDeadError, ResultTimeoutError, NoWorkerError: as
                `DurableClient.execute`.
            InputValidationError, WorkflowNotServedError, RunIdTakenError, RunExistsError, StoreUnavailableError: as
                `DurableClient.start`.
            ConfigurationError: the client is not open, or the caller runs in an event loop.
        """
        return self._call("execute", lambda: self._client.execute(workflow, input, returns=returns, **options))

    @overload
    def handle(self, run_id: str, returns: type[T], /) -> "SyncRunHandle[T]": ...
    @overload
    def handle(self, run_id: str, /) -> "SyncRunHandle[Any]": ...
    def handle(self, run_id: str, returns: Any = Any, /) -> "SyncRunHandle[Any]":
        """Return a handle to a run that was started before. The method does not look the run up.

        Args:
            run_id: Id of the run.
            returns: Type of the output. Default: the plain JSON value.

        Returns:
            A handle.

        Raises:
            ConfigurationError: the client is not open.
        """
        return SyncRunHandle(self, self._client.handle(run_id, returns))

    @overload
    def result(self, run_id: str, returns: type[T], /, *, timeout: Duration | None = None) -> T: ...
    @overload
    def result(self, run_id: str, /, *, timeout: Duration | None = None) -> Any: ...
    def result(self, run_id: str, returns: Any = Any, /, *, timeout: Duration | None = None) -> Any:
        """Wait until a run has ended, and return its output; see `DurableClient.result`.

        Args:
            run_id: Id of the run.
            returns: Type of the output. Default: the plain JSON value.
            timeout: How long to wait. None: no limit.

        Returns:
            The output of the run.

        Raises:
            RunFailedError, RunCancelledError, RunDeadError, ResultTimeoutError: as `DurableClient.result`.
            NoWorkerError, RunNotFoundError, SerializationError: as `DurableClient.result`.
            ConfigurationError: the client is not open, or the caller runs in an event loop.
        """
        return self._call("result", lambda: self._client.result(run_id, returns, timeout=timeout))

    def status(self, run_id: str) -> RunStatus:
        """Return the status that a run has now.

        Args:
            run_id: Id of the run.

        Returns:
            The status.

        Raises:
            RunNotFoundError: no run has this id.
            ConfigurationError: the client is not open, or the caller runs in an event loop.
        """
        return self._call("status", lambda: self._client.status(run_id))

    def signal(self, token: str, payload: Any = None, *, signal_id: str | None = None) -> bool:
        """Send a signal to the run that waits for a token, or keep it; see `DurableClient.signal`.

        Args:
            token: Token of the signal.
            payload: A JSON value or a pydantic model.
            signal_id: Id of the signal. While a signal with this id is kept, another one with the same id is dropped.

        Returns:
            True if a run received the signal, False if it is kept.

        Raises:
            InputValidationError: as `DurableClient.signal`.
            ConfigurationError: the client is not open, or the caller runs in an event loop.
        """
        return self._call("signal", lambda: self._client.signal(token, payload, signal_id=signal_id))

    def update(
        self,
        run_id: str,
        name: str,
        value: Any = None,
        *,
        wait: Duration | None = None,
        answer_type: Any = Any,
    ) -> UpdateResult:
        """Send a value to `ctx.on_update(name)` of a run; see `DurableClient.update`.

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
            ConfigurationError: the client is not open, or the caller runs in an event loop.
        """
        return self._call(
            "update", lambda: self._client.update(run_id, name, value, wait=wait, answer_type=answer_type)
        )

    def cancel(self, run_id: str, *, compensate: bool = False) -> Run:
        """Cancel a run and its live descendants; see `DurableClient.cancel`.

        Args:
            run_id: Id of the run.
            compensate: Whether a worker first undoes finished steps, as they declare with `compensate=`.

        Returns:
            The run as it is now.

        Raises:
            RunNotFoundError: no run has this id.
            ConfigurationError: the client is not open, or the caller runs in an event loop.
        """
        return self._call("cancel", lambda: self._client.cancel(run_id, compensate=compensate))

    @overload
    def get_value(self, run_id: str, key: str, type: type[T], /, *, wait: Duration | None = None) -> T | None: ...
    @overload
    def get_value(self, run_id: str, key: str, /, *, wait: Duration | None = None) -> Any: ...
    def get_value(self, run_id: str, key: str, type: Any = Any, /, *, wait: Duration | None = None) -> Any:
        """Return the value that a run's `ctx.set_value(key, ...)` set last; see `DurableClient.get_value`.

        Args:
            run_id: Id of the run.
            key: Key of the value.
            type: Type to return. Default: the plain JSON value.
            wait: How long to wait for the first value, if there is none yet.

        Returns:
            The value. None if the run has not set it yet.

        Raises:
            RunNotFoundError, SerializationError, InputValidationError: as `DurableClient.get_value`.
            ConfigurationError: the client is not open, or the caller runs in an event loop.
        """
        return self._call("get_value", lambda: self._client.get_value(run_id, key, type, wait=wait))

    def _call(self, name: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Make a call in the client's loop, and wait for it."""
        _refuse_running_loop(name)
        # Under the lock: behind `close`, nothing is given to a loop that will not run it.
        with self._submitting:
            if self._loop is None:
                raise ConfigurationError("the client is not open. Use it inside `with client:`, or call open() first")
            future = asyncio.run_coroutine_threadsafe(self._made(call), self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise ConfigurationError(
                f"the client was closed during {name}(). Whether the call took effect is unknown"
            ) from None
        except BaseException:
            # Such as Ctrl-C: then the call ends as well.
            future.cancel()
            raise

    def _stop(self) -> None:
        with self._submitting:
            loop, stopping, self._loop = self._loop, self._stopping, None
            if loop is not None and stopping is not None:
                loop.call_soon_threadsafe(stopping.set)

    # In the thread

    def _work(self, opened: "concurrent.futures.Future[None]") -> None:
        try:
            asyncio.run(self._serve(opened))
        except BaseException as error:
            if opened.done():
                raise
            opened.set_exception(error)

    async def _serve(self, opened: "concurrent.futures.Future[None]") -> None:
        self._stopping = stopping = asyncio.Event()
        async with self._client:
            with self._submitting:
                self._loop = asyncio.get_running_loop()
            opened.set_result(None)
            await stopping.wait()
            # Before the store is left: a call that is under way uses it.
            for call in self._calls:
                call.cancel()
            await asyncio.gather(*self._calls, return_exceptions=True)

    async def _made(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        task: asyncio.Task[Any] | None = asyncio.current_task()
        assert task is not None  # noqa: S101 # we are in one
        self._calls.add(task)
        try:
            return await call()
        finally:
            self._calls.discard(task)


class SyncRunHandle(Generic[T]):
    """Refers to a run by its id, for code without an event loop. `SyncDurableClient` returns it.

    Attributes:
        run_id: The id of the run.
        created: Whether the call that returned this handle created the run. False: the run existed.
    """

    def __init__(self, client: SyncDurableClient, handle: RunHandle[T]) -> None:
        self.run_id = handle.run_id
        self.created = handle.created
        self._client = client
        self._handle = handle

    def run(self) -> Run:
        """Return the run as it is stored now.

        Raises:
            RunNotFoundError: the run was deleted.
            ConfigurationError: the client is not open, or the caller runs in an event loop.
        """
        return self._client._call("run", self._handle.run)

    def status(self) -> RunStatus:
        """Return the status that the run has now.

        Raises:
            RunNotFoundError: the run was deleted.
            ConfigurationError: the client is not open, or the caller runs in an event loop.
        """
        return self._client._call("status", self._handle.status)

    def result(self, timeout: Duration | None = None) -> T:
        """Wait until the run has ended, and return its output.

        Args:
            timeout: How long to wait. None: no limit.

        Returns:
            The output of the run.

        Raises:
            RunFailedError, RunCancelledError, RunDeadError, ResultTimeoutError: as `RunHandle.result`.
            NoWorkerError, RunNotFoundError, SerializationError: as `RunHandle.result`.
            ConfigurationError: the client is not open, or the caller runs in an event loop.
        """
        return self._client._call("result", lambda: self._handle.result(timeout))


def _refuse_running_loop(name: str) -> None:
    """Refuse a call that would block an event loop.

    Raises:
        ConfigurationError: one runs in this thread.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ConfigurationError(
        f"SyncDurableClient.{name}() must not be called inside a running event loop, which it would block. Use "
        f"DurableClient there, or call it in a thread: `await asyncio.to_thread(client.{name}, ...)`"
    )
