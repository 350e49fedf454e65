"""What the outside can say to runs: the part of the engine that delivers."""

import uuid
from collections.abc import Callable
from typing import Any, TypeVar, overload

from fastapi_durable.clock import Clock
from fastapi_durable.codec import Codec
from fastapi_durable.definition import UpdateValidator, checked_name, step_definition, workflow_definition
from fastapi_durable.engine.breakpoint import pass_breakpoint
from fastapi_durable.engine.conflict import retry_conflicts
from fastapi_durable.engine.event import checked_event_name, publish_event
from fastapi_durable.engine.failure import error_record
from fastapi_durable.engine.notifications import Notifications
from fastapi_durable.engine.run_event import latest_value
from fastapi_durable.engine.services import Services
from fastapi_durable.engine.signal import checked_token, deliver_signal
from fastapi_durable.engine.subscription import Event, EventSubscriber, PublishedEvent
from fastapi_durable.engine.task import end_task
from fastapi_durable.engine.update import UpdateResult, deliver_update, refusal_of
from fastapi_durable.engine.webhook import Callback, deliver_callback
from fastapi_durable.errors import InputValidationError
from fastapi_durable.model import ErrorRecord, Json
from fastapi_durable.store.base import StateStore

T = TypeVar("T")

_EVENT_ID_LIMIT = 500


class Deliveries:
    """Signals, events, updates, callbacks, ends of tasks, and values that runs show. Every delivery is one transaction
    that is tried again after a conflict."""

    store: StateStore
    clock: Clock
    notifications: Notifications
    _codec: Codec
    _services: Services

    async def signal(self, token: str, payload: Any = None, *, signal_id: str | None = None) -> bool:
        """Send a signal: to the run that waits for `token`, or into the buffer for the next one that will.

        Args:
            payload: Any value that pydantic serialises.
            signal_id: Two signals with the same id are kept once while the first waits in the buffer.

        Returns:
            Whether a run received it; False: it is kept.

        Raises:
            SerializationError: the token or the payload cannot be stored.
        """
        checked_token(token)
        encoded = self._codec.encode(payload, Any, what=f"the payload of signal {token!r}")
        receiver = await retry_conflicts(
            self.clock, lambda: deliver_signal(self.store, self.clock, token, encoded, signal_id=signal_id)
        )
        if receiver is not None:
            self.notifications.work_available()
        return receiver is not None

    async def publish_event(
        self, name: str, payload: Any = None, *, event_id: str | None = None, buffer: bool = True
    ) -> PublishedEvent:
        """Hand an event to every run that waits for one like it, and to the workflows that it starts.

        Args:
            event_id: Publishing an event of the same name and id again, within `event_ttl`, does nothing.
            buffer: If nobody wants the event yet, keep one copy for the first that will.

        Raises:
            InputValidationError: the name or the id cannot be stored.
            SerializationError: the payload has no JSON form.
        """
        if event_id is not None and not (0 < len(event_id) <= _EVENT_ID_LIMIT and event_id.isprintable()):
            raise InputValidationError(
                f"the id of an event has 1 to {_EVENT_ID_LIMIT} printable characters, {event_id[:80]!r} does not"
            )
        event = Event(
            id=event_id or str(uuid.uuid4()),
            name=checked_event_name(name),
            payload=self._codec.encode(payload, Any, what=f"the payload of event {name!r}"),
            published_at=self.clock.now(),
        )
        published = await retry_conflicts(
            self.clock,
            lambda: publish_event(self._services, event, once=event_id is not None, buffer=buffer),
        )
        if published.receivers or published.started:
            self.notifications.work_available()
        return published

    def add_subscriber(self, subscriber: EventSubscriber) -> None:
        """Have somebody take part in publishing every event."""
        self._services.subscribers.append(subscriber)

    async def update(self, run_id: str, name: str, value: Any = None) -> UpdateResult:
        """Offer a value to `ctx.on_update(name)` of a run: validated first, then received or kept.

        Refused, with the reason: for a run that is unknown, has ended or is being cancelled, and by the validator.

        Raises:
            SerializationError: the value has no JSON form.
        """
        encoded = self._codec.encode(value, Any, what=f"the value of update {name!r}")
        checked_name(name)
        run = await self.store.find_run(run_id)
        if reason := await refusal_of(self._services, run, run_id, name, encoded):
            return UpdateResult(accepted=False, reason=reason)
        result = await retry_conflicts(self.clock, lambda: deliver_update(self._services, run_id, name, encoded))
        if result.received:
            self.notifications.work_available()
        return result

    def register_update_validator(
        self, workflow: Callable[..., Any] | str, name: str, validator: UpdateValidator
    ) -> None:
        """Have updates of a workflow validated in this process; takes the place of a declared validator.

        Raises:
            DefinitionError: the validator does not take the value, or nothing.
        """
        step_definition(validator)
        workflow_name = workflow if isinstance(workflow, str) else workflow_definition(workflow).name
        self._services.update_validators[workflow_name, checked_name(name)] = validator

    @overload
    async def get_event(self, run_id: str, key: str, type: type[T], /) -> T | None: ...
    @overload
    async def get_event(self, run_id: str, key: str, /) -> Any: ...
    async def get_event(self, run_id: str, key: str, type: Any = Any, /) -> Any:
        """The value that the run's `ctx.set_event(key, ...)` set last; None if it set none yet.

        Raises:
            RunNotFoundError: no run has this id.
            SerializationError: the value is not a `type`.
        """
        latest = await latest_value(self.store, run_id, key)
        if latest is None:
            return None
        return self._codec.decode(latest.output, type, what=f"event {key!r} of run {run_id!r}")

    async def continue_run(self, run_id: str, label: str | None = None) -> bool:
        """Let a run go on from the breakpoint at which it stands, or from the one with this label.

        Returns:
            False if it stands at none.

        Raises:
            RunNotFoundError: no run has this id.
        """
        passed = await retry_conflicts(self.clock, lambda: pass_breakpoint(self._services, run_id, label))
        if passed:
            self.notifications.work_available()
        return passed

    async def complete_task(self, run_id: str, name: str, value: Any = None) -> bool:
        """Report the result of a `ctx.task`, also before the run waits for it; False if its end was reported before.

        Raises:
            RunNotFoundError: no run has this id.
            RunStateError: the run has ended.
            SerializationError: the value has no JSON form.
        """
        encoded = self._codec.encode(value, Any, what=f"the result of task {name!r}")
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
        checked_name(name)
        taken = await retry_conflicts(
            self.clock, lambda: end_task(self._services, run_id, name, value=value, error=error)
        )
        if taken:
            self.notifications.work_available()
        return taken

    async def callback(self, token: str, payload: Any = None) -> Callback:
        """Deliver a callback to the webhook of this token; what the public route does.

        Raises:
            SerializationError: the payload has no JSON form.
        """
        encoded = self._codec.encode(payload, Any, what="the body of a callback")
        outcome = await retry_conflicts(self.clock, lambda: deliver_callback(self.store, self.clock, token, encoded))
        if outcome is Callback.RECEIVED:
            self.notifications.work_available()
        return outcome
