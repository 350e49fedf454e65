"""Workflows that events start: `@workflow(on_event=...)`.

The runs are created in the transaction that publishes the event, so each event starts each of its workflows once. With
`debounce` or `batch`, the event goes to an accumulator instead: a run of the engine's own that outlives its events.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress

from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.core.subscription import Event, Reception, Refusal
from fastapi_durable.engine.primitives.signal import deliver_or_buffer, signal_lock
from fastapi_durable.engine.runs.create import admit_or_refuse, engine_run, is_bounded, names_of_beginning
from fastapi_durable.engine.runs.namespaces import namespace_of
from fastapi_durable.engine.runs.operator_log import leave_trace
from fastapi_durable.engine.starting.accumulator import (
    accumulator_event,
    accumulator_input,
    accumulator_token,
    accumulator_workflow,
)
from fastapi_durable.engine.starting.triggered_run import name_in_id, triggered_run
from fastapi_durable.model.errors import InputValidationError
from fastapi_durable.model.records import Run, RunStatus
from fastapi_durable.store.base import StoreTransaction

_log = logging.getLogger("fastapi_durable")


class EventTriggers:
    """Starts workflows, and feeds accumulators, as part of publishing an event."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def locks(self, event: Event) -> Sequence[str]:
        """The accumulators' tokens, and the gates of bounded singletons."""
        names: list[str] = []
        for definition in self._triggered_by(event):
            if _accumulates(definition):
                names.append(signal_lock(self._token(definition)))
            elif is_bounded(definition):
                with suppress(InputValidationError):  # the start of the run reports an invalid key
                    names += names_of_beginning(definition, self._run_of(definition, event))
        return names

    async def receive(self, transaction: StoreTransaction, event: Event) -> Reception:
        """Start the workflows that the event triggers. A workflow that refuses the event does not affect the others."""
        touched: list[str] = []
        refused: list[Refusal] = []
        for definition in self._triggered_by(event):
            if _accumulates(definition):
                touched.append(await self._accumulate(transaction, definition, event))
                continue
            try:
                run = self._run_of(definition, event)
            except InputValidationError as error:
                _log.error("event %r does not start workflow %r: %s", event.name, definition.name, error)
                continue
            admitted = await admit_or_refuse(transaction, definition, run)
            if isinstance(admitted, Refusal):
                refused.append(admitted)
            elif admitted.created:
                # Otherwise the run exists, because the event was published before and its id is no longer remembered.
                # Nothing was started.
                touched.append(admitted.run.id)
        return Reception(touched, refused)

    def _run_of(self, definition: WorkflowDefinition, event: Event) -> Run:
        namespace = namespace_of(self._kernel.config)
        other_name = name_in_id(definition, event.name)
        return triggered_run(
            self._kernel, definition, event.id, event.payload, namespace, event.traceparent, other_name
        )

    async def _accumulate(self, transaction: StoreTransaction, definition: WorkflowDefinition, event: Event) -> str:
        token, now = self._token(definition), self._kernel.clock.now()
        input = accumulator_input(definition)
        wanted = engine_run(
            self._kernel,
            accumulator_workflow(definition),
            input,
            run_id=token,
            namespace=namespace_of(self._kernel.config),
        )
        stored, created = await transaction.create_run(wanted)
        if not created and stored.status.is_terminal:
            # An operator may retry or delete it at this moment. The events of a retried accumulator stay.
            stored = await transaction.lock_run(token) or (await transaction.create_run(wanted)).run
        if stored.status.is_terminal:
            # An operator ended it. Create it again, because otherwise no run would read the events.
            await transaction.remove_checkpoints(token)
            await transaction.update_run(
                token,
                {"status": RunStatus.PENDING, "input": input, "error": None, "output": None, "updated_at": now},
                statuses=(stored.status,),
            )
            await leave_trace(transaction, token, "ended_before", {"status": str(stored.status)}, now=now)
        collected = accumulator_event(definition, event)
        namespace = namespace_of(self._kernel.config)
        await deliver_or_buffer(transaction, token, collected, namespace=namespace, now=now)
        return token

    def _token(self, definition: WorkflowDefinition) -> str:
        return accumulator_token(namespace_of(self._kernel.config), definition.name)

    def _triggered_by(self, event: Event) -> list[WorkflowDefinition]:
        return [definition for definition in self._kernel.registry.newest if event.name in definition.triggers]


def _accumulates(definition: WorkflowDefinition) -> bool:
    return definition.debounce is not None or definition.batch is not None
