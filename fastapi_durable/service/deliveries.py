"""Messages of callers to runs: signals, events, updates, callbacks and results of tasks."""

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar, TypeVar, overload

from fastapi_durable.declare.names import checked_part
from fastapi_durable.engine.core.conflict import retry_conflicts
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.core.subscription import Event, PublishedEvent
from fastapi_durable.engine.core.tracing import current_traceparent
from fastapi_durable.engine.primitives.breakpoint import pass_breakpoint
from fastapi_durable.engine.primitives.event import checked_event_name, publish_event
from fastapi_durable.engine.primitives.run_event import awaited_value
from fastapi_durable.engine.primitives.signal import deliver_signal, deliver_within
from fastapi_durable.engine.primitives.task import end_task
from fastapi_durable.engine.primitives.update import UpdateResult, answer_key, offer_update
from fastapi_durable.engine.primitives.webhook import Callback, deliver_callback
from fastapi_durable.engine.runs.addressing import require_visible, resolve_run
from fastapi_durable.engine.runs.completion import failure_of, value_of
from fastapi_durable.engine.runs.failure import error_record
from fastapi_durable.engine.runs.input import encode_sent
from fastapi_durable.model.duration import Duration, parse_duration
from fastapi_durable.model.errors import InputValidationError, UpdateFailedError
from fastapi_durable.model.records import ErrorRecord, Json
from fastapi_durable.model.reserved import checked_text, checked_token

T = TypeVar("T")


class Deliveries:
    """Signals, events, updates, callbacks, results of tasks, and values that runs publish.

    Every delivery is one commit, and is repeated after a conflict.
    """

    _kernel: Kernel
    _may_wait: ClassVar[bool] = True

    async def signal(self, token: str, payload: Any = None, *, signal_id: str | None = None) -> bool:
        """Send a signal to the run that waits for a token, or keep it for the next run that will.

        A kept signal is for runs of the module's namespace, which is `default` unless the option `namespace` is set.
        Its payload is checked when a run reads it.

        Args:
            token: Token of the signal.
            payload: Any value that pydantic serialises.
            signal_id: Id of the signal. While a signal with this id is kept, another one with the same id is dropped.

        Returns:
            True if a run received the signal, False if it is kept.

        Raises:
            InputValidationError: the token, the id or the payload cannot be stored, or the payload does not fit the
                type that the waiting call declares, or the waiting run is in another namespace. Nothing is delivered
                or kept.
        """
        kernel = self._kernel
        checked_token(token)
        if signal_id is not None:
            checked_text("signal_id", signal_id)
        encoded = encode_sent(kernel.codec, payload, what=f"the payload of signal {token!r}")
        return await retry_conflicts(kernel.clock, lambda: deliver_signal(kernel, token, encoded, signal_id=signal_id))

    async def signal_waiting(self, token: str, payload: Any = None, *, namespace: str) -> bool:
        """Send a signal to the run of a namespace that waits for a token now. If no run waits, keep nothing.

        Args:
            token: Token of the signal.
            payload: Any value that pydantic serialises.
            namespace: Namespace of the run.

        Returns:
            True if a run received the signal, False if no run of the namespace waits for it.

        Raises:
            InputValidationError: as `signal`.
        """
        kernel = self._kernel
        checked_token(token)
        encoded = encode_sent(kernel.codec, payload, what=f"the payload of signal {token!r}")
        return await retry_conflicts(kernel.clock, lambda: deliver_within(kernel, namespace, token, encoded))

    async def publish_event(
        self, name: str, payload: Any = None, *, event_id: str | None = None, buffer: bool = True
    ) -> PublishedEvent:
        """Publish an event to every run that waits for it, and to the workflows that it starts.

        A module with a namespace reaches the runs of that namespace only. If no run wants the event, one copy is kept
        in the module's namespace for the first run that asks. Each namespace has its own event ids.

        Args:
            name: Name of the event.
            payload: Any value that pydantic serialises.
            event_id: Id of the event. Publishing the same name and id again within `event_ttl` does nothing.
            buffer: Whether to keep a copy if no run wants the event yet.

        Returns:
            Which runs received the event, which runs it started, and whether it was kept.

        Raises:
            InputValidationError: the name, the id or the payload cannot be stored.
        """
        kernel = self._kernel
        if event_id is not None:
            checked_text("event_id", event_id)
        event = Event(
            id=event_id or str(uuid.uuid4()),
            name=checked_event_name(name),
            payload=encode_sent(kernel.codec, payload, what=f"the payload of event {name!r}"),
            published_at=kernel.clock.now(),
            traceparent=current_traceparent(),
        )
        published = await retry_conflicts(
            kernel.clock,
            lambda: publish_event(kernel, event, once=event_id is not None, buffer=buffer),
        )
        if published.started:
            kernel.notifications.work_available()
        return published

    async def update(
        self,
        run_id: str,
        name: str,
        value: Any = None,
        *,
        wait: Duration | None = None,
        answer_type: Any = Any,
    ) -> UpdateResult:
        """Send a value to `ctx.on_update(name)` of a run. The workflow's validator checks the value first.

        The update is refused with a reason in four cases: no run has this id, the run has ended or is being cancelled,
        the validator refuses, or the waiting call declares another type. If the run continued as a new run, the new
        run receives the update.

        Args:
            run_id: Id of the run.
            name: Name of the update.
            value: Any value that pydantic serialises.
            wait: How long to wait for the answer of `ctx.on_update(name, answer=...)`. It arrives from whatever process
                drives the run. None: the call returns as soon as the update is accepted.
            answer_type: Type of the answer. Default: the plain JSON value.

        Returns:
            Whether the update was accepted, the reason if it was not, and the answer. Without an answer in time, or if
            the run ended without one, `answered` is False. The update stays accepted.

        Raises:
            UpdateFailedError: the function that answers raised an error.
            InputValidationError: the value has no JSON form, or `wait` is not a duration, or is given inside a
                transaction.
            SerializationError: the answer does not fit `answer_type`.
            RunNotFoundError: the run was deleted while this call waited.
        """
        kernel = self._kernel
        encoded = encode_sent(kernel.codec, value, what=f"the value of update {name!r}")
        checked_part("name of an update", name)
        if wait is None:
            return await offer_update(kernel, run_id, name, encoded)
        limit, update_id = self._checked_wait(wait), uuid.uuid4().hex
        result = await offer_update(kernel, run_id, name, encoded, update_id)
        shown = await awaited_value(kernel, run_id, answer_key(update_id), limit) if result.accepted else None
        if shown is None:
            return result
        if failure := failure_of(shown.output):
            raise UpdateFailedError(run_id, name, failure)
        answer = kernel.codec.decode(value_of(shown.output), answer_type, what=f"the answer to update {name!r}")
        return replace(result, answered=True, answer=answer)

    @overload
    async def get_value(self, run_id: str, key: str, type: type[T], /, *, wait: Duration | None = None) -> T | None: ...
    @overload
    async def get_value(self, run_id: str, key: str, /, *, wait: Duration | None = None) -> Any: ...
    async def get_value(self, run_id: str, key: str, type: Any = Any, /, *, wait: Duration | None = None) -> Any:
        """Return the value that a run's `ctx.set_value(key, ...)` set last.

        If the run continued as a new run, the newest run that set the key counts.

        Args:
            run_id: Id of the run.
            key: Key of the value.
            type: Type to return. Default: the plain JSON value.
            wait: How long to wait for the first value, if there is none yet. The wait ends at once when the run sets
                one, in any process, or ends without one.

        Returns:
            The value. None if the run has not set it yet.

        Raises:
            RunNotFoundError: no run has this id.
            SerializationError: the value does not fit `type`.
            InputValidationError: `wait` is not a duration, or is given inside a transaction.
        """
        kernel = self._kernel
        limit = timedelta(0) if wait is None else self._checked_wait(wait)
        latest = await awaited_value(kernel, run_id, key, limit)
        if latest is None:
            return None
        return kernel.codec.decode(latest.output, type, what=f"event {key!r} of run {run_id!r}")

    async def continue_run(self, run_id: str, label: str | None = None) -> bool:
        """Let a run continue from a breakpoint. If the run continued as a new run, the new run is meant.

        Args:
            run_id: Id of the run.
            label: Label of the breakpoint. None: the one at which the run stands.

        Returns:
            True if the run continues, False if it stands at no such breakpoint.

        Raises:
            RunNotFoundError: no run has this id.
        """
        kernel = self._kernel
        run = await resolve_run(kernel, run_id)
        return await retry_conflicts(kernel.clock, lambda: pass_breakpoint(kernel, run.id, label))

    async def callback(self, token: str, payload: Any = None) -> Callback:
        """Deliver a callback to the webhook of a token, as the public route does.

        Args:
            token: Token of the webhook, with its secret.
            payload: Body of the callback.

        Returns:
            The result of the callback: received, repeated, unknown token, or the run has ended.

        Raises:
            InputValidationError: the payload has no JSON form. With `misfit`, the payload does not fit the type of the
                webhook, which still waits.
        """
        kernel = self._kernel
        encoded = encode_sent(kernel.codec, payload, what="the body of a callback")
        return await retry_conflicts(kernel.clock, lambda: deliver_callback(kernel, token, encoded))

    async def complete_task(self, run_id: str, name: str, value: Any = None) -> bool:
        """Report the result of a `ctx.task`. The run need not wait for it yet.

        Args:
            run_id: Id of the run.
            name: Name of the task.
            value: Any value that pydantic serialises.

        Returns:
            True if the result was recorded, False if the end of the task was reported before.

        Raises:
            RunNotFoundError: no run has this id.
            RunStateError: the run has ended.
            InputValidationError: the value has no JSON form, or does not fit the type that the waiting call declares.
                Nothing was recorded.
        """
        encoded = encode_sent(self._kernel.codec, value, what=f"the result of task {name!r}")
        return await self._end_task(run_id, name, value=encoded)

    async def fail_task(self, run_id: str, name: str, error: str | BaseException) -> bool:
        """Report that a `ctx.task` failed. The waiting call raises `TaskFailedError`.

        Args:
            run_id: Id of the run.
            name: Name of the task.
            error: The failure: an exception, or a text.

        Returns:
            True if the failure was recorded, False if the end of the task was reported before.

        Raises:
            RunNotFoundError: no run has this id.
            RunStateError: the run has ended.
        """
        record = ErrorRecord(message=error) if isinstance(error, str) else error_record(error)
        return await self._end_task(run_id, name, error=record)

    async def _end_task(self, run_id: str, name: str, *, value: Json = None, error: ErrorRecord | None = None) -> bool:
        kernel = self._kernel
        checked_part("name of a task", name)
        await require_visible(kernel, run_id)
        return await retry_conflicts(kernel.clock, lambda: end_task(kernel, run_id, name, value=value, error=error))

    def _checked_wait(self, wait: Duration) -> timedelta:
        if not self._may_wait:
            raise InputValidationError(
                "wait must not be given inside a transaction, which would be held open. Make the call with the service"
            )
        try:
            return parse_duration(wait)
        except ValueError as error:
            raise InputValidationError(f"wait: {error}") from error
