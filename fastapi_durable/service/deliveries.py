"""What the outside can say to runs."""

import uuid
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
from fastapi_durable.engine.primitives.update import UpdateResult, offer_update
from fastapi_durable.engine.primitives.webhook import Callback, deliver_callback
from fastapi_durable.engine.runs.addressing import require_visible, resolve_run
from fastapi_durable.engine.runs.failure import error_record
from fastapi_durable.engine.runs.input import encode_sent
from fastapi_durable.model.duration import Duration, parse_duration
from fastapi_durable.model.errors import InputValidationError
from fastapi_durable.model.records import ErrorRecord, Json
from fastapi_durable.model.reserved import checked_text, checked_token

T = TypeVar("T")


class Deliveries:
    """Signals, events, updates, callbacks, ends of tasks, and values that runs show. Every delivery is one transaction
    that is tried again after a conflict."""

    _kernel: Kernel
    _may_wait: ClassVar[bool] = True

    async def signal(self, token: str, payload: Any = None, *, signal_id: str | None = None) -> bool:
        """Send a signal: to the run that waits for `token`, or into the buffer for the next one that will.

        What is kept is for runs of the engine's own namespace; without one, that is `default`.

        Args:
            payload: Any value that pydantic serialises.
            signal_id: Two signals with the same id are kept once while the first waits in the buffer.

        Returns:
            Whether a run received it; False: it is kept.

        Raises:
            InputValidationError: the token, the id or the payload cannot be stored, a run of another namespace waits
                for the signal, or the payload does not fit the type that the waiting call declares. Nothing is
                delivered or kept then. A payload that is kept is checked when a run reads it.
        """
        kernel = self._kernel
        checked_token(token)
        if signal_id is not None:
            checked_text("signal_id", signal_id)
        encoded = encode_sent(kernel.codec, payload, what=f"the payload of signal {token!r}")
        return await retry_conflicts(kernel.clock, lambda: deliver_signal(kernel, token, encoded, signal_id=signal_id))

    async def signal_waiting(self, token: str, payload: Any = None, *, namespace: str) -> bool:
        """Send a signal to the run of one namespace that waits for `token` now, and to nobody else.

        Returns:
            Whether a run received it; False: none of the namespace waits, and nothing was kept.

        Raises:
            InputValidationError: as for `signal`.
        """
        kernel = self._kernel
        checked_token(token)
        encoded = encode_sent(kernel.codec, payload, what=f"the payload of signal {token!r}")
        return await retry_conflicts(kernel.clock, lambda: deliver_within(kernel, namespace, token, encoded))

    async def publish_event(
        self, name: str, payload: Any = None, *, event_id: str | None = None, buffer: bool = True
    ) -> PublishedEvent:
        """Hand an event to every run that waits for one like it, and to the workflows that it starts.

        An engine with a namespace reaches the runs of its own. One copy is kept for the first run that asks, in the
        engine's namespace; without one, that is `default`. Ids of events are those of a namespace, too.

        Args:
            event_id: Publishing an event of the same name and id again, within `event_ttl`, does nothing.
            buffer: If nobody wants the event yet, keep one copy for the first that will.

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

    async def update(self, run_id: str, name: str, value: Any = None) -> UpdateResult:
        """Offer a value to `ctx.on_update(name)` of a run: validated first, then received or kept.

        Refused, with the reason: for a run that is unknown, has ended or is being cancelled, by the validator, and if
        the run waits for it and declares another type. A run that went on as a new one is not ended: the new one is
        meant, also by an update that was accepted before.

        Raises:
            InputValidationError: the value has no JSON form.
        """
        kernel = self._kernel
        encoded = encode_sent(kernel.codec, value, what=f"the value of update {name!r}")
        checked_part("name of an update", name)
        return await offer_update(kernel, run_id, name, encoded)

    @overload
    async def get_value(self, run_id: str, key: str, type: type[T], /, *, wait: Duration | None = None) -> T | None: ...
    @overload
    async def get_value(self, run_id: str, key: str, /, *, wait: Duration | None = None) -> Any: ...
    async def get_value(self, run_id: str, key: str, type: Any = Any, /, *, wait: Duration | None = None) -> Any:
        """The value that the run's `ctx.set_value(key, ...)` set last, as `type`; None if it set none yet.

        Of a run that went on as a new one, the value of the newest run that set one.

        Args:
            wait: How long to wait for the first value, if there is none yet. The wait is over at once when the run sets
                one, in whatever process, or ends without one.

        Raises:
            RunNotFoundError: no run has this id.
            SerializationError: the value is not a `type`.
            InputValidationError: `wait` is not a duration, or is given inside a transaction.
        """
        kernel = self._kernel
        limit = timedelta(0) if wait is None else self._checked_wait(wait)
        latest = await awaited_value(kernel, run_id, key, limit)
        if latest is None:
            return None
        return kernel.codec.decode(latest.output, type, what=f"event {key!r} of run {run_id!r}")

    async def continue_run(self, run_id: str, label: str | None = None) -> bool:
        """Let a run, or the one that it went on as, go on from the breakpoint at which it stands, or from this label's.

        Returns:
            False if it stands at none.

        Raises:
            RunNotFoundError: no run has this id.
        """
        kernel = self._kernel
        run = await resolve_run(kernel, run_id)
        return await retry_conflicts(kernel.clock, lambda: pass_breakpoint(kernel, run.id, label))

    async def callback(self, token: str, payload: Any = None) -> Callback:
        """Deliver a callback to the webhook of this token; what the public route does.

        Raises:
            InputValidationError: the payload has no JSON form. With `misfit`: it does not fit the type of the webhook,
                which still waits.
        """
        kernel = self._kernel
        encoded = encode_sent(kernel.codec, payload, what="the body of a callback")
        return await retry_conflicts(kernel.clock, lambda: deliver_callback(kernel, token, encoded))

    async def complete_task(self, run_id: str, name: str, value: Any = None) -> bool:
        """Report the result of a `ctx.task`, also before the run waits for it; False if its end was reported before.

        Raises:
            RunNotFoundError: no run has this id.
            RunStateError: the run has ended.
            InputValidationError: the value has no JSON form, or the run waits for it and declares another type. Then
                nothing was reported.
        """
        encoded = encode_sent(self._kernel.codec, value, what=f"the result of task {name!r}")
        return await self._end_task(run_id, name, value=encoded)

    async def fail_task(self, run_id: str, name: str, error: str | BaseException) -> bool:
        """Report that a `ctx.task` failed: it raises `TaskFailedError`. False if its end was reported before.

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
                "wait must not be given inside a transaction, which would be held open. Call get_value of the service"
            )
        try:
            return parse_duration(wait)
        except ValueError as error:
            raise InputValidationError(f"wait: {error}") from error
