"""Starts runs.

A start is checked before anything is written, is idempotent by id, and is leased to this process at once if it has a
free slot.
"""

import uuid
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, Literal, TypedDict, TypeVar, Unpack, overload

from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.engine.context.references import WorkflowOf, WorkflowReturning
from fastapi_durable.engine.core.conflict import retry_conflicts
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.core.tracing import current_traceparent
from fastapi_durable.engine.primitives.search_attributes import checked_attributes
from fastapi_durable.engine.primitives.signal import deliver_or_buffer, payload_of, refuse_foreign, signal_lock
from fastapi_durable.engine.runs.addressing import visible_store
from fastapi_durable.engine.runs.create import (
    admit,
    callers_workflow,
    create,
    delayed,
    names_of_beginning,
    new_run,
    refuse_other,
)
from fastapi_durable.engine.runs.delivery import tell_receiver
from fastapi_durable.engine.runs.handle import RunHandle
from fastapi_durable.engine.runs.input import NO_INPUT, encode_input, encode_sent
from fastapi_durable.engine.runs.namespaces import namespace_of
from fastapi_durable.engine.runs.queues import know_queue, place_in_queue, refuse_delay_in_queue
from fastapi_durable.engine.runs.start_validation import (
    checked_moment,
    checked_priority,
    checked_tags,
    refuse_unknown,
    refuses_existing,
)
from fastapi_durable.model.duration import Duration
from fastapi_durable.model.errors import TooManyDelayedStartsError
from fastapi_durable.model.records import Json, Run, SearchAttributes
from fastapi_durable.model.reserved import checked_text, checked_token
from fastapi_durable.model.run_ids import checked_run_id
from fastapi_durable.store.port.runs import CreatedRun

Input = TypeVar("Input")
Output = TypeVar("Output")


class SharedStartOptions(TypedDict, total=False):
    """Options of `service.start` that several runs can share.

    Attributes:
        version: Version of the workflow. Default: the function's own, or the newest version of a name.
        tags: Tags to add to those that the workflow declares.
        search_attributes: Texts, numbers and booleans by which to find the run.
        priority: Workers claim runs of a higher priority earlier. Default: 0.
        queue: Name of the declared `Queue` in which the run waits for a slot.
        fairness_key: Runs of one key take turns with those of other keys in the queue, for example a customer's id.
        delay: How long the run waits before it begins. A queue with a rate limit refuses it.
        at: The moment at which the run begins, with a time zone, instead of `delay`. A past one means now.
        if_exists: What to do if a run of the id exists: "return" it, which is the default, or "refuse" the start.
    """

    version: str | None
    tags: Collection[str]
    search_attributes: SearchAttributes | None
    priority: int | None
    queue: str | None
    fairness_key: str | None
    delay: Duration | None
    at: datetime | None
    if_exists: Literal["return", "refuse"]


class StartOptions(SharedStartOptions, total=False):
    """Options of `service.start`; see also `SharedStartOptions`.

    Attributes:
        run_id: Id of the run, which makes the start idempotent. Default: a random UUID.
    """

    run_id: str | None


class SignalWithStartOptions(StartOptions, total=False):
    """Options of `service.signal_with_start`.

    Attributes:
        payload: Payload of the signal, as for `signal`.
        signal_id: Id of the signal, as for `signal`.
    """

    payload: Any
    signal_id: str | None


class Starts:
    """The part of the façade that starts runs."""

    _kernel: Kernel

    @overload
    async def start(
        self, workflow: WorkflowOf[Input, Output], input: Input, /, **options: Unpack[StartOptions]
    ) -> RunHandle[Output]: ...
    @overload
    async def start(
        self, workflow: WorkflowReturning[Output], /, **options: Unpack[StartOptions]
    ) -> RunHandle[Output]: ...
    @overload
    async def start(self, workflow: str, input: Any = ..., /, **options: Unpack[StartOptions]) -> RunHandle[Any]: ...
    async def start(
        self, workflow: Callable[..., Any] | str, input: Any = NO_INPUT, /, **options: Unpack[StartOptions]
    ) -> RunHandle[Any]:
        """Create a run and return at once. A worker drives it, in this process or in another one.

        The start is idempotent by `run_id`: if a run with this id exists, nothing is changed. Then the handle refers to
        that run (`handle.created` is False), or the start is refused, as `if_exists` says. When this method returns,
        the run survives any crash.

        Args:
            workflow: The decorated function or class, or a registered name.
            input: Input of the run. Leave it out for a workflow without input.
            options: See `StartOptions` and `SharedStartOptions`.

        Returns:
            A handle to the run.

        Raises:
            InputValidationError: the input does not fit the workflow's type, a value cannot be stored, or an option is
                invalid.
            RunIdTakenError: a run of another workflow or namespace has this id.
            RunExistsError: a run with this id exists, and `if_exists` is "refuse".
            WorkflowNotRegisteredError: the name or the version is not registered.
            SingletonQueueFullError: too many runs of the input's singleton key are alive.
            TooManyDelayedStartsError: too many runs wait for their `delay` or `at`.
            StoreUnavailableError: the database cannot be reached. The run may exist all the same. Repeat the call with
                the same `run_id` to find out.
        """
        definition, run = self._new_run(workflow, input, options)
        return await self._started(definition, run, options)

    @overload
    async def signal_with_start(
        self,
        workflow: WorkflowOf[Input, Output],
        input: Input,
        /,
        *,
        token: str,
        **options: Unpack[SignalWithStartOptions],
    ) -> RunHandle[Output]: ...
    @overload
    async def signal_with_start(
        self, workflow: WorkflowReturning[Output], /, *, token: str, **options: Unpack[SignalWithStartOptions]
    ) -> RunHandle[Output]: ...
    @overload
    async def signal_with_start(
        self, workflow: str, input: Any = ..., /, *, token: str, **options: Unpack[SignalWithStartOptions]
    ) -> RunHandle[Any]: ...
    async def signal_with_start(
        self,
        workflow: Callable[..., Any] | str,
        input: Any = NO_INPUT,
        /,
        *,
        token: str,
        **options: Unpack[SignalWithStartOptions],
    ) -> RunHandle[Any]:
        """Start a run unless it exists, and send it a signal, in one transaction: both happen, or neither.

        Args:
            workflow: The decorated function or class, or a registered name.
            input: Input of the run. Leave it out for a workflow without input.
            token: Token of the signal; see `signal`.
            options: See `SignalWithStartOptions` and `StartOptions`. Pass `run_id`: without it, each call starts a run
                of its own.

        Returns:
            A handle to the run.

        Raises:
            InputValidationError: the token or the payload cannot be stored, or as `start`.
            RunIdTakenError: as `start`. The signal was not sent.
            RunExistsError: as `start`. The signal was not sent.
            WorkflowNotRegisteredError: as `start`. The signal was not sent.
            SingletonQueueFullError: as `start`. The signal was not sent.
            TooManyDelayedStartsError: as `start`. The signal was not sent.
            StoreUnavailableError: the database cannot be reached. Repeat the call with the same `run_id` and
                `signal_id`.
        """
        kernel, payload, signal_id = self._kernel, options.pop("payload", None), options.pop("signal_id", None)
        definition, run = self._new_run(workflow, input, options)
        checked_token(token)
        if signal_id is not None:
            checked_text("signal_id", signal_id)
        encoded = encode_sent(kernel.codec, payload, what=f"the payload of signal {token!r}")
        await know_queue(kernel, run.namespace, run.queue)
        await self._take_delayed_starts(run)
        refuses = _refuses_existing(options)
        stored, created = await retry_conflicts(
            kernel.clock,
            lambda: self._start_with_signal(definition, run, token, encoded, signal_id, refuses),
        )
        if created and run.wake_at is not None:
            kernel.notifications.wake_planned(run.wake_at)
        kernel.notifications.work_available()
        return self._handle(stored.id, definition.output_type, created=created)

    @overload
    def handle(self, run_id: str, workflow: WorkflowReturning[Output]) -> RunHandle[Output]: ...
    @overload
    def handle(self, run_id: str, workflow: str | None = None) -> RunHandle[Any]: ...
    def handle(self, run_id: str, workflow: Callable[..., Any] | str | None = None) -> RunHandle[Any]:
        """Return a handle to a run that was started before. The method does not look the run up.

        Args:
            run_id: Id of the run.
            workflow: The workflow, which gives `handle.result()` its type. None: the result is plain JSON.

        Returns:
            A handle.

        Raises:
            WorkflowNotRegisteredError: `workflow` is not registered.
        """
        output_type = Any if workflow is None else self._kernel.registry.resolve(workflow).output_type
        return self._handle(run_id, output_type, created=False)

    async def _started(self, definition: WorkflowDefinition, run: Run, options: SharedStartOptions) -> RunHandle[Any]:
        refuses = _refuses_existing(options)
        await know_queue(self._kernel, run.namespace, run.queue)
        await self._take_delayed_starts(run)
        created = await self._create(run, definition)
        refuse_other(created, run, refuses_existing=refuses)
        return self._handle(created.run.id, definition.output_type, created=created.created)

    async def _take_delayed_starts(self, *runs: Run) -> None:
        """Refuse a new delayed run if too many runs are delayed. A run of an existing id is not new.

        Raises:
            TooManyDelayedStartsError: too many runs are delayed.
        """
        kernel = self._kernel
        room, store = kernel.delayed_starts, kernel.store
        later = [run for run in runs if run.wake_at is not None]
        if not later or await room.take(store, later[0].namespace, len(later)):
            return
        new = [run for run in later if await store.find_run(run.id) is None]
        if new and (len(new) == len(later) or not await room.take(store, new[0].namespace, len(new))):
            raise TooManyDelayedStartsError(new[0].namespace, room.limit)

    async def _start_with_signal(
        self,
        definition: WorkflowDefinition,
        run: Run,
        token: str,
        payload: Json,
        signal_id: str | None,
        refuses: bool,
    ) -> CreatedRun:
        """Create the run unless one of its id exists, and deliver the signal, in one transaction."""
        kernel = self._kernel
        async with kernel.store.transaction(timeout=kernel.config.transaction_timeout) as transaction:
            for name in sorted([*names_of_beginning(definition, run), signal_lock(token)]):
                await transaction.lock_name(name)
            created = await admit(transaction, definition, run)
            refuse_other(created, run, refuses_existing=refuses)
            await refuse_foreign(transaction, token, kernel.config.namespace)
            receiver = await deliver_or_buffer(
                transaction,
                token,
                payload,
                namespace=run.namespace,
                now=kernel.clock.now(),
                signal_id=signal_id,
                codec=kernel.codec,
                what=payload_of(token),
            )
        if receiver is not None:
            tell_receiver(kernel.notifications, receiver)
        return created

    async def _create(self, run: Run, definition: WorkflowDefinition) -> CreatedRun:
        """Insert the run; if this process has a worker with a free place, already leased to it.

        A crash right after the insert leaves a leased run, which is claimed like any other whose process died.
        """
        kernel = self._kernel
        if run.wake_at is not None:
            created = await create(kernel, definition, run)
            if created.created:
                kernel.notifications.wake_planned(run.wake_at)
            return created
        with kernel.local_worker.place() as place:
            created = await create(kernel, definition, place.lease_new(run))
            if place.run is not None:
                # As it is stored: a first run sees what a replay will see.
                place.run = created.run if created.created else None
        if created.created and place.run is None:
            kernel.notifications.work_available()
        return created

    def _new_run(
        self, workflow: Callable[..., Any] | str, input: Any, options: StartOptions
    ) -> tuple[WorkflowDefinition, Run]:
        """The checked run that a start asks for."""
        refuse_unknown("start", options, StartOptions)
        definition = callers_workflow(self._kernel, workflow, options.get("version"))
        return definition, self._run_of(definition, input, options)

    def _run_of(self, definition: WorkflowDefinition, input: Any, options: StartOptions) -> Run:
        kernel, run_id = self._kernel, options.get("run_id")
        place = place_in_queue(kernel.queues, options.get("queue"), options.get("fairness_key"))
        begins_at = checked_moment(kernel.clock, options.get("delay"), options.get("at"))
        if begins_at is not None:
            refuse_delay_in_queue(kernel.queues, place)
        run = new_run(
            kernel,
            definition,
            encode_input(kernel.codec, definition, input, given=input is not NO_INPUT),
            run_id=str(uuid.uuid4()) if run_id is None else checked_run_id(run_id),
            namespace=namespace_of(kernel.config),
            tags=checked_tags(options.get("tags", ())),
            search_attributes=checked_attributes(kernel.codec, definition, options.get("search_attributes") or {}),
            priority=checked_priority(options.get("priority")),
            place=place,
            traceparent=current_traceparent(),
        )
        return run if begins_at is None else delayed(run, begins_at)

    def _handle(self, run_id: str, output_type: Any, *, created: bool) -> RunHandle[Any]:
        return self._handle_of(self._kernel, run_id, output_type, created=created)

    def _handle_of(
        self,
        kernel: Kernel,
        run_id: str,
        output_type: Any,
        *,
        created: bool,
        is_open: Callable[[], bool] = lambda: False,
    ) -> RunHandle[Any]:
        return RunHandle(
            run_id,
            created=created,
            output_type=output_type,
            store=visible_store(kernel),
            clock=kernel.clock,
            codec=kernel.codec,
            notifications=kernel.notifications,
            workers=kernel.live_workers,
            is_open=is_open,
        )


def _refuses_existing(options: SharedStartOptions) -> bool:
    return refuses_existing(options.get("if_exists", "return"))
